"""What was measured before is not computed again; several evaluators lose nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluators
import pandas as pd
import pytest

import analysis
from blurtrain.blur.blurs import Gaussian
from blurtrain.cli import main
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.store import PixelStore
from blurtrain.errors import RunError
from blurtrain.evaluation import evaluate
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A done run of two epochs, of which the first is kept."""
    settings = tiny(checkpoints={"keep_epochs": [1]}, evaluation={"sigmas": [0], "batch_size": 2})
    return train(settings, tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "runs" / trained.name
    shutil.copytree(trained, copy)
    return copy


def documents(run: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in (run / "evaluations").glob("*.json")}


def outcome(run: Path, *words: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), *map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert caught.value.code == 0, err
    return json.loads(out)


def test_one_level_more_decodes_the_split_once_and_computes_one_level(
    run: Path, prepared: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["loader.kind=pytorch", "loader.workers=1"]
    eleven = [float(sigma) for sigma in range(11)]
    first = outcome(run, f"evaluation.sigmas={eleven}", *words, capsys=capsys)
    files = documents(run)
    resized, blurred, loaded = [], [], []

    def watch(owner: type, name: str, note: Callable[..., None]) -> None:
        original = getattr(owner, name)

        def watched(self: Any, *arguments: Any, **named: Any) -> Any:
            note(self, *arguments)
            return original(self, *arguments, **named)

        monkeypatch.setattr(owner, name, watched)

    watch(Transform, "resized", lambda _, images: resized.append(len(images)))
    watch(Transform, "normalise", lambda _, images: blurred.append(len(images)))
    watch(PixelStore, "read", lambda _, indices, *more: loaded.append(len(indices)))
    more = outcome(run, f"evaluation.sigmas={[*eleven, 11.5]}", "loader.kind=resident", capsys=capsys)
    n = len(prepared.split("test")[0])
    assert sum(resized) == n, "each image is resized once"
    assert sum(blurred) == n, "each image is blurred once: at the new level"
    assert loaded == [12], "the store of val and test images is decoded once"
    assert more["rows"][:-5] == first["rows"] and {row["blur"] for row in more["rows"][-5:]} == {"gaussian-11.5"}
    assert documents(run).keys() == files.keys() and len(files) == 1, "no file per level"
    resized.clear()
    again = outcome(run, f"evaluation.sigmas={[11.5, *eleven]}", capsys=capsys)
    assert not resized and again["rows"] == more["rows"][-5:] + first["rows"], "in the order that was asked for"


def test_other_conditions_are_other_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("evaluation.split=val", "evaluation.split=train", "evaluation.drop_last=true"):
        outcome(run, word, capsys=capsys)
    outcome(run, "--epoch", 1, capsys=capsys)
    found = documents(run).values()
    assert sorted((d["split"], d["epoch"], d["n"]) for d in found) == [
        ("test", 1, 9), ("test", 2, 8), ("test", 2, 9), ("train", 2, 30), ("val", 2, 3),
    ]  # fmt: skip
    outcome(run, "evaluation.batch_size=5", capsys=capsys)
    assert len(documents(run)) == 5, "the size of batches changes nothing"


def test_a_kept_epoch_is_measured_by_its_own_weights(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last, first = outcome(run, capsys=capsys), outcome(run, "--epoch", "1", capsys=capsys)
    assert (last["epoch"], first["epoch"]) == (2, 1)
    assert [row["value"] for row in first["rows"][2:5]] != [row["value"] for row in last["rows"][2:5]]
    kept = run / "checkpoints" / "epoch-0001.safetensors"
    (run / "weights.safetensors").write_bytes(kept.read_bytes())
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "sha256": {}}))  # or they are said to be damaged
    shutil.rmtree(run / "evaluations")
    assert [row["value"] for row in outcome(run, capsys=capsys)["rows"][2:5]] == [
        row["value"] for row in first["rows"][2:5]
    ]


def test_stages_are_all_that_was_kept_and_the_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), "--stages", "--measure", "accuracy", "--measure", "calibration", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert caught.value.code == 0
    each = [(document["measure"], document["epoch"]) for document in printed]
    assert each == [("accuracy", 1), ("calibration", 1), ("accuracy", 2), ("calibration", 2)]
    (run / "weights.safetensors").unlink()
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), "--stages", "--json"])
    assert json.loads(capsys.readouterr().out)["epoch"] == 1, "a run that is still training: at what was kept"


def test_a_run_that_is_still_training_is_measured_where_it_was_kept(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "result.json").unlink()
    (run / "weights.safetensors").unlink()
    assert outcome(run, "--epoch", "1", capsys=capsys)["n"] == 9
    for words, message in (
        ([], "has not been trained to its end; --epoch N measures one that is kept: 1"),
        (["--epoch", "3"], "has no weights of epoch 3 (there are: 1)"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", str(run), *words])
        err = capsys.readouterr().err
        assert caught.value.code == 2 and message in err and err.count("\n") == 1


def test_levels_of_an_older_version_are_taken_over(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file as commit 18160ae wrote it for this very run, but for counts that no network of ours would give."""
    (name,) = documents(run)
    header = {k: v for k, v in documents(run)[name].items() if k != "rows"}
    levels = [{"sigma": 0.0, "top1": 1, "top5": 9}, {"sigma": 3.0, "top1": 2, "top5": 8}]
    for path in (run / "evaluations").iterdir():
        path.unlink()
    former = run / "evaluations" / f"accuracy-{former_name(run, header['store'])}.json"
    former.write_text(json.dumps({**header, "levels": levels}))
    found = outcome(run, "evaluation.sigmas=[0,3]", capsys=capsys)
    assert [(row["metric"], row["blur"], row["count"]) for row in found["rows"]] == [
        ("top1", "sharp", 1), ("top5", "sharp", 9), ("top1", "gaussian-3", 2), ("top5", "gaussian-3", 8),
    ]  # fmt: skip
    more = outcome(run, "evaluation.sigmas=[3,4]", capsys=capsys)
    assert [row["metric"] for row in more["rows"] if row["blur"] == "gaussian-4"] == [
        "top1", "top5", "loss", "entropy", "cross_entropy",
    ]  # fmt: skip
    assert former.exists(), "files of old stay as they are"
    (run / "result.json").write_text(
        json.dumps(json.loads((run / "result.json").read_text()) | {"accuracy": former.name})
    )
    frame = analysis.load(run.parent)
    assert frame[["sigma", "top1_count"]].iloc[:2].to_numpy().tolist() == [[0, 1], [3, 2]]


def former_name(run: Path, store: str) -> str:
    """As that commit has it: a hash of what the counts depended on."""
    import hashlib

    settings = Run(run).settings
    rules = {"reference_resolution": 224, "truncate": 4.0, "linear_light": False}
    assert settings.data.resolution == 64
    return hashlib.sha256(json.dumps([3, "test", [0.0, 3.0], 2, rules, 64, store]).encode()).hexdigest()[:12]


def test_records_of_each_image_are_those_that_the_counts_are_of(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blurs = "evaluation.blurs=[disk-4]"
    whole = outcome(run, "evaluation.sigmas=[0,8]", blurs, capsys=capsys)
    assert not list((run / "evaluations").glob("*.parquet")), "only where asked for"
    outcome(run, "evaluation.sigmas=[0]", "evaluation.per_image=true", capsys=capsys)
    found = outcome(run, "evaluation.sigmas=[8]", blurs, "evaluation.per_image=true", capsys=capsys)
    assert found["rows"] == whole["rows"][5:], "measured again for the records, the rows are the same"
    (path,) = (run / "evaluations").glob("*.parquet")
    records = pd.read_parquet(path)
    assert list(records.columns) == [
        "blur", "index", "label", "prediction", "confidence", "correct", "top1", "top5", "loss", "entropy",
        "cross_entropy",
    ]  # fmt: skip
    assert path.stem == found["file"].removesuffix(".json")
    for blur, rows in records.groupby("blur", observed=True):
        of = {row["metric"]: row.get("count", row.get("value")) for row in whole["rows"] if row["blur"] == blur}
        assert (len(rows), rows["correct"].sum(), rows["top5"].sum()) == (9, of["top1"], of["top5"])
        assert (rows["correct"] == (rows["prediction"] == rows["label"])).all()
        assert rows["loss"].mean() == pytest.approx(of["loss"], rel=1e-6)
    assert set(records["blur"]) == {"sharp", "gaussian-8", "disk-4"}


def test_a_damaged_outcome_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (run / "evaluations").glob("accuracy-*.json")
    path.write_text(path.read_text()[:100])
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run)])
    assert caught.value.code == 2 and f"{path}: cannot be read" in capsys.readouterr().err


def test_an_outcome_that_was_changed_is_neither_shown_nor_added_to(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (run / "evaluations").glob("accuracy-*.json")
    whole = path.read_bytes()
    digit = whole.index(b'"count": ') + len(b'"count": ')
    changed = bytearray(whole)
    changed[digit] ^= 1  # 8 images right in place of 9, say
    path.write_bytes(changed)
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), "evaluation.sigmas=[0,4]"])
    assert caught.value.code == 2 and f"{path}: is damaged" in capsys.readouterr().err
    with pytest.raises(RunError, match="is damaged: it does not fit its SHA-256"):
        analysis.load(run.parent)
    path.unlink()
    outcome(run, "evaluation.sigmas=[0]", capsys=capsys)
    assert path.read_bytes() == whole, "and measured again it is as it was"


def test_records_that_were_changed_are_not_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome(run, "evaluation.sigmas=[0]", "evaluation.per_image=true", capsys=capsys)
    (path,) = (run / "evaluations").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{path.name}: cannot be read"):
        assert analysis.load(run.parent, table="images").empty
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), "evaluation.sigmas=[4]", "evaluation.per_image=true"])
    assert caught.value.code == 2 and f"{path}: is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_give_the_counts_of_one(run: Path, tmp_path: Path) -> None:
    words = [run, "evaluation.sigmas=[0,2,8]", "evaluation.blurs=[shake]", "evaluation.per_image=true", "--json"]
    words += ["--measure", "accuracy", "--measure", "calibration"]
    found = []
    for ranks in (1, 2):
        shutil.rmtree(run / "evaluations")
        ended = evaluators.run(words, tmp_path / f"log-{ranks}", ranks)
        assert [code for code, _ in ended] == [0] * ranks, ended
        assert all(text == "" for _, text in ended[1:]), "the leading process alone speaks"
        (path,) = (run / "evaluations").glob("accuracy-*.parquet")
        printed = json.loads(ended[0][1])
        found.append(([row for document in printed for row in document["rows"]], pd.read_parquet(path)))
    (one, records), (two, records_of_two) = found
    assert {"top1", "ece", "aurc"} <= {row["metric"] for row in one}
    for a, b in zip(one, two, strict=True):
        assert {**a, "value": None} == {**b, "value": None}
        assert a.get("value", 0) == pytest.approx(b.get("value", 0), rel=1e-6)
    exact = ["blur", "index", "label", "prediction", "correct"]
    assert records[exact].astype(str).equals(records_of_two[exact].astype(str))


@pytest.mark.slow
def test_several_evaluators_of_a_run_lose_nothing(run: Path, tmp_path: Path) -> None:
    levels = [[k, k + 0.5, 20] for k in range(1, 5)]
    started = [
        evaluators.start([run, f"evaluation.sigmas={sigmas}", "evaluation.per_image=true"], tmp_path / f"log-{k}")[0]
        for k, sigmas in enumerate(levels)
    ]
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * 4
    (document,) = documents(run).values()
    expected = {"sharp", *(Gaussian(sigma=sigma).label for sigmas in levels for sigma in sigmas)}
    assert {row["blur"] for row in document["rows"]} == expected
    assert len(document["rows"]) == 5 * len(expected), "and nothing is there twice"
    (path,) = (run / "evaluations").glob("*.parquet")
    records = pd.read_parquet(path)
    assert len(records) == 9 * (len(expected) - 1) and set(records["blur"]) == expected - {"sharp"}


def test_a_mistake_of_one_process_ends_all(run: Path, tmp_path: Path) -> None:
    ended = evaluators.run([run, "optimisation.epochs=9"], tmp_path / "log", 2)
    assert [code for code, _ in ended] == [2, 2]
    assert all("it would be another run" in text for _, text in ended)


# --- from Python, and measures of one's own -------------------------------------------------------------------------


def test_the_function_gives_rows_for_a_notebook(run: Path) -> None:
    rows = evaluate(run, blurs=[0, 4, "disk-4", Gaussian(sigma=2)], split="val")
    frame = pd.DataFrame(rows)
    assert frame["blur"].unique().tolist() == ["sharp", "gaussian-4", "disk-4", "gaussian-2"]
    assert set(frame["measure"]) == {"accuracy"} and set(frame["split"]) == {"val"} and set(frame["n"]) == {3}


OWN = '''
from blurtrain.evaluation.measure import LogitsMeasure


class Margin(LogitsMeasure):
    """How far the best logit is above the second."""

    name = "margin"
    metrics = {"margin": {"better": "higher", "digits": 2}}

    def values(self, logits, labels):
        best = logits.topk(2, dim=1).values
        return {"margin": best[:, 0] - best[:, 1], "sure": best[:, 0] - best[:, 1] > 0.01}
'''


def test_a_measure_of_ones_own_is_measured_and_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "margins.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--measure", "margins:Margin", "evaluation.sigmas=[8]"]
    found = outcome(run, *words, capsys=capsys)
    assert [row["metric"] for row in found["rows"]] == ["margin", "sure"]
    assert found["part"] == "margins:Margin" and found["file"].startswith("margin-")
    table = analysis.metrics(run.parent).query("measure == 'margin'")
    assert table[["metric", "blur", "sigma", "n"]].to_numpy().tolist() == [
        ["sure", "gaussian-8", 8, 9], ["margin", "gaussian-8", 8, 9],
    ]  # fmt: skip
    shown = analysis.table({"rows": "regime", "metric": "margin"}, run.parent)
    assert (shown.facts["margin"].better, shown.facts["margin"].digits) == ("higher", 2)
    (tmp_path / "margins.py").write_text(OWN + "\n# changed\n")
    assert outcome(run, *words, capsys=capsys)["file"] != found["file"], "changed source: measured anew"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--measure", "acuracy"], "measure 'acuracy' is unknown; did you mean 'accuracy'?"),
        (["--measure", "no_such_module:Margin"], "measure no_such_module:Margin"),
        (["evaluation.blurs=[disk-4,disk-4]"], "evaluation: disk-4 is given twice"),
        (["evaluation.blurs=[dusk-4]"], "dusk-4"),
        (["evaluation.sigmas=[]"], "at least one level"),
        (["--out", "elsewhere"], "--out goes with --dataset"),
    ],
)
def test_mistakes_are_one_line(run: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), *words])
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and out == "" and message in err and err.count("\n") == 1


OWN_BLUR = """
from blurtrain.blur.blurs import Blur


class Darker(Blur):
    by: float = 2.0

    def blurred(self, images, indices, **_):
        return images / self.by
"""


def test_a_blur_of_ones_own_is_measured_anew_once_its_source_is_another(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "darkness.py").write_text(OWN_BLUR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["evaluation.sigmas=[0]", "evaluation.blurs=['darkness:Darker-by=4']"]
    first = outcome(run, *words, capsys=capsys)
    (name,) = documents(run)
    before = (run / "evaluations" / name).stat().st_mtime_ns
    assert outcome(run, *words, capsys=capsys) == first
    assert (run / "evaluations" / name).stat().st_mtime_ns == before
    (tmp_path / "darkness.py").write_text(OWN_BLUR + "\n# changed\n")
    again = outcome(run, *words, capsys=capsys)
    (document,) = documents(run).values()
    assert document["rows"] == again["rows"], "the old rows are gone"
    assert first["rows"][5]["source"] != again["rows"][5]["source"] and first["rows"][:5] == again["rows"][:5]
