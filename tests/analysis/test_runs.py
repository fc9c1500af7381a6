"""Run directories as tables."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from accuracy_file import evaluation

import analysis
from analysis.collecting.runs import results_csv, scan
from blurtrain.errors import RunError
from blurtrain.run import Run

MakeRun = Callable[..., str]


def test_tidy_frame_has_a_row_per_run_and_sigma(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs, "faces", "blurry", 3, {0.0: 70, 8.0: 43})
    frame = analysis.load(str(runs))
    values = ["loss", "entropy", "cross_entropy"]
    assert frame[values].isna().all(axis=None)
    assert frame.drop(columns=values).to_dict("records")[1] == {
        "run_id": run_id, "dataset": "faces", "regime": "blurry", "model": "alexnet-sup", "seed": 3, "sigma": 8.0,
        "blur": "gaussian-8",
        "top1": 50.0, "top5": pytest.approx(100 * 48 / 86), "top1_count": 43, "top5_count": 48, "split": "test",
        "resolution": 64, "truncate": 4.0, "light": "sRGB", "pixels": "source", "protocol": "whole",
        "deblur": "none", "drop_last": False,
        "epoch": 60, "n": 86, "classes": 26, "largest_class": 25,
        "objects": 0, "object_n": None, "object_top1": None, "epochs": 60, "data_id": "1de4f0c1db203d86",
        "settings_id": frame["settings_id"][0],
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
        "run_id,dataset,regime,seed,top1@0,top1@0.5,top1@2,top1@16,n,classes,model,epochs,resolution,split,"
        "truncate,light,pixels,protocol,deblur,drop_last,epoch,largest_class,objects,data_id,settings_id"
    )
    assert row.startswith(
        f"{first},faces,clear,0,81.3953,69.7674,,8.1395,86,26,alexnet-sup,60,64,test,4,sRGB,source,whole,none,False,60,25,0,1de4f0c1db203d86,"
    )
    assert other.split(",")[4:8] == ["9.3023", "", "10.4651", ""]


def test_measurements_of_before_there_were_test_stores_are_of_stored_pixels(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs) / "evaluations" / "accuracy-0123abcd.json"
    document = json.loads(path.read_text())
    del document["pixels"]
    path.write_text(json.dumps(document))
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


def test_what_a_search_has_stopped_is_not_missing(runs: Path, make_run: MakeRun) -> None:
    done, open_run, pruned = make_run(runs), *(make_run(runs, regime="blurry", seed=k, done=False) for k in (0, 1))
    Run(runs / pruned).mark_pruned("a-search", 7, 3, "others promise more")
    collected = scan(runs)
    assert collected.frame["run_id"].unique().tolist() == [done]
    assert (collected.missing, collected.pruned) == ([open_run], [pruned])
    assert set(collected.settings) == {done, open_run, pruned}
    assert analysis.unfinished(runs) == sorted([open_run, pruned])


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
        (_with(objects=[80, 5]), "objects do not add up"),
        (_with(levels=[{"sigma": 0, "top1": 9, "top5": 9, "top1_by_object": [9]}]), "does not fit"),
        (_with(objects=[80, 6], levels=[{"sigma": 0, "top1": 9, "top5": 9}]), "does not fit"),
        (_with(objects=[80, 6], levels=[{"sigma": 0, "top1": 9, "top5": 9, "top1_by_object": [2, 7]}]), "<= objects"),
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


# --- what a run is, and in what runs differ -------------------------------------------------------------------------


def test_a_run_is_called_what_its_settings_say(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, settings={"curriculum": {"schedule": "constant", "sigma": 8}})
    make_run(runs, regime="blurry", settings={"curriculum": {"sigma": 4}})
    make_run(runs, regime="mild")
    make_run(runs, settings={"model": "alexnet-sup", "network": {"architecture": "timm/resnet10t"}})
    frame = analysis.load(runs).drop_duplicates("run_id")
    assert frame[["regime", "model"]].to_numpy().tolist() == [
        ["clear", "timm-resnet10t"], ["blurry", "alexnet-sup"], ["constant sigma=4", "alexnet-sup"],
        ["mild", "alexnet-sup"],
    ]  # fmt: skip


def test_swept_settings_are_columns_and_what_labels_say_is_none(runs: Path, make_run: MakeRun) -> None:
    for seed, rate in enumerate((1e-3, 1e-4)):
        make_run(runs, seed=seed, settings={"optimisation": {"learning_rate": rate}, "loader": {"workers": seed}})
    make_run(runs, regime="blurry", settings={"model": "resnet-18"})
    make_run(runs, "imagenet-100", settings={"optimisation": {"weight_decay": 0.5}})
    frame = analysis.load(runs)
    assert [name for name in frame.columns if "." in name] == ["optimisation.learning_rate"]
    assert frame.drop_duplicates("run_id")["optimisation.learning_rate"].tolist() == [1e-4, 1e-3, 1e-3, 1e-3]
    assert results_csv(frame).splitlines()[0].endswith(",settings_id,optimisation.learning_rate")


def test_runs_of_one_settings_id_differ_in_their_seed_alone(runs: Path, make_run: MakeRun) -> None:
    same = [make_run(runs, seed=seed, settings={"loader": {"workers": seed}}) for seed in (0, 1)]
    make_run(runs, seed=2, data="another")
    make_run(runs, seed=3, settings={"optimisation": {"label_smoothing": 0.1}})
    make_run(runs, seed=4, data=None)
    make_run(runs, seed=5, data=None)  # who knows whether that is the same one
    ids = analysis.load(runs).drop_duplicates("run_id").set_index("run_id")["settings_id"]
    assert ids[same[0]] == ids[same[1]]
    assert ids.nunique() == 5


# --- several evaluations of a run -----------------------------------------------------------------------------------


def later(runs: Path, run_id: str, counts: dict[float, int], **fields: Any) -> Path:
    """Another evaluation of a run."""
    folder = runs / run_id / "evaluations"
    path = folder / f"accuracy-{len(list(folder.iterdir())):012x}.json"
    path.write_text(evaluation(counts, **fields))
    return path


def test_later_evaluations_are_merged_level_by_level(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs, counts={0.0: 70, 8.0: 43})
    later(runs, run_id, {2.0: 60, 8.0: 43})
    later(runs, run_id, {2.0: 30}, reference_resolution=112)  # 4 px at 224
    frame = analysis.load(runs)
    assert frame[["sigma", "top1_count"]].to_numpy().tolist() == [[0, 70], [2, 60], [4, 30], [8, 43]]
    assert len(analysis.results(frame)) == 1


def test_other_conditions_make_other_rows(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs, counts={0.0: 70})
    later(runs, run_id, {0.0: 20}, split="val", n=30, largest_class=3)
    table = analysis.results(analysis.load(runs))
    assert table[["run_id", "top1@0", "n", "split"]].to_numpy().tolist() == [
        [run_id, pytest.approx(100 * 70 / 86), 86, "test"], [run_id, pytest.approx(100 * 20 / 30), 30, "val"],
    ]  # fmt: skip


def test_a_level_that_was_measured_twice_must_agree_or_is_reported(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs, counts={0.0: 70, 8.0: 43})
    path = later(runs, run_id, {0.0: 70, 8.0: 44})
    with pytest.warns(
        UserWarning, match=rf"{run_id}: measured twice at sigma 8, with 43 and \(in {path.name}\) 44 of 86"
    ):
        frame = analysis.load(runs)
    assert frame["top1_count"].tolist() == [70, 43]


def test_a_later_evaluation_brings_the_objects_that_an_earlier_one_lacks(runs: Path, make_run: MakeRun) -> None:
    run_id = make_run(runs, counts={0.0: 70})
    path = runs / run_id / "evaluations" / "accuracy-0123abcd.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "objects"}))
    assert math.isnan(analysis.load(runs)["objects"][0])
    later(runs, run_id, {0.0: 70}, objects=[[43, 43], [40, 30]])
    assert analysis.load(runs).loc[0, ["objects", "object_n", "object_top1"]].tolist() == [2, (43, 43), (40, 30)]


# --- runs of older versions -----------------------------------------------------------------------------------------


def test_runs_of_an_older_version_are_read(tmp_path: Path) -> None:
    """Made by version 0.1 at commit 5fd0634: no objects, no data id in the result, a ResNet-18 under the default's
    name, and a level that is given twice."""
    frame = analysis.load(shutil.copytree(Path(__file__).parent / "old_runs", tmp_path / "runs"))
    table = analysis.results(frame)
    assert table[["regime", "model", "seed", "optimisation.learning_rate", "top1@8"]].round(1).to_numpy().tolist() == [
        ["clear", "alexnet-sup", 2, 0.0, 66.7], ["clear", "alexnet-sup", 0, 0.0, 61.1],
        ["clear", "alexnet-sup", 1, 0.0, 66.7], ["clear", "alexnet-sup", 3, 0.0, 44.4],
        ["clear", "resnet-18", 0, 0.0, 100.0], ["blurry", "alexnet-sup", 0, 0.0, 66.7],
    ]  # fmt: skip
    assert table["settings_id"].nunique() == 4
    assert set(table["data_id"]) == {"1de4f0c1db203d86"}
