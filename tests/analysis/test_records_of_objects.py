"""Tables over records that say which object each image shows: intervals are over objects."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_runs import measured

import analysis
from analysis.statistics.estimates import Estimate, accuracy_difference, paired, ratio, summary
from analysis.tabulation.cells import Cell

MakeRun = Callable[..., str]
OBJECTS = np.repeat(np.arange(12), np.tile([3, 5, 4], 4))
N, SEEDS = len(OBJECTS), 3
REGIMES = ("clear", "blurry")


@pytest.fixture
def make(runs: Path, make_run: MakeRun) -> Callable[..., dict[str, dict[str, np.ndarray]]]:
    """Runs of two regimes with records; gives their values, [seeds, images], by regime and metric. What objects have in
    common outweighs the rest."""

    def made(objects: Any = OBJECTS, **how: Any) -> dict[str, dict[str, np.ndarray]]:
        rng = np.random.default_rng(3)
        hard = rng.normal(size=12)[OBJECTS]
        values: dict[str, dict[str, list[Any]]] = {}
        for regime in REGIMES:
            for seed in range(SEEDS):
                right = hard + rng.normal(size=N) > (0 if regime == "clear" else 0.3)
                entropy = np.exp(hard / 2 + 0.1 * rng.normal(size=N) + 0.1 * (regime == "blurry"))
                of_seed = (np.roll(objects, seed) if how.get("shifted") else objects).tolist()
                about = {"entropy": entropy.tolist(), "objects": of_seed, "old_records": how.get("old_records", False)}
                measured(runs, make_run, {"sharp": right.astype(int).tolist()}, regime, seed, records=True, **about)
                for name, of in (("top1", right), ("entropy", entropy)):
                    values.setdefault(regime, {}).setdefault(name, []).append(of)
        return {regime: {name: np.array(each) for name, each in of.items()} for regime, of in values.items()}

    return made


def cell(runs: Path, metric: str, regime: str = "clear", **more: str) -> Cell:
    options = {"rows": "regime", "columns": "blur", "metric": metric, **more}
    made = analysis.table(options, runs)
    return {row.label: of_row[0] for row, of_row in zip(made.rows, made.cells, strict=True)}[regime]


def limits(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def the_estimate(one: Cell) -> Estimate:
    assert one.estimate
    return one.estimate


def test_a_mean_of_values_is_over_the_objects_that_records_know(runs: Path, make: Any) -> None:
    values = make()["clear"]["entropy"]
    found, known = the_estimate(cell(runs, "entropy")), summary(values, OBJECTS)
    assert found.over == known.over == "seeds and objects" and found.seeds == SEEDS
    assert limits(found) == pytest.approx(limits(known), rel=1e-6)
    alone = summary(values)
    assert found.high - found.low > 1.5 * (alone.high - alone.low), "as if images were independent, it is too narrow"


@pytest.mark.parametrize("metric", ["entropy", "top1"])
def test_differences_and_ratios_are_paired_by_image_within_objects(runs: Path, make: Any, metric: str) -> None:
    values = make()
    own, base = (values[regime][metric] for regime in ("blurry", "clear"))
    beside = cell(runs, metric, "blurry", baseline="regime=clear").comparison
    known = paired(own, base, OBJECTS)
    assert beside and beside.difference and beside.test == known.test == "t over seeds and objects"
    assert (*limits(beside.difference), beside.p) == pytest.approx((*limits(known.difference), known.p), rel=1e-5)
    divided = the_estimate(cell(runs, metric, "blurry", baseline="regime=clear", show="ratio"))
    assert limits(divided) == pytest.approx(limits(ratio(own, base, OBJECTS)), rel=1e-5)


def test_records_of_shares_say_what_counts_by_object_say(make: Any) -> None:
    """What tables take where both are known is the same."""
    values = make()
    own, base = (values[regime]["top1"] for regime in ("blurry", "clear"))
    sides = tuple([np.bincount(OBJECTS, row, 12).astype(int).tolist() for row in of] for of in (own, base))
    counts, n = [of.sum(axis=1).tolist() for of in (own, base)], [N] * SEEDS
    by_count = accuracy_difference(counts[0], n, counts[1], n, sides, np.bincount(OBJECTS).tolist())
    assert limits(paired(own, base, OBJECTS).difference) == pytest.approx(limits(by_count.difference), rel=1e-12)


def test_older_records_do_not_say_and_are_read_as_before(runs: Path, make: Any) -> None:
    values = make(old_records=True)
    found = the_estimate(cell(runs, "entropy"))
    assert found.over == "seeds" and found.value == pytest.approx(values["clear"]["entropy"].mean())
    beside = cell(runs, "entropy", "blurry", baseline="regime=clear").comparison
    assert beside and beside.test == "t over seeds"
    by_count = cell(runs, "top1", "blurry", baseline="regime=clear").comparison
    assert by_count and by_count.test == "t over seeds and objects", "counts by object are known all the same"


def test_seeds_that_were_shown_other_objects_are_not_taken_together(runs: Path, make: Any) -> None:
    make(shifted=True)
    assert the_estimate(cell(runs, "entropy")).over == "seeds"


def test_records_of_images_come_with_their_objects(runs: Path, make: Any) -> None:
    make()
    images = analysis.load(runs, table="images")
    assert images["object"].tolist() == [*OBJECTS] * len(REGIMES) * SEEDS
