"""How measures are named, what one pass over the images is shared by, and what is kept beside rows."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import analysis
from blurtrain.cli import main
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.errors import SettingsError
from blurtrain.evaluation.arrays import read_arrays
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.parts import parts_named
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(evaluation={"sigmas": [0, 8], "batch_size": 4})
    return train(settings, tmp_path_factory.mktemp("runs")).path


def evaluate(run: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), *words, "--json"])
    out, err = capsys.readouterr()
    assert caught.value.code == 0, err
    return json.loads(out)


def test_options_stand_behind_the_name() -> None:
    named = measure_named("calibration bins=20")
    assert named.kind.model_validate(named.options).model_dump() == {"bins": 20}
    assert named.identity == {"measure": "calibration", "options": {"bins": 20}}
    assert measure_named("calibration bins=15").identity == {"measure": "calibration"}, "as it is without"
    assert parts_named(["mine.py:Margin most=3", "accuracy"]) == ("mine.py:Margin",)


@pytest.mark.parametrize(("words", "message"), [
    ("calibratoin", "'calibratoin' is unknown; did you mean 'calibration'"),
    ("calibration bin=3", "measure calibration: bin: unknown setting; did you mean 'bins'"),
    ("calibration bins=0", "measure calibration: bins: input should be greater than or equal to 1"),
    ("calibration 20", "'20' is no option; they are given as name=value"),
])  # fmt: skip
def test_what_does_not_fit_is_said_in_a_line(words: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        measure_named(words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_measures_of_logits_share_a_pass_and_each_keeps_its_own_levels(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blurred: list[str] = []
    original = Transform.blurred

    def watched(self: Transform, images: Any, blur: Any, indices: Any) -> Any:
        blurred.extend([blur.label] * len(indices))
        return original(self, images, blur, indices)

    monkeypatch.setattr(Transform, "blurred", watched)
    words = ["--measure", "accuracy", "--measure", "calibration", "--measure", "calibration bins=5"]
    found = evaluate(run, *words, "evaluation.blurs=[disk-4]", capsys=capsys)
    assert [document["measure"] for document in found] == ["accuracy", "calibration", "calibration"]
    assert [document.get("options") for document in found] == [None, None, {"bins": 5}]
    assert sorted(blurred) == ["disk-4"] * 9 + ["gaussian-8"] * 9 + ["sharp"] * 9, "each image once a level, for all"
    assert all({row["blur"] for row in d["rows"]} == {"sharp", "gaussian-8", "disk-4"} for d in found)
    table = analysis.metrics(run.parent)
    assert set(table["measure"]) == {"accuracy", "calibration", "calibration[bins=5]"}
    shown = analysis.table({"rows": "regime", "metric": "calibration[bins=5].ece"}, run.parent)
    assert shown.cells[0][0].estimate is not None
    meant = [
        analysis.table({"rows": "regime", "metric": metric, "where": "blur=sharp"}, run.parent).cells[0][0].estimate
        for metric in ("calibration.ece", "ece")
    ]
    assert meant[0] == meant[1] is not None, "that without options"


class OfFilters(Measure):
    """One level of its own; a metric of the images, and one of something else, which has another n."""

    name: ClassVar[str] = "filters"
    of_classes: ClassVar[bool] = False
    keeps_records: ClassVar[bool] = False

    def levels(self, blurs: Sequence[Any]) -> Sequence[str]:
        return ["first-layer"]

    def measure(self, subject: Subject, levels: Sequence[str], per_image: bool) -> Found:
        (level,) = levels
        rows = [
            {"metric": "seen", "blur": level, "sigma": None, "n": subject.images.n, "value": 0.5},
            {"metric": "accepted", "blur": level, "sigma": None, "n": 64, "count": 16},
        ]
        return Found(rows, arrays={level: {"map": np.arange(6.0).reshape(2, 3)}})


def test_a_measure_may_have_levels_arrays_and_an_n_of_its_own(
    run: Path, tiny: Tiny, prepared: Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(measure_named.__globals__["MEASURES"], "filters", "filters:OfFilters")
    monkeypatch.setattr("importlib.import_module", lambda name: __import__("sys").modules[__name__])
    found = evaluate(run, "--measure", "filters", capsys=capsys)
    taken: list[int] = []
    monkeypatch.setattr(OfFilters, "measure", lambda *_: taken.append(1))
    again = evaluate(run, "--measure", "filters", "evaluation.per_image=true", capsys=capsys)
    assert again["rows"] == found["rows"] and not taken, "there is nothing to be kept of each image"
    monkeypatch.undo()
    assert [(row["metric"], row["n"]) for row in found["rows"]] == [("seen", 9), ("accepted", 64)]
    path = run / "evaluations" / found["file"]
    assert read_arrays(path.with_suffix(".npz"))["first-layer"]["map"].tolist() == [[0, 1, 2], [3, 4, 5]]
    table = analysis.metrics(run.parent).query("measure == 'filters'").set_index("metric")
    assert table["n"].to_dict() == {"seen": 9, "accepted": 64} and table.loc["accepted", "value"] == 0.25
    shown = analysis.table({"rows": "regime", "columns": "blur", "metric": "accepted"}, run.parent)
    assert shown.cells[0][0].n == 64
