"""Tables whose rows and columns are found among the runs: which lines there are, what is averaged, what is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured_runs import evaluated, images, measured, own_measure
from search_folder import SearchFolder

import analysis
from analysis.statistics.estimates import summary
from analysis.tabulation.cells import Cell
from analysis.tabulation.tables import Table
from blurtrain.errors import SettingsError
from blurtrain.run import Run

MakeRun = Callable[..., str]
RIGHT = {"sharp": images(40), "gaussian-8": images(20), "disk-4": images(30)}


def labels(table: Table) -> tuple[list[str], list[str]]:
    return [" / ".join([*head.groups, head.label]) for head in table.rows], [
        " / ".join([*head.groups, head.label]) for head in table.columns
    ]


def cells(table: Table) -> dict[tuple[str, str], Cell]:
    rows, columns = labels(table)
    return {(row, column): cell for row, of_row in zip(rows, table.cells, strict=True)
            for column, cell in zip(columns, of_row, strict=True)}  # fmt: skip


def value(cell: Cell) -> float:
    assert cell.estimate
    return cell.estimate.value


def test_there_is_a_line_for_each_value_in_its_natural_order(runs: Path, make_run: MakeRun) -> None:
    blurs = {"disk-10": images(1), "shake": images(2), "gaussian-8": images(3), "disk-4": images(4), "sharp": images(5)}
    for regime in ("zebra", "blurry-to-clear", "apple", "clear"):
        measured(runs, make_run, blurs, regime)
    table = analysis.table({"rows": "regime", "columns": "blur"}, runs)
    assert labels(table) == (
        ["clear", "blurry-to-clear", "apple", "zebra"], ["sharp", "gaussian-8", "disk-4", "disk-10", "shake"],
    )  # fmt: skip
    table = analysis.table({"rows": "regime", "columns": "sigma"}, runs)
    assert labels(table)[1] == ["sigma 0", "sigma 8"], "other kernels have none"


def test_several_names_make_groups(runs: Path, make_run: MakeRun) -> None:
    for regime in ("clear", "blurry"):
        for rate in (0.01, 0.001, 0.0001):
            measured(runs, make_run, RIGHT, regime, settings={"optimisation": {"learning_rate": rate}})
    options = {"rows": "regime,optimisation.learning_rate", "columns": "blur", "metric": ["top1", "entropy"]}
    table = analysis.table(options, runs)
    rows, columns = labels(table)
    assert rows[:3] == [f"clear / learning_rate {rate}" for rate in ("0.0001", "0.001", "0.01")] and len(rows) == 6
    assert columns[:2] == ["sharp / top-1 (%)", "sharp / entropy (nats)"] and len(columns) == 6
    found = cells(table)["blurry / learning_rate 0.01", "gaussian-8 / top-1 (%)"]
    assert found.estimate and found.estimate.value == 0.4 and len(found.runs) == 1


def test_where_selects_and_says_what_there_is(runs: Path, make_run: MakeRun) -> None:
    for regime in ("clear", "blurry", "d8"):
        measured(runs, make_run, RIGHT, regime)
    options = {"rows": "regime", "columns": "blur", "where": ["regime=clear,blurry", "blur=sharp,disk-4"]}
    assert labels(analysis.table(options, runs)) == (["clear", "blurry"], ["sharp", "disk-4"])
    for where, there_is in (("blur=disk-3", "blur disk-3; there is: sharp, gaussian-8, disk-4"),
                            ("regime=d4", "regime d4; there is: clear, blurry, d8")):  # fmt: skip
        with pytest.raises(SettingsError, match=f"nothing was measured of {there_is}"):
            analysis.table({**options, "where": where}, runs)


def test_only_seeds_are_averaged_and_all_else_makes_other_rows(runs: Path, make_run: MakeRun) -> None:
    for seed in (0, 1, 2):
        measured(runs, make_run, {"sharp": images(40 + seed)}, seed=seed)
    measured(runs, make_run, {"sharp": images(10)}, seed=3, settings={"optimisation": {"learning_rate": 0.5}})
    measured(runs, make_run, {"sharp": images(20)}, "blurry", split="val")
    measured(runs, make_run, {"sharp": images(30)}, "blurry")
    found = cells(analysis.table({"rows": "regime", "columns": "blur"}, runs))
    default = next(row for row, _ in found if row.startswith("clear") and "0.5" not in row)
    assert {(row, cell.seeds, round(value(cell), 6)) for (row, _), cell in found.items()} == {
        (default, (0, 1, 2), 0.82), ("clear, learning_rate 0.5", (3,), 0.2),
        ("blurry, test split", (0,), 0.6), ("blurry, val split", (0,), 0.4),
    }  # fmt: skip


def test_the_same_run_under_two_names_counts_once(runs: Path, make_run: MakeRun) -> None:
    for name in ("a", "b"):
        measured(runs, make_run, RIGHT, "clear", run_id=f"faces-{name}")
    (first, *_) = cells(analysis.table({"rows": "regime", "columns": "blur"}, runs)).values()
    assert (first.seeds, len(first.runs)) == ((0,), 1)


def test_other_data_is_never_mixed(runs: Path, make_run: MakeRun) -> None:
    for seed, data in enumerate(("one", "one", "two")):
        measured(runs, make_run, RIGHT, seed=seed, data=data)
    rows = labels(analysis.table({"rows": "regime", "columns": "blur"}, runs))[0]
    assert rows == ["data one / clear", "data two / clear"]
    found = analysis.table({"rows": "dataset,regime", "columns": "blur"}, runs)
    assert [cell.seeds for cell, *_ in found.cells] == [(0, 1), (2,)]


def test_datasets_and_models_that_no_line_says_are_groups(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, RIGHT, dataset="toybox-category")
    measured(runs, make_run, RIGHT, dataset="faces")
    table = analysis.table({"rows": "regime", "columns": "blur"}, runs)
    assert labels(table)[0] == ["faces / clear", "toybox-category / clear"]
    assert [cell.about["dataset"] for cell, *_ in table.cells] == ["faces", "toybox-category"]


def test_stages_are_lines_where_they_are_asked_for(runs: Path, make_run: MakeRun) -> None:
    run_id = measured(runs, make_run, {"sharp": images(40)})
    for epoch, right in ((20, 10), (40, 20)):
        evaluated(runs / run_id / "evaluations" / f"accuracy-{epoch:08d}.json", {"sharp": images(right)}, epoch=epoch)
    assert [cell.estimate.value for (cell,) in analysis.table({"rows": "regime"}, runs).cells if cell.estimate] == [0.8]
    by_stage = analysis.table({"rows": "regime", "columns": "epoch"}, runs)
    assert labels(by_stage)[1] == ["epoch 20", "epoch 40", "epoch 60"]
    assert [cell.estimate and cell.estimate.value for cell in by_stage.cells[0]] == [0.2, 0.4, 0.8]


def test_a_measure_of_ones_own_is_a_metric_as_any_other(runs: Path, make_run: MakeRun) -> None:
    for seed in (0, 1):
        own_measure(runs, measured(runs, make_run, RIGHT, seed=seed), {"sharp": 2.0 + seed, "disk-4": 1.0})
    table = analysis.table({"rows": "regime", "columns": "blur", "metric": "margin"}, runs)
    found = cells(table)["clear", "sharp"]
    assert found.estimate and (found.estimate.value, found.seeds, found.n) == (2.5, (0, 1), 50)
    with pytest.raises(SettingsError, match="no run has a metric 'margn'; did you mean 'margin'"):
        analysis.table({"rows": "regime", "metric": "margn"}, runs)


def test_empty_cells_say_how_their_runs_stand(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, RIGHT)
    waiting = make_run(runs, "faces", "clear", 1, done=False)
    alone = make_run(runs, "faces", "blurry", done=False)
    other = make_run(runs, "faces", "clear", 2, done=False, settings={"optimisation": {"learning_rate": 0.5}})
    found = cells(analysis.table({"rows": "regime", "columns": "blur"}, runs))
    assert found["clear", "sharp"].pending == "1 waiting (no process works on it)" and found[
        "clear", "sharp"
    ].seeds == (0,)
    assert (found["blurry", "sharp"].missing, found["blurry", "sharp"].runs) == (
        "1 waiting (no process works on it)",
        (alone,),
    )
    Run(runs / waiting).mark_pruned("a-search", 1, 3, "others promise more")
    found = cells(analysis.table({"rows": "regime", "columns": "blur"}, runs))
    assert found["clear", "sharp"].pending == "" and other not in found["clear", "sharp"].runs


def test_what_runs_and_what_has_failed_is_said(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, RIGHT)
    running, failed = (make_run(runs, "faces", "clear", seed, done=False) for seed in (1, 2))
    for run_id in (running, failed):
        attempt = runs / run_id / "attempts" / "0001"
        (attempt / "origin.json").write_text(json.dumps({"data_id": "1de4f0c1db203d86", "host": "elsewhere", "pid": 1}))
        (attempt / "heartbeat.json").write_text(json.dumps({"epoch": 3.0, "epochs": 60, "ended": run_id == failed}))
    events = [
        {"event": "start", "at": 0, "epoch": 0},
        {"event": "failed", "error": "RuntimeError", "message": "no\n" * 99},
    ]
    (runs / failed / "attempts" / "0001" / "journal.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in events))
    pending = cells(analysis.table({"rows": "regime", "columns": "blur"}, runs))["clear", "sharp"].pending
    assert pending.startswith("1 running (epoch 3 of 60), 1 failed (RuntimeError: no no no") and len(pending) < 160


def test_records_of_each_image_are_used(runs: Path, make_run: MakeRun) -> None:
    right = [images(40, first=0), images(40, first=5), images(30, first=3)]
    for seed, of_seed in enumerate(right):
        measured(runs, make_run, {"sharp": of_seed}, seed=seed, records=True)
    ((cell,),) = analysis.table({"rows": "regime"}, runs).cells
    assert cell.estimate == summary(right) and not cell.estimate.wide


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": "regim"}, "nothing is called 'regim'; did you mean 'regime'?"),
        ({"rows": "regime", "row": "x"}, "no option 'row'; did you mean 'rows'?"),
        (
            {"columns": "optimisation.learning_rat"},
            "no setting 'optimisation.learning_rat'; did you mean 'learning_rate'",
        ),
        ({"rows": "regime", "where": "blur=disc-4"}, "'disc-4' is unknown; did you mean 'disk'?"),
        ({"rows": "regime", "where": "regime"}, "must be NAME=VALUE"),
        ({"rows": "regime", "show": "ratio"}, "show: ratio needs a baseline"),
        ({"metric": "top1"}, "say what its rows or columns are"),
        ("baseline-small", "did you mean 'baselines-small'?"),
    ],
)
def test_a_mistake_is_answered_in_one_line(runs: Path, make_run: MakeRun, options: Any, message: str) -> None:
    measured(runs, make_run, RIGHT)
    with pytest.raises(SettingsError) as caught:
        analysis.table(options, runs)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_trials_are_lines_with_what_they_set(runs: Path, make_run: MakeRun) -> None:
    search = SearchFolder(runs, make_run)
    for rate, right in ((0.01, 40), (0.002, 60)):
        search.trial([[0.5]], {"optimisation.learning_rate": rate}, counts=[{0.0: right}])
    (stopped,) = search.trial([[0.5]], {"optimisation.learning_rate": 0.5}, ended="pruned")
    make_run(runs, "faces", "blurry")
    table = analysis.table("trials", runs)
    rows = [f"search mine-01234567 / trial {k} (learning_rate {rate})" for k, rate in enumerate((0.01, 0.002, 0.5))]
    assert labels(table)[0] == rows
    assert [of_row[0].mark for of_row in table.cells] == ["", "best", ""]
    assert table.cells[2][0].runs == (stopped,) and table.cells[2][0].missing.startswith("1 ")
