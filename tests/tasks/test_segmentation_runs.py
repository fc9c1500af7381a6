"""Runs that learn masks: they do learn, resume to the same bits, and say what does not fit."""

import hashlib
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruption import train_until
from mask_photos import CAT, PERSON, settings
from PIL import Image
from processes import Training, codes
from processes import run as in_processes

import analysis
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.mask_file import read_mask
from blurtrain.errors import BlurtrainError
from blurtrain.run import Run
from blurtrain.tasks import CrossEntropy, Segmentation
from blurtrain.tasks.segmentation import VOID
from blurtrain.training.train import train

Photos = dict[str, Dataset]
MIX = {"schedule": "mix", "blurs": ["sharp", "disk-8"], "probabilities": [0.5, 0.5], "sharp_epochs": 2}


def value(run: Run, metric: str, blur: str = "sharp") -> float:
    result = run.result()
    assert result is not None
    document = json.loads((run.evaluations / result["measured"]).read_text())
    return next(row["value"] for row in document["rows"] if (row["metric"], row["blur"]) == (metric, blur))


# --- learning -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    return train(settings(photos["kept"], optimisation={"epochs": 12}, validation={"every_epochs": 6}), runs)


def test_it_learns_what_it_is_shown_and_what_it_is_not(photos: Photos, learnt: Run, tmp_path: Path) -> None:
    assert value(learnt, "miou") > 0.9, "held out"
    assert value(learnt, "miou", "disk-8") < value(learnt, "miou")
    looks = [event for event in learnt.journal() if event["event"] == "validation"]
    assert looks and looks[-1]["miou"] > 90
    copied = shutil.copytree(learnt.path, tmp_path / learnt.id)  # what is measured here is not for other tests
    with pytest.raises(SystemExit) as done:
        main(["evaluate", str(copied), "evaluation.split=train", "evaluation.blurs=[]"])
    assert not done.value.code


def test_masks_are_predicted_at_the_size_of_each_photo(
    photos: Photos, learnt: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(photos["kept"].manifest["request"]["source"]) / "VOC2012"
    with pytest.raises(SystemExit) as done:
        main(["predict", str(learnt.path), str(source / "JPEGImages"), "--masks", str(tmp_path / "out")])
    assert not done.value.code, capsys.readouterr().err
    right = total = 0
    for path in sorted((source / "SegmentationClass").glob("*.png")):
        out = tmp_path / "out" / path.name
        with Image.open(out) as image, Image.open(path) as true:
            assert image.mode == "P" and image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]
            size, truth = true.size, np.asarray(true)
        found = read_mask(out.read_bytes(), ".png", size, 21)
        assert {CAT, PERSON} <= {*np.unique(found).tolist()}
        right, total = right + int((found == truth)[truth != VOID].sum()), total + int((truth != VOID).sum())
    assert right / total > 0.95
    for words, said in [
        (["--out", "x.csv"], "gives masks, no classes: --masks FOLDER"),
        ([], "give --out TABLE, or, of a run of task=segmentation, --masks FOLDER"),
    ]:
        with pytest.raises(SystemExit):
            main(["predict", str(learnt.path), str(source / "JPEGImages"), *words])
        assert said in capsys.readouterr().err


def test_photos_are_drawn_with_their_masks_and_those_predicted(learnt: Run, tmp_path: Path) -> None:
    out = tmp_path / "panel.png"
    words = ["--blur", "disk-8", "--images", "2", "--beside", str(learnt.path), "--names", "one,other"]
    with pytest.raises(SystemExit) as done:
        main(["examples", str(learnt.path), *words, "--out", str(out)])
    assert not done.value.code
    with Image.open(out) as image:
        colours = {tuple(c) for c in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
    assert {(64, 0, 0), (192, 128, 128)} <= colours, "cats and persons, in VOC's colours"


# --- the same bits --------------------------------------------------------------------------------------------------


def weights(run: Run) -> str:
    return hashlib.sha256(run.weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("which", ["square", "kept"])
def test_an_interrupted_run_ends_in_the_same_bits(photos: Photos, tmp_path: Path, which: str) -> None:
    own = settings(
        photos[which], curriculum=MIX, optimisation={"epochs": 4, "batch_norm_images": 2},
        checkpoints={"every_minutes": 0}, augmentation={"flip": 0.5},
    )  # fmt: skip
    whole = train(own, tmp_path / "whole")
    for step in (3, 6):  # within the sharp epochs, and within the mix
        train_until(step, own, tmp_path / "parts")
    parts = train(own, tmp_path / "parts")
    assert weights(parts) == weights(whole)
    assert value(parts, "miou") == value(whole, "miou")
    blurs = [event.get("blurs") for event in parts.journal() if event["event"] == "epoch"]
    assert blurs[:2] == [None, None] and set(blurs[-1]) == {"sharp", "disk-8"}


def test_a_killed_run_ends_in_the_same_bits(photos: Photos, tmp_path: Path) -> None:
    own = settings(photos["kept"], curriculum=MIX, optimisation={"epochs": 3, "batch_norm_images": 2},
                   checkpoints={"every_minutes": 0}, augmentation={"flip": 0.5})  # fmt: skip
    whole = train(own, tmp_path / "whole")
    ((code, words),) = in_processes(Training(own, tmp_path / "killed", "step", 4))
    assert code == -signal.SIGKILL, words
    assert codes(in_processes(Training(own, tmp_path / "killed"))) == [0]
    killed = Run(next((tmp_path / "killed").glob("*/settings.yaml")).parent)
    assert len(killed.attempts()) == 2 and weights(killed) == weights(whole)
    assert value(killed, "miou") == value(whole, "miou")


def test_a_mix_that_begins_sharp_is_the_clear_run_until_then(photos: Photos, tmp_path: Path) -> None:
    kept = {"checkpoints": {"keep_epochs": [2]}, "optimisation": {"epochs": 3, "learning_rate_schedule": "constant"}}
    runs = [train(settings(photos["square"], **kept, **more), tmp_path) for more in ({}, {"curriculum": MIX})]
    at_two, at_the_end = ([path.read_bytes() for path in paths] for paths in
                          ([run.stage(2) for run in runs], [run.weights for run in runs]))  # fmt: skip
    assert at_two[0] == at_two[1] and at_the_end[0] != at_the_end[1]


def test_the_loss_is_a_mean_over_the_known_pixels_of_each_image() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 4, 5, 6), torch.randint(0, 4, (3, 5, 6)).to(torch.uint8)
    masks[0, :3], masks[2] = VOID, VOID
    found, outputs = CrossEntropy()(lambda images: images, logits, masks, 0.1)
    log, each = logits.log_softmax(1).double(), []
    for image in range(3):
        known = [(y, x) for y in range(5) for x in range(6) if masks[image, y, x] != VOID]
        lost = [-0.9 * log[image, int(masks[image, y, x]), y, x] - 0.1 * log[image, :, y, x].mean() for y, x in known]
        each.append(sum(lost) / len(lost) if lost else torch.zeros(()))
    assert float(found) == pytest.approx(float(sum(each) / 3), rel=1e-5) and outputs is logits
    sums = Segmentation().sums(logits, masks)
    assert sum(int(part) for part in sums[4:8]) == int((masks != VOID).sum())


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"network": {"architecture": "resnet-18"}}, "resnet-18: gives [2, 21] for two images, and the task wants "
         "[2, 21, 32, 32]: choose a network for it"),
        ({"evaluation": {"protocol": {"scales": [40]}}}, "set scales=[48], as defined_at says"),
        ({"data": {"resolution": 46}}, "the smallest image of dataset 'kept' then has some 3"),
        ({"validation": {"every_epochs": 1, "keep_best": "top1"}}, "validation.keep_best=top1 is unknown"),
        ({"evaluation": {"measures": ["shape-bias folder=x"]}}, "measure shape-bias: is not of networks for task="),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_a_line(
    photos: Photos, tmp_path: Path, overrides: dict[str, Any], said: str
) -> None:
    with pytest.raises(BlurtrainError) as told:
        train(settings(photos["kept"], **overrides), tmp_path)
    assert said in str(told.value) and "\n" not in str(told.value)


def test_a_dataset_without_masks_is_told_so(prepared: Dataset, tmp_path: Path) -> None:
    own = settings(prepared, data={"resolution": 64}, evaluation={"split": "test"})
    with pytest.raises(BlurtrainError, match="this dataset has no masks; `blurtrain data prepare --reader voc`"):
        train(own, tmp_path)


# --- analysis -------------------------------------------------------------------------------------------------------


def test_runs_without_accuracy_are_tabulated_and_reported_beside_others(
    photos: Photos, learnt: Run, tiny: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = learnt.path.parent
    train(tiny(optimisation={"epochs": 1, "warmup_epochs": 0}), runs)
    frame = analysis.metrics(runs)
    own = frame[frame["run_id"] == learnt.id]
    assert own[(own["metric"] == "miou") & (own["blur"] == "sharp")]["value"].item() == value(learnt, "miou")
    table = analysis.table({"rows": "dataset", "columns": "blur", "metric": "miou", "where": "dataset=kept"}, runs)
    assert "Mean IOU in percent" in analysis.as_text(table) and table.cells[0][0].n == 5
    for words in (["table", "--runs", str(runs), "--rows", "run_id", "--columns", "blur",
                   "--metric", "miou"], ["report", str(runs), "--out", str(tmp_path / "report")]):  # fmt: skip
        with pytest.raises(SystemExit) as done:
            main(words)
        err = capsys.readouterr().err
        assert not done.value.code and "Traceback" not in err, (words, err)
    page = (tmp_path / "report" / "index.html").read_text()
    assert learnt.id in page and "mean iou" in page.lower()
