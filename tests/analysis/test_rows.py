"""Evaluations as rows, with levels of other kernels, in tables and on the page."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from accuracy_file import evaluation

import analysis
from blurtrain.errors import RunError

MakeRun = Callable[..., str]
DISKS = {"disk-10": 11, "disk-4": 43}


def rows(path: Path, counts: Mapping[float, int], others: Mapping[str, int], **fields: Any) -> Path:
    """An evaluation in the present form, in place of (or beside) the one at `path`."""
    document = json.loads(evaluation(counts, **fields))
    levels = [(f"gaussian-{s:g}" if s else "sharp", s, count) for s, count in counts.items()]
    levels += [(label, None, count) for label, count in others.items()]
    document["rows"] = [
        row
        for blur, sigma, count in levels
        for row in (
            {"metric": "top1", "blur": blur, "sigma": sigma, "n": document["n"], "count": count},
            {"metric": "top5", "blur": blur, "sigma": sigma, "n": document["n"], "count": min(count + 5, 86)},
            {"metric": "loss", "blur": blur, "sigma": sigma, "n": document["n"], "value": 2.5},
            {"metric": "entropy", "blur": blur, "sigma": sigma, "n": document["n"], "value": None, "not_finite": 1},
        )
    ]
    del document["levels"]
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def measured(runs: Path, make_run: MakeRun) -> Path:
    """The file of a run measured at sigma 0 and 8, and at two disks."""
    path = runs / make_run(runs, counts={0.0: 70}) / "evaluations" / "accuracy-0123abcd.json"
    return rows(path, {0.0: 70, 8.0: 43}, DISKS)


def test_levels_that_are_no_gaussian_have_their_label_and_no_sigma(runs: Path, measured: Path) -> None:
    frame = analysis.load(runs)
    assert frame["blur"].tolist() == ["sharp", "gaussian-8", "disk-4", "disk-10"]
    assert frame["sigma"].fillna(-1).tolist() == [0, 8, -1, -1]
    assert frame["top1_count"].tolist() == [70, 43, 43, 11]
    assert (frame["loss"] == 2.5).all() and frame["entropy"].isna().all()
    table = analysis.results(frame)
    assert [name for name in table.columns if "@" in name] == ["top1@0", "top1@8", "top1@disk-4", "top1@disk-10"]
    assert table["top1@disk-4"].tolist() == [50.0]


def test_both_forms_of_one_run_are_merged(runs: Path, measured: Path) -> None:
    measured.with_name("accuracy-old.json").write_text(evaluation({2.0: 60, 8.0: 43}))
    frame = analysis.load(runs)
    by_blur = frame.set_index("blur")
    assert by_blur.loc["gaussian-2", "top1_count"] == 60 and math.isnan(by_blur.loc["gaussian-2", "loss"])
    assert by_blur.loc["gaussian-8", "loss"] == 2.5
    assert len(frame) == 5


def test_a_level_is_the_same_whatever_its_sigma_was_given_in(runs: Path, measured: Path) -> None:
    rows(measured, {4.0: 43}, {}, reference_resolution=112)
    assert analysis.load(runs)[["blur", "sigma"]].to_numpy().tolist() == [["gaussian-8", 8.0]]


def test_counts_keep_their_objects(runs: Path, measured: Path) -> None:
    document = json.loads(measured.read_text()) | {"objects": [80, 6]}
    for row in document["rows"]:
        row |= {"by_object": [row["count"] - 5, 5]} if row["metric"] == "top1" else {}
    measured.write_text(json.dumps(document))
    frame = analysis.load(runs).set_index("blur")
    assert frame.loc["disk-4", ["objects", "object_n", "object_top1"]].tolist() == [2, (80, 6), (38, 5)]


def test_all_metrics_come_as_a_long_table(runs: Path, measured: Path) -> None:
    document = json.loads(measured.read_text()) | {"measure": "margin"}
    document["rows"] = [{"metric": "margin", "blur": "disk-4", "sigma": None, "n": 86, "value": 0.25}]
    measured.with_name("margin-0123abcd.json").write_text(json.dumps(document))
    table = analysis.metrics(runs)
    assert set(table["measure"]) == {"accuracy", "margin"}
    (margin,) = table.query("measure == 'margin'").to_dict("records")
    assert (margin["metric"], margin["blur"], margin["value"], margin["n"]) == ("margin", "disk-4", 0.25, 86)
    top1 = table.query("metric == 'top1' and blur == 'disk-4'").iloc[0]
    assert (top1["value"], top1["count"]) == (0.5, 43)
    assert len(analysis.load(runs)) == 4, "other measures are no rows of the accuracies"


def _with(metric: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    def damage(document: dict[str, Any]) -> None:
        next(row for row in document["rows"] if row["metric"] == metric).update(values)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_with("top1", count=87), "top1 <= top5 <= n"),
        (_with("top5", count=69), "top1 <= top5 <= n"),
        (_with("top1", n=85), "n=85 images, not n=86"),
        (_with("top1", by_object=[70]), "does not fit"),
        (_with("loss", value=math.inf), "rows"),
        (lambda document: document.update(rows=[]), "rows"),
    ],
)
def test_damaged_rows_are_an_error_that_names_the_file(
    runs: Path, measured: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = json.loads(measured.read_text())
    damage(document)
    measured.write_text(json.dumps(document))
    with pytest.raises(RunError, match=message) as caught:
        analysis.load(runs)
    assert str(measured) in str(caught.value)


def text_of(index: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", index.read_text()))


def test_the_report_shows_other_kernels_by_their_labels(runs: Path, measured: Path, tmp_path: Path) -> None:
    page = text_of(analysis.report(runs, tmp_path / "out"))
    table = page.split("Other blurs")[-1].split("Method")[0]
    assert "regime seed n disk-4 disk-10" in table
    assert re.search(r"0 86 50\.0 39\.7–60\.3 12\.8", table), "43 and 11 of 86, with Wilson's interval"
    assert re.search(r"σ 0 σ 8 .*81\.4", page.split("Results")[-1])


def test_a_run_without_any_gaussian_is_reported(runs: Path, measured: Path, tmp_path: Path) -> None:
    rows(measured, {}, DISKS)
    out = tmp_path / "out"
    page = text_of(analysis.report(runs, out))
    assert "No run was measured at a Gaussian blur." in page and "disk-10" in page
    assert not (out / "figures" / "accuracy.png").exists()
