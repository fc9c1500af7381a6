"""How often intervals of tables hold what they are about: test images of 36 objects as in toybox-category, or
independent ones, one to five seeds, pairs of networks, accuracies from 5 to 99 %."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tested_networks import Scenario

from analysis.statistics import bootstrap
from analysis.statistics.estimates import (
    Estimate,
    accuracy,
    accuracy_difference,
    accuracy_ratio,
    paired,
    ratio,
    summary,
)

PAIRS = ((0.05, 0.03), (0.2, 0.15), (0.57, 0.5), (0.8, 0.8), (0.95, 0.9), (0.99, 0.98))
SEEDS = (1, 2, 3, 5)
INDEPENDENT = {"objects": 0, "images": 300, "shared": 2.0}
OBJECTS: dict[str, Any] = {}


def in_table(right: Any, sizes: Any, objects: bool) -> tuple[Estimate, Estimate, Estimate]:
    """Accuracy, difference and ratio, of counts by object or of records of images."""
    own, base = right
    if not objects:
        return summary(own), paired(own, base).difference, ratio(own, base)
    n, sides = [int(sizes.sum())] * len(own), (own.tolist(), base.tolist())
    counts = (own.sum(axis=1).tolist(), n, base.sum(axis=1).tolist(), n)
    return (
        accuracy(*counts[:2], sides[0], sizes.tolist()),
        accuracy_difference(*counts, sides, sizes.tolist()).difference,
        accuracy_ratio(*counts, sides, sizes.tolist()),
    )


def of_counts_alone(right: Any, sizes: Any, objects: bool) -> tuple[Estimate, Estimate, Estimate]:
    n = [int(sizes.sum())] * right.shape[1]
    counts = (right[0].sum(axis=1).tolist(), n, right[1].sum(axis=1).tolist(), n)
    return accuracy(*counts[:2]), accuracy_difference(*counts).difference, accuracy_ratio(*counts)


def coverage(scenario: Scenario, samples: int, of: Any = in_table) -> np.ndarray:
    """The share of the intervals of accuracy, difference and ratio that hold the truth, of those that there are."""
    hits, known = np.zeros(3), np.zeros(3)
    for right, sizes, truth in scenario.drawn(samples):
        for k, (found, true) in enumerate(zip(of(right, sizes, scenario.objects > 0), truth, strict=True)):
            if not math.isnan(found.low):
                known[k] += 1
                hits[k] += found.low <= true <= found.high
    assert known.min() > 0.6 * samples  # few right: some ratios have none
    return hits / known


def grid(seeds: Iterable[int], **how: Any) -> list[Scenario]:
    return [Scenario(*pair, count, **how) for count, pair in itertools.product(seeds, PAIRS)]


@pytest.mark.parametrize("how", [OBJECTS, INDEPENDENT])
def test_intervals_of_tables_cover(how: dict[str, Any]) -> None:
    found = np.array([[coverage(scenario, 300) for scenario in grid([seeds], **how)] for seeds in SEEDS])
    over_scenarios = found.mean(axis=(0, 1))
    assert np.all((over_scenarios >= 0.92) & (over_scenarios <= 0.97)), over_scenarios
    for seeds, of_seeds in zip(SEEDS, found.mean(axis=1), strict=True):
        highest = 0.995 if seeds == 2 else 0.975  # of two seeds: rather too wide
        assert np.all((of_seeds >= 0.92) & (of_seeds <= highest)), (seeds, of_seeds)
    assert found.min() > 0.89  # of 300


@pytest.mark.long
@pytest.mark.parametrize("how", [OBJECTS, INDEPENDENT, INDEPENDENT | {"images": 2000}, {"shared": 0.5, "own": 0.1}])
@pytest.mark.parametrize("seed", [0.005, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_of_tables_cover_however_much_seeds_and_objects_matter(
    how: dict[str, Any], seed: float, seeds: int
) -> None:
    found = np.array([coverage(scenario, 1000) for scenario in grid([seeds], seed=seed, **how)])
    print("\n", how, seed, seeds, *(f"{pair}: {np.round(row, 3)}" for pair, row in zip(PAIRS, found, strict=True)))
    highest = 0.985 if seeds != 2 else 0.995
    assert np.all((found.mean(axis=0) >= 0.92) & (found.mean(axis=0) <= highest))
    assert found.min() > 0.895  # of 1000


@pytest.mark.parametrize(("seed", "alone"), [(0.02, "seeds"), (0.5, "objects")])
def test_one_level_alone_would_not_cover(seed: float, alone: str) -> None:
    """What the two are for: the interval over seeds says nothing of other objects, and that over objects, of the mean
    of these seeds, nothing of other seeds."""
    hits, samples = np.zeros(2), 400
    for right, sizes, truth in Scenario(0.57, 0.5, 3, seed=seed).drawn(samples):
        n, own = int(sizes.sum()), right[0]
        both = accuracy(own.sum(axis=1).tolist(), [n] * 3, own.tolist(), sizes.tolist())
        if alone == "seeds":
            one = accuracy(own.sum(axis=1).tolist(), [n] * 3, dependent=True)
        else:
            mean = np.round(own.mean(axis=0)).astype(int)
            one = accuracy([int(mean.sum())], [n], [mean.tolist()], sizes.tolist())
        assert one.over == alone
        hits += [found.low <= truth[0] <= found.high for found in (both, one)]
    assert 0.92 <= hits[0] / samples <= 0.98 and hits[1] / samples < 0.85


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_of_counts_alone_are_rather_too_wide(seeds: int) -> None:
    found = np.array([coverage(s, 300, of_counts_alone) for s in grid([seeds], **INDEPENDENT)])
    assert found.mean(axis=0).min() > 0.95 and found.min() > 0.92


IN_SHORT = ((1, "percentile", INDEPENDENT), (3, "bca", OBJECTS))
"""Those of the cases below that `make test` has."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "method", "how"),
    [
        pytest.param(*case, marks=() if case in IN_SHORT else pytest.mark.long)
        for case in itertools.product([1, 3], ["bca", "percentile"], [OBJECTS, INDEPENDENT])
    ],
)
def test_intervals_by_resampling_cover(how: dict[str, Any], method: bootstrap.Method, seeds: int) -> None:
    """Of shares they are a little narrower than those in closed form."""
    hits, samples = np.zeros(2), 150
    scenario = replace(Scenario(0.57, 0.5, seeds, **how), images=300 if not how else 1800)
    for random, (right, sizes, truth) in enumerate(scenario.drawn(samples)):
        if scenario.objects:  # one value an image: the share of its object
            clusters = np.repeat(np.arange(scenario.objects), sizes)
            own, base = (np.repeat(side / sizes, sizes, axis=1) for side in right)
        else:
            clusters, (own, base) = None, right
        found = (
            bootstrap.summary(own, clusters, method=method, resamples=400, seed=random),
            bootstrap.paired(own, base, clusters, method=method, resamples=400, seed=random),
        )
        hits += [e.low <= true <= e.high for e, true in zip(found, truth[:2], strict=True)]
    assert (hits / samples).min() >= 0.87 and (hits / samples).mean() >= 0.9


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_of_values_cover(seeds: int) -> None:
    """Entropies, say: skewed values of images and objects."""
    rng, hits, samples = np.random.default_rng(1), np.zeros(3), 500
    clusters = np.repeat(np.arange(36), 10)
    for _ in range(samples):
        hard = rng.normal(size=(1, 36)).repeat(10, axis=1) + 0.5 * rng.normal(size=(1, 360))
        noise = 0.05 * rng.normal(size=(2, seeds, 1)) * (seeds > 1) + 0.4 * rng.normal(size=(2, seeds, 360))
        own, base = np.exp((hard + noise) / 2)
        scale = math.exp((1.25 + 0.16 + 0.0025 * (seeds > 1)) / 8)
        found = (
            (summary(own, clusters), scale), (paired(own, 0.9 * base, clusters).difference, 0.1 * scale),
            (ratio(own, 0.9 * base, clusters), 1 / 0.9),
        )  # fmt: skip
        hits += [e.low <= true <= e.high for e, true in found]
    assert np.all((hits / samples >= 0.915) & (hits / samples <= 0.985)), hits / samples
