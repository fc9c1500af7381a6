"""Cells beside others: differences to a baseline, ratios, corrections, and which are marked."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured_runs import dependent, evaluated, images, measured, own_measure

import analysis
from analysis.statistics.comparisons import benjamini_hochberg, holm
from analysis.statistics.estimates import accuracy_difference, accuracy_ratio, paired, ratio
from analysis.tabulation.cells import Cell, Comparison
from analysis.tabulation.rendering import as_html, as_text
from analysis.tabulation.rendering.tidy import tidy
from analysis.tabulation.tables import Table

MakeRun = Callable[..., str]


def cells(table: Table) -> dict[tuple[str, str], Cell]:
    return {(row.label, column.label): cell for row, of_row in zip(table.rows, table.cells, strict=True)
            for column, cell in zip(table.columns, of_row, strict=True)}  # fmt: skip


def comparison(cell: Cell) -> Comparison:
    assert cell.comparison
    return cell.comparison


def three_regimes(runs: Path, make_run: MakeRun, records: bool = True, seeds: int = 2) -> dict[str, list[list[int]]]:
    """What is right of each regime at sharp, by seed."""
    right = {"clear": [images(30, first=seed) for seed in range(seeds)],
             "blurry": [images(40, first=2 * seed) for seed in range(seeds)],
             "d8": [images(41, first=3 * seed) for seed in range(seeds)]}  # fmt: skip
    for regime, of_regime in right.items():
        for seed, of_seed in enumerate(of_regime):
            measured(runs, make_run, {"sharp": of_seed, "disk-4": images(10 + seed)}, regime, seed, records=records)
    return right


OPTIONS: dict[str, Any] = {"rows": "regime", "columns": "blur", "baseline": "regime=clear"}


def test_a_difference_is_paired_by_seed_and_image(runs: Path, make_run: MakeRun) -> None:
    right = three_regimes(runs, make_run)
    found = cells(analysis.table(OPTIONS, runs))
    made = comparison(found["blurry", "sharp"])
    expected = paired(right["blurry"], right["clear"])
    assert (made.difference, made.p, made.test) == (expected.difference, expected.p, expected.test)
    assert found["clear", "sharp"].comparison is None
    assert len(made.runs) == 2 and all("clear" in run for run in made.runs)


def test_of_one_seed_it_is_mcnemars(runs: Path, make_run: MakeRun) -> None:
    right = three_regimes(runs, make_run, seeds=1)
    made = comparison(cells(analysis.table(OPTIONS, runs))["blurry", "sharp"])
    assert made.test == "McNemar, mid-p" and made.p == paired(right["blurry"], right["clear"]).p


def test_without_records_it_is_what_counts_say(runs: Path, make_run: MakeRun) -> None:
    three_regimes(runs, make_run, records=False)
    made = comparison(cells(analysis.table(OPTIONS, runs))["blurry", "sharp"])
    expected = accuracy_difference([40, 40], [50, 50], [30, 30], [50, 50])
    assert (made.difference, made.p) == (expected.difference, expected.p)


def test_images_of_one_object_are_not_independent(runs: Path, make_run: MakeRun) -> None:
    objects = [k // 10 for k in range(50)]
    for regime, right in (("clear", images(25)), ("blurry", images(38))):
        measured(runs, make_run, {"sharp": right}, regime, objects=objects, records=True)
    found = cells(analysis.table({**OPTIONS, "columns": "blur"}, runs))["blurry", "sharp"]
    expected = paired([images(38)], [images(25)], objects)
    assert (comparison(found).difference, comparison(found).p) == (expected.difference, expected.p)
    assert found.objects == 5 and found.estimate and found.estimate.over == "objects"


@pytest.mark.parametrize(("how", "rule"), [("holm", holm), ("bh", benjamini_hochberg), ("none", list)])
def test_p_values_are_corrected_over_the_table(runs: Path, make_run: MakeRun, how: str, rule: Any) -> None:
    three_regimes(runs, make_run)
    made = [cell.comparison for cell in cells(analysis.table({**OPTIONS, "correction": how}, runs)).values()]
    compared = [one for one in made if one]
    assert len(compared) == 4 and [one.corrected for one in compared] == pytest.approx(
        rule([one.p for one in compared])
    )


def test_only_what_differs_in_nothing_else_is_compared(runs: Path, make_run: MakeRun) -> None:
    for regime, rate in (("clear", 0.5), ("blurry", 0.5), ("clear", 0.1), ("d8", 0.01)):
        settings = {"optimisation": {"learning_rate": rate}}
        measured(runs, make_run, {"sharp": images(30)}, regime, settings=settings)
    found = cells(analysis.table(OPTIONS, runs))
    assert comparison(found["blurry", "sharp"]).difference, "that of the same rate, of two"
    assert "none differs in regime alone" in comparison(found["d8", "sharp"]).why_not
    rates = cells(analysis.table({"rows": "optimisation.learning_rate", "columns": "regime",
                                  "baseline": "optimisation.learning_rate=0.1"}, runs))  # fmt: skip
    assert comparison(rates["learning_rate 0.5", "clear"]).difference
    assert comparison(rates["learning_rate 0.5", "blurry"]).why_not == "no baseline: no such run"


def test_a_regime_speaks_for_all_that_its_preset_says(runs: Path, make_run: MakeRun) -> None:
    kept = {"file": "w.pt", "sha256": "a" * 64, "head": "kept"}
    for regime in ("original", "clear"):
        epochs = 0 if regime == "original" else 3
        optimisation = {"epochs": epochs, "warmup_epochs": 0}
        settings = {"network": {"pretrained": kept}, "optimisation": optimisation}
        measured(runs, make_run, {"sharp": images(30)}, regime, settings=settings, epoch=epochs)
    assert comparison(cells(analysis.table(OPTIONS, runs))["original", "sharp"]).difference


def test_other_test_images_are_not_compared(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, {"sharp": images(30)})
    measured(runs, make_run, {"sharp": images(30, n=40)}, "blurry")
    assert (
        "differs from the baseline in n" in comparison(cells(analysis.table(OPTIONS, runs))["blurry", "sharp"]).why_not
    )


def test_seeds_that_only_one_has_are_left_to_it(runs: Path, make_run: MakeRun) -> None:
    for seed in (0, 1, 2):
        measured(runs, make_run, {"sharp": images(30)}, seed=seed)
    for seed in (1, 2, 3):
        measured(runs, make_run, {"sharp": images(40 - seed)}, "blurry", seed)
    measured(runs, make_run, {"sharp": images(30)}, "d8", 9)
    found = cells(analysis.table(OPTIONS, runs))
    difference = comparison(found["blurry", "sharp"]).difference
    assert difference and difference.seeds == 2 and difference.value == pytest.approx((38.5 - 30) / 50)
    assert comparison(found["d8", "sharp"]).why_not == "not compared with the baseline: no seed in common"


def test_a_ratio_takes_the_place_of_the_value(runs: Path, make_run: MakeRun) -> None:
    right = three_regimes(runs, make_run)
    table = analysis.table({**OPTIONS, "show": "ratio"}, runs)
    assert cells(table)["blurry", "sharp"].estimate == ratio(right["blurry"], right["clear"])
    assert cells(table)["clear", "sharp"].missing == "the baseline itself"
    for run in runs.iterdir():
        for path in run.rglob("*.parquet"):
            path.unlink()
    found = cells(analysis.table({**OPTIONS, "show": "ratio"}, runs))["blurry", "sharp"]
    assert found.estimate == accuracy_ratio([40, 40], [50, 50], [30, 30], [50, 50])
    shown = cells(analysis.table({**OPTIONS, "show": "difference"}, runs))["blurry", "sharp"]
    assert shown.estimate and shown.estimate.value == pytest.approx(0.2)


def test_a_baseline_may_be_a_level_or_a_stage(runs: Path, make_run: MakeRun) -> None:
    run_id = measured(runs, make_run, {"sharp": images(40), "disk-4": images(25)}, records=True)
    found = cells(analysis.table({"rows": "regime", "columns": "blur", "baseline": "blur=sharp"}, runs))
    made = comparison(found["clear", "disk-4"])
    assert made.difference == paired([images(25)], [images(40)]).difference
    evaluated(runs / run_id / "evaluations" / "accuracy-00000020.json", {"sharp": images(10)}, True, epoch=20)
    found = cells(
        analysis.table({"rows": "regime", "where": "blur=sharp", "columns": "epoch", "baseline": "epoch=60"}, runs)
    )
    assert comparison(found["clear", "epoch 20"]).difference == paired([images(10)], [images(40)]).difference


def test_means_whose_every_seed_agrees_have_no_interval_nor_p(runs: Path, make_run: MakeRun) -> None:
    of = {"clear": (0.4, 0.3), "blurry": (0.7, 0.6), "d8": (0.5, 0.5), "blurry-to-clear": (0.4, 0.3)}
    for regime, values in of.items():
        for seed, value in enumerate(values):
            own_measure(runs, measured(runs, make_run, {"sharp": images(30)}, regime, seed), {"sharp": value})
    found = cells(analysis.table({**OPTIONS, "metric": "margin"}, runs))
    d8 = found["d8", "sharp"].estimate
    assert d8 and d8.value == 0.5 and math.isnan(d8.low) and math.isnan(d8.high)
    rounded = comparison(found["blurry", "sharp"])
    assert 0.7 - 0.4 != 0.6 - 0.3 and math.isnan(rounded.p) and not rounded.errors
    assert rounded.difference and rounded.difference.value == pytest.approx(0.3) and math.isnan(rounded.difference.low)
    assert comparison(found["blurry-to-clear", "sharp"]).p == 1 and comparison(found["d8", "sharp"]).p < 1
    ratios = cells(analysis.table({**OPTIONS, "metric": "margin", "show": "ratio"}, runs))
    alike = ratios["blurry-to-clear", "sharp"].estimate
    assert alike and alike.value == 1 and math.isnan(alike.low)


@pytest.mark.parametrize(("own", "base", "why"), [(0.2, 0.0, "the baseline is 0"), (0.0, 0.2, "above 0"),
                                                  (0.2, -0.1, "above 0")])  # fmt: skip
def test_why_there_is_no_ratio(runs: Path, make_run: MakeRun, own: float, base: float, why: str) -> None:
    for regime, value in (("clear", base), ("blurry", own)):
        own_measure(runs, measured(runs, make_run, {"sharp": images(30)}, regime), {"sharp": value})
    found = cells(analysis.table({**OPTIONS, "metric": "margin", "show": "ratio"}, runs))
    assert found["blurry", "sharp"].missing.endswith(why)


# --- marks ----------------------------------------------------------------------------------------------------------


def marks(table: Table) -> dict[tuple[str, str], str]:
    return {at: cell.mark for at, cell in cells(table).items() if cell.mark}


def test_the_best_and_what_cannot_be_distinguished_from_it_are_marked(runs: Path, make_run: MakeRun) -> None:
    for regime, right in (("clear", 10), ("blurry", 40), ("d8", 41)):
        for seed in (0, 1):
            measured(runs, make_run, {"sharp": images(right)}, regime, seed, records=True)
    found = marks(analysis.table({"rows": "regime", "columns": "blur", "mark": "best"}, runs))
    assert found == {("d8", "sharp"): "best", ("blurry", "sharp"): "tied"}
    turned = marks(analysis.table({"rows": "blur", "columns": "regime", "mark": "best"}, runs))
    assert turned == {("sharp", "d8"): "best", ("sharp", "blurry"): "tied"}, "whichever way networks are compared"


def test_of_some_metrics_less_is_better_and_of_some_neither(runs: Path, make_run: MakeRun) -> None:
    for regime, loss in (("clear", 2.0), ("blurry", 1.0)):
        run = measured(runs, make_run, {"sharp": images(30)}, regime, entropy=loss)
        own_measure(runs, run, {"sharp": loss}, "brier")
        own_measure(runs, run, {"sharp": loss}, "margin")
    options: dict[str, Any] = {"rows": "regime", "columns": "blur", "mark": "best"}
    assert marks(analysis.table({**options, "metric": "brier"}, runs))["blurry", "sharp"] == "best"
    for metric in ("entropy", "margin"):
        assert not marks(analysis.table({**options, "metric": metric}, runs))
    own = {"title": "x", "value": "margin", "rows": {"by": "regime"}, "columns": {"by": "blur"}, "mark": "best",
           "metrics": {"margin": {"better": "higher", "digits": 1}}}  # fmt: skip
    assert marks(analysis.table(own, runs))["clear", "sharp"] == "best"


def test_only_what_can_be_compared_is_ranked(runs: Path, make_run: MakeRun) -> None:
    for dataset, right in (("faces", 20), ("toybox-category", 40)):
        for regime, more in (("clear", 0), ("blurry", 5)):
            measured(runs, make_run, {"sharp": images(right + more)}, regime, dataset=dataset)
    table = analysis.table({"rows": "dataset,regime", "columns": "blur", "mark": "best"}, runs)
    best = [
        (row.groups, row.label) for row, (cell,) in zip(table.rows, table.cells, strict=True) if cell.mark == "best"
    ]
    assert best == [(("faces",), "blurry"), (("toybox-category",), "blurry")]


def test_measurements_on_other_data_are_not_ranked_together(runs: Path, make_run: MakeRun) -> None:
    ids = [measured(runs, make_run, {"sharp": images(30 + k)}, data=data) for k, data in enumerate("aabb")]
    by_run = {"rows": "run_id", "columns": "blur", "mark": "best", "baseline": f"run_id={ids[0]}"}
    found = cells(analysis.table(by_run, runs))
    of = {run_id: next(cell for cell in found.values() if cell.runs == (run_id,)) for run_id in ids}
    assert [of[run_id].mark for run_id in ids] == ["tied", "best"] * 2
    assert comparison(of[ids[1]]).difference and comparison(of[ids[2]]).why_not == "no baseline: no such run"
    for names, best in (("regime", 2), ("dataset,regime", 2), ("data_id", 1)):
        table = analysis.table({"rows": names, "columns": "blur", "where": f"run_id={ids[0]},{ids[2]}",
                                "mark": "best"}, runs)  # fmt: skip
        made = [cell.mark for row in table.cells for cell in row]
        # One that is alone is not marked at all.
        assert sorted(made) == (["best", "tied"] if best == 1 else ["", ""]), names


def test_an_interval_ends_where_values_do(tmp_path: Path, make_run: MakeRun) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    for seed, value in enumerate((0.9, 0.1)):
        own_measure(runs, measured(runs, make_run, {"sharp": images(30)}, "clear", seed), {"sharp": value}, "ece")
    options = {"rows": "regime", "columns": "blur", "metric": "ece"}
    (cell,) = cells(analysis.table(options, runs)).values()
    assert cell.estimate and (cell.estimate.low, cell.estimate.value, cell.estimate.high) == (0.0, 0.5, 1.0)
    free = {**options, "metric": "margin"}
    for run_id, value in zip(
        sorted(path.name for path in runs.iterdir() if path.name[0] != "."), (0.9, 0.1), strict=True
    ):
        own_measure(runs, run_id, {"sharp": value})
    (cell,) = cells(analysis.table(free, runs)).values()
    assert cell.estimate and cell.estimate.low < 0, "of a metric that is not known to end anywhere"


def test_what_cannot_be_compared_with_the_best_says_so(runs: Path, make_run: MakeRun) -> None:
    for regime, right, seed in (("clear", 30, 0), ("blurry", 40, 0), ("d8", 20, 1)):
        measured(runs, make_run, {"sharp": images(right)}, regime, seed, records=True)
    table = analysis.table({"rows": "regime", "columns": "blur", "mark": "best"}, runs)
    found, why = cells(table), "not compared with the best: no seed in common"
    assert (found["d8", "sharp"].mark, found["d8", "sharp"].not_compared) == ("", why)
    assert not found["blurry", "sharp"].not_compared and not found["clear", "sharp"].not_compared
    assert f"[a] {why}" in as_text(table) and why in as_html(table)
    assert [line["not_compared"] for line in tidy([table])] == ["", "", why]
    both = cells(analysis.table({**OPTIONS, "mark": "best"}, runs))["d8", "sharp"].not_compared
    assert both == f"not compared with the baseline: no seed in common; {why}"


def test_differences_without_a_test_are_marked_by_their_interval_corrected_as_others(
    runs: Path, make_run: MakeRun
) -> None:
    counts = {"clear": 26, "blurry": 37, "d8": 36, "blurry-to-clear": 35}
    for regime, right in counts.items():
        measured(runs, make_run, {"sharp": images(right)}, regime)
    made = accuracy_difference([26], [50], [37], [50])
    assert math.isnan(made.p) and made.difference.high < 0, "by itself, but not of several"
    options: dict[str, Any] = {"rows": "regime", "columns": "blur", "mark": "best"}
    found = marks(analysis.table(options, runs))
    assert found == {(regime, "sharp"): "best" if regime == "blurry" else "tied" for regime in counts}
    alone = marks(analysis.table({**options, "correction": "none"}, runs))
    assert alone == {at: mark for at, mark in found.items() if at[0] != "clear"}


def test_without_an_interval_nothing_is_said_of_a_difference(runs: Path, make_run: MakeRun) -> None:
    for regime, value in (("clear", 0.3), ("blurry", 0.4)):
        own_measure(runs, measured(runs, make_run, {"sharp": images(30)}, regime), {"sharp": value}, "brier")
    table = analysis.table({"rows": "regime", "columns": "blur", "metric": "brier", "mark": "best"}, runs)
    blurry = cells(table)["blurry", "sharp"]
    assert (blurry.mark, blurry.not_compared) == ("", "not compared with the best: no interval of the difference")


@pytest.mark.parametrize(("how", "rule", "least"), [("holm", holm, 25), ("bh", benjamini_hochberg, 26)])
def test_marks_are_corrected_for_all_pairs(runs: Path, make_run: MakeRun, how: str, rule: Any, least: int) -> None:
    counts = {"clear": least, "blurry": 32, "d8": 31, "blurry-to-clear": 30}
    for regime, right in counts.items():
        measured(runs, make_run, dict.fromkeys(("sharp", "disk-4"), images(right)), regime, records=True)
    ps = [paired(images(right), images(32)).p for right in (least, 31, 30)] * 2
    assert rule(ps)[0] < 0.05 <= rule(ps, 2 * 6)[0], "as many pairs as there are, in two columns"
    table = analysis.table({"rows": "regime", "columns": "blur", "mark": "best", "correction": how}, runs)
    found = marks(table)
    assert found == {at: "best" if at[0] == "blurry" else "tied" for at in cells(table)}
    assert "for all pairs, is 0.05 or more" in as_text(table)


def test_of_dependent_images_over_few_seeds_marks_are_by_students_interval(runs: Path, make_run: MakeRun) -> None:
    of = {"clear": (20, 21), "blurry": (30, 31), "d8": (29, 31), "blurry-to-clear": (28, 30)}
    for regime, counts in of.items():
        for seed, count in enumerate(counts):
            dependent(runs, make_run, "sharp", count, 50, regime, seed)
    options: dict[str, Any] = {"rows": "regime", "columns": "blur", "metric": "top5", "mark": "best"}
    found = marks(analysis.table(options, runs))
    assert found["clear", "sharp"] == "tied", "of six pairs, by one degree of freedom"
    assert ("clear", "sharp") not in marks(analysis.table({**options, "correction": "none"}, runs))
