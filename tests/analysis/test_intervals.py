"""Intervals against SciPy, against calculations by hand, and by their coverage in simulations."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.estimates import accuracy, accuracy_ratio
from analysis.statistics.intervals import katz, over_seeds, student, wilson

Interval = tuple[float, float]
Drawn = tuple[NDArray[np.int64], NDArray[np.int64]]


@pytest.mark.parametrize(("count", "n"), [(0, 86), (1, 86), (43, 86), (70, 86), (86, 86), (0, 1), (1, 1), (2607, 2936)])
def test_wilson_is_scipys(count: int, n: int) -> None:
    expected = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= wilson(count, n)[0] <= count / n <= wilson(count, n)[1] <= 1


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(count, n)


@pytest.mark.parametrize("freedom", [1, 4, 35, 1000])
def test_students_quantile_is_scipys(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def clustered(right: list[int], images: list[int]) -> Interval:
    """Of an accuracy, over objects."""
    found = accuracy([sum(right)], [sum(images)], [right], images)
    assert (found.over, found.value) == ("objects", pytest.approx(sum(right) / sum(images)))
    return found.low, found.high


def clustered_ratio(right: list[int], base: list[int], images: list[int]) -> tuple[float, float, float]:
    n = [sum(images)]
    found = accuracy_ratio([sum(right)], n, [sum(base)], n, ([right], [base]), images)
    assert found.over == "objects"
    return found.value, found.low, found.high


# --- over objects ---------------------------------------------------------------------------------------------------


def drawn(seed: int, objects: int, frames: int, p: float, dependence: float, uneven: bool = False) -> Drawn:
    """Right and all images of objects whose own accuracies are beta-distributed about `p`: two images of one object
    correlate by `dependence`."""
    rng = np.random.default_rng(seed)
    concentration = 1 / dependence - 1
    own = rng.beta(p * concentration, (1 - p) * concentration, objects)
    images = rng.integers(frames // 3, 2 * frames - frames // 3, objects) if uneven else np.full(objects, frames)
    return rng.binomial(images, own), images


def coverage(p: float, samples: int = 2000, **how: float) -> tuple[float, float]:
    """How often the clustered and Wilson's interval hold the true accuracy."""
    hits = np.zeros(2)
    for seed in range(samples):
        right, images = drawn(seed, p=p, **how)  # type: ignore[arg-type]
        for k, (low, high) in enumerate(
            (clustered(right.tolist(), images.tolist()), wilson(right.sum(), images.sum()))
        ):
            hits[k] += low <= p <= high
    return hits[0] / samples, hits[1] / samples


@pytest.mark.parametrize("uneven", [False, True])
def test_the_clustered_interval_covers_where_wilsons_does_not(uneven: bool) -> None:
    """36 objects of 376 frames, as the test split of toybox-category, with strong dependence."""
    ours, naive = coverage(0.57, objects=36, frames=376, dependence=0.38, uneven=uneven)
    assert 0.92 <= ours <= 0.97
    assert 0.09 <= naive <= 0.17


@pytest.mark.parametrize(
    ("objects", "p"), [(5, 0.6), (8, 0.6), (10, 0.6), (10, 0.9), (36, 0.9), (36, 0.97), (36, 0.99)]
)
def test_coverage_of_few_objects_and_near_the_ends(objects: int, p: float) -> None:
    """There it may be too wide, where it cannot be known how alike objects are, but it is not too narrow."""
    ours, _ = coverage(p, objects=objects, frames=50, dependence=0.3, uneven=True)
    assert 0.92 <= ours <= 0.995


def test_independent_images_of_many_objects_have_wilsons_interval() -> None:
    right, images = drawn(0, 400, 10, 0.7, 1e-6)
    assert clustered(right.tolist(), images.tolist()) == pytest.approx(wilson(right.sum(), images.sum()), abs=0.004)


def test_wholly_dependent_images_count_as_one_each() -> None:
    images = [50] * 40
    low, high = clustered([50] * 30 + [0] * 10, images)
    expected = stats.binomtest(30, 40).proportion_ci(method="wilson")  # by the normal, not by Student's, quantile
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert low < expected.low and high > expected.high


@pytest.mark.parametrize("objects", [2, 5, 36])
def test_objects_that_all_agree_still_leave_a_width(objects: int) -> None:
    images = [7] * objects
    assert clustered(images, images) == (pytest.approx(wilson(objects, objects, student(objects - 1))[0]), 1.0)
    assert clustered([0] * objects, images) == (0.0, pytest.approx(wilson(0, objects, student(objects - 1))[1]))
    low, high = clustered([3] * objects, images)
    assert low < 3 / 7 < high


def test_the_variance_between_objects_is_that_of_a_ratio() -> None:
    """By a linear model's cluster-robust variance, written out in another way: residuals summed by object."""
    right, images = np.array([300, 120, 10, 250, 80, 199]), np.array([376, 200, 150, 300, 376, 200])
    groups, p = np.repeat(np.arange(6), images), right.sum() / images.sum()
    correct = np.concatenate([np.r_[np.ones(x), np.zeros(m - x)] for x, m in zip(right, images, strict=True)])
    scores = np.bincount(groups, correct - p)
    variance = 6 / 5 * (scores**2).sum() / images.sum() ** 2
    unknown, whole = (
        (images**2).sum() / images.sum() ** 2 / 12 / 6,
        6 / 5 * p * (1 - p) * (images**2).sum() / images.sum() ** 2,
    )
    effective = images.sum() ** 2 / (images**2).sum() * (whole + unknown) / (variance + unknown)
    expected = wilson(p * effective, effective, stats.t.ppf(0.975, 5))
    assert clustered(right.tolist(), images.tolist()) == pytest.approx(expected, rel=1e-9)


def test_of_a_single_object_nothing_is_known() -> None:
    assert all(math.isnan(x) for x in clustered([5], [10]))


@pytest.mark.parametrize(("right", "images"), [([1], [1, 2]), ([3, 1], [2, 2]), ([-1, 1], [2, 2]), ([0, 1], [0, 2])])
def test_clusters_refuse_what_is_no_proportion(right: list[int], images: list[int]) -> None:
    with pytest.raises(ValueError, match="each object"):
        clustered(right, images)


# --- ratios ---------------------------------------------------------------------------------------------------------


def test_katz_by_hand() -> None:
    # 40 of 100 against 20 of 80: ratio 0.4 / 0.25 = 1.6; variance of its log 1/40 - 1/100 + 1/20 - 1/80 = 0.0525.
    ratio, low, high = katz(40, 100, 20, 80)
    assert ratio == pytest.approx(1.6)
    assert low == pytest.approx(1.6 * math.exp(-1.959964 * math.sqrt(0.0525)), rel=1e-6)
    assert high == pytest.approx(1.6 * math.exp(1.959964 * math.sqrt(0.0525)), rel=1e-6)
    assert (round(low, 3), round(high, 3)) == (1.021, 2.507)


def test_katz_is_scipys_relative_risk() -> None:
    expected = stats.contingency.relative_risk(40, 100, 20, 80).confidence_interval(0.95)
    assert katz(40, 100, 20, 80)[1:] == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_katz_without_a_base_is_undefined_and_without_a_spread_has_no_interval() -> None:
    assert all(math.isnan(x) for x in katz(0, 86, 0, 86))
    assert all(math.isnan(x) for x in katz(5, 86, 0, 86))
    for ratio, low, high in (katz(0, 86, 5, 86), katz(86, 86, 86, 86)):
        assert ratio in (0, 1) and math.isnan(low) and math.isnan(high)


def test_the_ratio_over_objects_covers_where_katzs_does_not() -> None:
    """Two networks on 36 objects of 376 frames: what is hard for one tends to be hard for the other."""
    hits, naive, samples = 0, 0, 1500
    for seed in range(samples):
        rng = np.random.default_rng(seed)
        own = rng.beta(0.9, 0.7, 36)  # mean 0.5625
        other = np.where(rng.random(36) < 0.6, own, rng.beta(0.9, 0.7, 36)) * 0.8
        right, base, images = rng.binomial(376, own), rng.binomial(376, other), [376] * 36
        _, low, high = clustered_ratio(right.tolist(), base.tolist(), images)
        hits += low <= 1.25 <= high
        _, low, high = katz(int(right.sum()), 36 * 376, int(base.sum()), 36 * 376)
        naive += low <= 1.25 <= high
    assert 0.92 <= hits / samples <= 0.97
    assert naive / samples < 0.5


def test_ratio_over_objects_of_nothing_has_no_interval() -> None:
    images = [10] * 4
    assert all(math.isnan(x) for x in clustered_ratio([1, 2, 3, 4], [0] * 4, images))
    for right, base in (([0] * 4, [1, 2, 3, 4]), ([10] * 4, [10] * 4)):
        ratio, low, high = clustered_ratio(right, base, images)
        assert ratio == sum(right) / sum(base) and math.isnan(low) and math.isnan(high)


def test_objects_that_have_the_same_ratio_by_chance_still_leave_a_width() -> None:
    ratio, low, high = clustered_ratio([2, 4, 6, 8], [1, 2, 3, 4], [10] * 4)
    assert ratio == pytest.approx(2) and low < 1.1 and high > 3.6


# --- over seeds -----------------------------------------------------------------------------------------------------


def test_the_interval_over_seeds_is_students() -> None:
    values = [0.4, 0.5, 0.63]
    mean, low, high, sd = over_seeds(values, 0.01)
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-9)
    assert (mean, sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))


@pytest.mark.parametrize(("seeds", "scatter", "naive"), [(2, 1.2, 0.8), (2, 3, 0.93), (3, 0.6, 0.85)])
def test_seeds_that_agree_by_chance_still_leave_a_width(seeds: int, scatter: float, naive: float) -> None:
    """Accuracies near 30 of 86, that scatter by a few images: equal counts are frequent, and say little."""
    rng, hits, plain = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        values = (np.round(86 * 0.35 + scatter * rng.normal(size=seeds)) / 86).tolist()
        for resolution in (0, 1 / 86):
            _, low, high, _ = over_seeds(values, resolution)
            if resolution:
                hits += low <= 0.35 <= high
            else:
                plain += low <= 0.35 <= high
    assert hits / 2000 >= 0.95
    assert plain / 2000 < naive
