"""Run directories as tables."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.runs import results_csv
from blurtrain.errors import RunError

MakeRun = Callable[..., str]


def test_tidy_frame_has_a_row_per_run_and_sigma(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs, "faces", "blurry", 3, {0.0: 70, 8.0: 43})
    frame = analysis.load(str(runs))
    assert frame.to_dict("records")[1] == {
        "run_id": run_id, "dataset": "faces", "regime": "blurry", "model": "alexnet-sup", "seed": 3, "sigma": 8.0,
        "top1": 50.0, "top5": pytest.approx(100 * 48 / 86), "top1_count": 43, "top5_count": 48, "n": 86, "classes": 26,
        "largest_class": 25, "epochs": 60, "resolution": 64, "split": "test", "truncate": 4.0,
        "light": "sRGB", "pixels": "source",
    }  # fmt: skip
    assert frame["top1"][0] == pytest.approx(100 * 70 / 86)
    assert len(frame) == 2


def test_rows_are_in_the_order_of_the_study(runs: Path, make_run: MakeRun) -> None:
    for dataset in ("zebras", "imagenet-100", "apples", "toybox-instance", "faces"):
        for regime in ("replay", "blurry-to-clear", "clear", "blurry"):
            make_run(runs, dataset, regime, counts={8.0: 1, 0.0: 2})
    frame = analysis.load(runs)
    assert list(dict.fromkeys(frame["dataset"])) == ["faces", "toybox-instance", "imagenet-100", "apples", "zebras"]
    assert list(dict.fromkeys(frame["regime"])) == ["clear", "blurry", "blurry-to-clear", "replay"]
    assert frame["sigma"].tolist() == [0.0, 8.0] * 20


def test_sigma_is_in_pixels_at_224_whatever_the_run_says_it_in(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, counts={0.0: 5, 4.0: 3}, reference_resolution=112)
    assert analysis.load(runs)["sigma"].tolist() == [0.0, 8.0]


def test_results_csv_has_exactly_the_promised_columns(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run(runs, regime="clear", counts={0.0: 70, 0.5: 60, 16.0: 7})
    make_run(runs, regime="blurry", counts={0.0: 8, 2.0: 9})
    text = results_csv(analysis.load(runs))
    header, row, other = text.splitlines()
    assert header == (
        "run_id,dataset,regime,seed,top1@0,top1@0.5,top1@2,top1@16,n,classes,model,epochs,resolution,split,pixels"
    )
    assert row == f"{first},faces,clear,0,81.3953,69.7674,,8.1395,86,26,alexnet-sup,60,64,test,source"
    assert other.split(",")[4:8] == ["9.3023", "", "10.4651", ""]


def test_measurements_of_before_there_were_test_stores_are_of_stored_pixels(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs) / "evaluations" / "accuracy-0123abcd.json"
    path.write_text(json.dumps(_without("pixels")(json.loads(path.read_text()))))
    assert analysis.load(runs)["pixels"].unique().tolist() == ["stored"]


def test_counts_can_be_had_back_from_results_csv(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    counts = {float(s): 13518 - 401 * s for s in range(33)}
    make_run(runs, counts=counts, n=13518)
    (tmp_path / "results.csv").write_text(results_csv(analysis.load(runs)))
    row = pd.read_csv(tmp_path / "results.csv").iloc[0]
    assert {s: round(row[f"top1@{s:g}"] * row["n"] / 100) for s in counts} == counts


def test_unfinished_runs_are_left_out_and_named(runs: Path, make_run: MakeRun) -> None:
    done, open_run = make_run(runs), make_run(runs, regime="blurry", done=False)
    assert analysis.load(runs)["run_id"].unique().tolist() == [done]
    assert analysis.unfinished(runs) == [open_run]


def test_a_folder_without_a_done_run_is_a_clear_error(runs: Path, make_run: MakeRun) -> None:
    with pytest.raises(RunError, match=r"runs: holds no run"):
        analysis.load(runs)
    make_run(runs, done=False)
    with pytest.raises(RunError, match=r"none of its 1 runs is done"):
        analysis.load(runs)
    with pytest.raises(RunError, match="no such folder"):
        analysis.load(runs / "elsewhere")


def _without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: {k: v for k, v in document.items() if k != key}


def _with(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document | values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("n"), "n: missing"),
        (_without("levels"), "levels: missing"),
        (_with(levels=[]), "levels"),
        (_with(measure="entropy"), "measure"),
        (_with(n=0), "n: "),
        (_with(levels=[{"sigma": 0, "top1": 87, "top5": 87}]), "top1 <= top5 <= n"),
        (_with(levels=[{"sigma": 0, "top1": 9, "top5": 8}]), "top1 <= top5 <= n"),
        (_with(levels=[{"sigma": 0, "top1": 9, "top5": 9}] * 2), "given twice"),
        (_with(levels=[{"sigma": math.inf, "top1": 9, "top5": 9}]), "sigma"),
        (_with(largest_class=87), "largest_class"),
    ],
)
def test_damaged_evaluation_is_an_error_that_names_it(
    runs: Path, make_run: MakeRun, damage: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    path = runs / make_run(runs) / "evaluations" / "accuracy-0123abcd.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(RunError, match=message) as caught:
        analysis.load(runs)
    assert str(path) in str(caught.value)


def test_torn_or_missing_files_are_errors_that_name_them(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs) / "evaluations" / "accuracy-0123abcd.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(RunError, match=r"accuracy-0123abcd\.json: cannot be read"):
        analysis.load(runs)
    path.write_text('["no mapping"]')
    with pytest.raises(RunError, match=r"accuracy-0123abcd\.json"):
        analysis.load(runs)
    path.unlink()
    with pytest.raises(RunError, match=r"accuracy-0123abcd\.json: is missing"):
        analysis.load(runs)


def test_the_evaluation_must_lie_in_the_run(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, accuracy="../../elsewhere.json")
    with pytest.raises(RunError, match=r"result\.json: accuracy"):
        analysis.load(runs)


def test_a_copied_run_does_not_pass_for_another(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs)
    (runs / run_id).rename(runs / "copy")
    with pytest.raises(RunError, match=f"copy: holds run '{run_id}'"):
        analysis.load(runs)
