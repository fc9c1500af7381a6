"""Several networks measured as one, against their log-probabilities averaged by hand."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import evaluators
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import blurtrain
from blurtrain.blur.blurs import Blur
from blurtrain.cli import main
from blurtrain.data.batches import Batch
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import SettingsError
from blurtrain.evaluation.ensembles import evaluate_ensemble
from blurtrain.evaluation.runs import alone, evaluate_run, run_plan
from blurtrain.evaluation.views import Averaged
from blurtrain.models import build
from blurtrain.models.trained import of_run
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
SHORT = {"epochs": 1, "warmup_epochs": 0}
SCALES = {"defined_at": 96, "scales": [80, 64]}


@pytest.fixture(scope="module")
def pair(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two runs that differ in their seed."""
    runs = tmp_path_factory.mktemp("runs")
    return [train(tiny(seed=seed, optimisation=SHORT), runs) for seed in (0, 1)]


def called(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(caught.value.code or 0)


def measured(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code = called("evaluate", *words, "--ensemble", "--json")
    out, err = capsys.readouterr()
    assert not code, err
    found: dict[str, Any] = json.loads(out)
    return found


def by_hand(run: Run, dataset: Dataset, blur: Blur) -> Tensor:
    """Log-probabilities [9, 3] of the test images at a blur, one by one."""
    network, images = of_run(run.path), dataset.evaluation_images("test", 64)
    logits = []
    for index in images.indices:
        pixels = torch.from_numpy(images.store.read(np.array([index]))).permute(0, 3, 1, 2).float()
        blurred = blur.blurred(pixels, [index], resolution=64)
        with torch.no_grad():
            logits.append(network.logits(network.preprocessing.normalised(blurred)))
    return torch.cat(logits).double().log_softmax(1)


def test_all_measures_are_of_the_mean_of_log_probabilities(
    pair: list[Run], prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*(run.path for run in pair), "evaluation.sigmas=[0,8]", "evaluation.blurs=[disk-8]"]
    document = measured(capsys, *words, "evaluation.per_image=true", "--out", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("accuracy-*.json")
    assert document["file"] == str(path) and json.loads(path.read_text())["rows"] == document["rows"]
    assert sorted(member["run"] for member in document["members"]) == sorted(run.id for run in pair)
    assert (document["n"], document["classes"], document["split"], document["epoch"]) == (9, 3, "test", None)
    assert document["run"] == document["origin"] == f"{pair[0].id} + {pair[1].id}"
    labels = torch.from_numpy(prepared.evaluation_images("test", 64).labels)
    records = pd.read_parquet(path.with_suffix(".parquet"))
    for blur in map(Blur.parse, ("sharp", "gaussian-8", "disk-8")):
        mean = torch.stack([by_hand(run, prepared, blur) for run in pair]).mean(0)
        log = mean.log_softmax(1)
        rows = {row["metric"]: row for row in document["rows"] if row["blur"] == blur.label}
        assert rows["top1"]["count"] == int((mean.argmax(1) == labels).sum())
        assert rows["top5"]["count"] == 9, "of three classes, all are among the first five"
        entropy, cross = -(log.exp() * log).sum(1), -log.gather(1, labels[:, None])[:, 0]
        assert rows["entropy"]["value"] == pytest.approx(float(entropy.mean()), rel=1e-4)
        assert rows["cross_entropy"]["value"] == pytest.approx(float(cross.mean()), rel=1e-4)
        assert rows["loss"]["value"] == rows["cross_entropy"]["value"]
        own = records[records["blur"] == blur.label]
        assert own["prediction"].tolist() == mean.argmax(1).tolist() and own["label"].tolist() == labels.tolist()
        assert own["confidence"].to_numpy() == pytest.approx(log.exp().amax(1).numpy(), rel=1e-4)
        assert own["cross_entropy"].to_numpy() == pytest.approx(cross.numpy(), rel=1e-3, abs=1e-5)


def test_each_member_counts_as_probabilities_that_sum_to_1() -> None:
    """Also for a measure of one's own that looks at more than their softmax."""
    outputs = [torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[7.0, 9.0, 7.0]])]

    class Says:
        def __init__(self, logits: Tensor):
            self.logits = logits

        def of(self, batch: Batch) -> Callable[[Blur], Tensor]:
            return lambda blur: self.logits

    batch = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1), np.arange(1))
    found = Averaged([Says(logits) for logits in outputs]).of(batch)(Blur.parse("sharp"))
    probabilities = [logits.softmax(1) for logits in outputs]
    assert torch.allclose(found.exp(), (probabilities[0] * probabilities[1]).sqrt())


def test_members_are_averaged_as_scales_are(pair: list[Run], tmp_path: Path) -> None:
    """One network at two scales, and the same two times, each at its own scale."""
    folder = tmp_path / "copy" / pair[0].id
    shutil.copytree(pair[0].path, folder)
    (both,) = evaluate_run(folder, [f"evaluation.protocol={json.dumps(SCALES)}", "evaluation.blurs=[disk-4]"])
    plans = [
        run_plan(folder, [f"evaluation.protocol={{defined_at: 96, scales: [{scale}]}}", "evaluation.blurs=[disk-4]"])
        for scale in (80, 64)
    ]
    (one,) = evaluate_ensemble(plans, tmp_path / "out", group=alone())
    assert one["protocol"] == "all-64@96 & all-80@96" and one["resolution"] == 96
    assert [member["protocol"] for member in one["members"]] == ["all-64@96", "all-80@96"]
    for own, wanted in zip(one["rows"], both["rows"], strict=True):
        assert (own["metric"], own["blur"], own.get("count")) == (wanted["metric"], wanted["blur"], wanted.get("count"))
        assert own.get("value", 0.0) == pytest.approx(wanted.get("value", 0.0), rel=1e-5)


def test_what_is_known_is_not_measured_again_whatever_the_order(
    pair: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / run.id for run in pair]
    for run, copy in zip(pair, runs, strict=True):
        shutil.copytree(run.path, copy)
    first = measured(capsys, *runs, "evaluation.sigmas=[0,8]", "--out", tmp_path / "out")
    measured(capsys, *runs, "evaluation.sigmas=[4]", "--out", tmp_path / "out")
    for run in runs:  # which nothing that is known needs
        (run / "weights.safetensors").write_bytes(b"")
    again = measured(capsys, *reversed(runs), "evaluation.sigmas=[8,4,0]", "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.json"))) == 1 and again["file"] == first["file"]
    sigmas = [row["sigma"] for row in again["rows"] if row["metric"] == "top1"]
    assert sigmas == [8, 4, 0]
    assert [row for row in again["rows"] if row["sigma"] == 0] == [row for row in first["rows"] if row["sigma"] == 0]
    assert called("evaluate", *runs, "--ensemble", "evaluation.sigmas=[2]", "--out", tmp_path / "out") == 2
    assert "weights.safetensors: is damaged" in capsys.readouterr().err


def test_several_processes_share_it(pair: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*(run.path for run in pair), "evaluation.sigmas=[0,8]", "evaluation.batch_size=2"]
    alone = measured(capsys, *words, "--out", tmp_path / "one")
    ended = evaluators.run([*words, "--ensemble", "--out", tmp_path / "two"], tmp_path / "log", ranks=2)
    assert [code for code, _ in ended] == [0, 0], ended
    (path,) = (tmp_path / "two").glob("*.json")
    counts = [row.get("count") for row in json.loads(path.read_text())["rows"]]
    assert counts == [row.get("count") for row in alone["rows"]]


def test_from_python_in_one_line(pair: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = blurtrain.evaluate(pair, blurs=[0, "disk-4"], out=tmp_path / "out")
    words = [*(run.path for run in pair), "evaluation.sigmas=[0]", "evaluation.blurs=[disk-4]"]
    document = measured(capsys, *words, "--out", tmp_path / "out")
    assert [{"measure": "accuracy", **row} for row in document["rows"]] == rows
    with pytest.raises(SettingsError, match="an ensemble needs out=FOLDER"):
        blurtrain.evaluate(pair)


def test_networks_from_files_and_runs_on_one_dataset(
    pair: list[Run], prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each by its own preprocessing: other means, and more classes than the dataset has."""
    torch.manual_seed(3)
    torch.save(build("resnet-18", 4).state_dict(), tmp_path / "w.pth")
    (tmp_path / "classes.txt").write_text("plain\nstripes\nrings\nchecks\n")
    (tmp_path / "net.yaml").write_text(
        f"{{architecture: torchvision/resnet18, weights: {tmp_path}/w.pth, classes: {tmp_path}/classes.txt, "
        "resize: 64, crop: 64, mean: [0.4, 0.5, 0.6], sd: [0.2, 0.2, 0.2]}"
    )
    where = ["--data", prepared.folder.parent, "--dataset", prepared.name, "--out", tmp_path / "out"]
    words = [pair[0].path, tmp_path / "net.yaml", "evaluation.sigmas=[0]", "evaluation.per_image=true"]
    document = measured(capsys, *words, *where)
    network = blurtrain.load_network(tmp_path / "net.yaml")
    images = prepared.evaluation_images("test", 64)
    pixels = torch.from_numpy(images.store.read(images.indices)).permute(0, 3, 1, 2).float()
    shown = (pixels / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / 0.2
    with torch.no_grad():
        other = network.module(shown)[:, [3, 2, 1]].double().log_softmax(1)
    mean = (by_hand(pair[0], prepared, Blur.parse("sharp")) + other) / 2
    records = pd.read_parquet(Path(document["file"]).with_suffix(".parquet"))
    assert records["prediction"].tolist() == mean.argmax(1).tolist()
    assert records["confidence"].to_numpy() == pytest.approx(mean.softmax(1).amax(1).numpy(), rel=1e-3)
    assert {len(member["network"]) for member in document["members"]} == {16}


# --- what does not go together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "differ"),
    [
        (["evaluation.split=val"], "differ in the split, test and val: "),
        (["evaluation.blurs=[disk-4]"], "differ in their blurs, only one has disk-4: "),
        (["evaluation.protocol={defined_at: 96}"], "differ in the size where images are blurred, 64 and 96 px: "),
        (["evaluation.drop_last=true", "evaluation.batch_size=4"], "differ in which images are measured, 9 and 8: "),
        ([], "is there twice, and shown images alike: "),
    ],
)
def test_members_that_differ_are_refused(pair: list[Run], tmp_path: Path, overrides: list[str], differ: str) -> None:
    run = pair[1 if overrides else 0]
    with pytest.raises(SettingsError) as caught:
        evaluate_ensemble([run_plan(pair[0].path), run_plan(run.path, overrides)], tmp_path, group=alone())
    said = str(caught.value)
    assert said.startswith(f"ensemble: {pair[0].id} ") and differ in said and "\n" not in said
    assert not list(tmp_path.iterdir())


def test_other_units_classes_and_data_are_refused(pair: list[Run], tiny: Tiny, tree: Path, tmp_path: Path) -> None:
    cut = train(tiny(blur={"truncate": 2}, optimisation=SHORT), tmp_path / "runs")
    few = tmp_path / "few"
    for name in ("checks", "rings"):
        shutil.copytree(tree / name, few / name)
    prepare(tmp_path / "data", "textures", Recipe(images=str(few), resolution=64))
    other = train(tiny(data={"root": str(tmp_path / "data")}, optimisation=SHORT), tmp_path / "runs")
    for run, differ in ((cut, "differ in blur.truncate, 4.0 and 2.0: "), (other, "differ in the dataset, 'textures'")):
        with pytest.raises(SettingsError, match=differ):
            evaluate_ensemble([run_plan(pair[0].path), run_plan(run.path)], tmp_path, group=alone())
    first, second = (run_plan(run.path) for run in pair)
    for classes, differ in (
        (("checks", "stripes", "rings"), "outputs, number 1 of which is 'rings' and 'stripes': "),
        (("checks", "rings"), "outputs, 3 and 2 classes: "),
    ):
        with pytest.raises(SettingsError, match=differ):
            evaluate_ensemble([first, replace(second, classes=classes)], tmp_path, group=alone())


KEPT = """
from blurtrain import Measure


class Kept(Measure):
    name = "kept"
"""


def test_mistakes_are_one_line(
    pair: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("of_members.py").write_text(KEPT)
    both = [run.path for run in pair]
    for words, message in (
        ([*both], "evaluate: --ensemble measures several networks as one: say where to by --out FOLDER"),
        ([both[0], "--out", tmp_path], "ensemble: takes two networks or more"),
        ([*both, "--out", tmp_path, "--measure", "of_members.py:Kept"], "does not go with an ensemble, which"),
        ([both[0], "torchvision/resnet18", "--out", tmp_path], "torchvision/resnet18: is no run directory; networks"),
    ):
        assert called("evaluate", *words, "--ensemble") == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
