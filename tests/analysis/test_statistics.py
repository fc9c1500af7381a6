"""Values of tables: which interval they have, and over what; variances over seeds and images by other ways."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics.estimates import (
    accuracy,
    accuracy_difference,
    accuracy_ratio,
    mean_over_seeds,
    paired,
    ratio,
    summary,
)
from analysis.statistics.intervals import katz, wilson

RNG = np.random.default_rng(7)
HARD = RNG.normal(size=(1, 60))
OWN, BASE = (np.array(HARD + RNG.normal(size=(3, 60)) + shift > 0) for shift in (0.7, 0.3))
"""Who is right on which of 60 images: 3 seeds of two networks."""
OBJECTS = np.repeat(np.arange(12), [2, 3, 4, 5, 6, 7, 3, 4, 8, 6, 7, 5])


def by_object(right: NDArray[np.bool_]) -> list[list[int]]:
    return [np.bincount(OBJECTS, row).astype(int).tolist() for row in right]


def covariances(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """MS of the seeds' means, Var and Cov over images, of Obuchowski & Rockette, from NumPy's covariance matrix."""
    seeds, n = values.shape
    matrix = np.cov(values) / n
    off = matrix[~np.eye(seeds, dtype=bool)]
    return float(values.mean(axis=1).var(ddof=1)), float(np.diag(matrix).mean()), float(off.mean())


# --- one seed -------------------------------------------------------------------------------------------------------


def test_one_seed_has_wilsons_interval() -> None:
    expected = (70 / 86, *wilson(70, 86))
    for estimate in (accuracy([70], [86]), summary([1] * 70 + [0] * 16), summary(np.arange(86)[None] < 70)):
        assert (estimate.value, estimate.low, estimate.high) == expected
        assert math.isnan(estimate.sd) and (estimate.seeds, estimate.over, estimate.wide) == (1, "images", False)


def test_counts_of_objects_say_the_same_as_records_of_images() -> None:
    images = np.bincount(OBJECTS).tolist()
    for k in (1, 3):
        own, base, n = OWN[:k], BASE[:k], [60] * k
        c, b = own.sum(axis=1).tolist(), base.sum(axis=1).tolist()
        sides = (by_object(own), by_object(base))
        over = "objects" if k == 1 else "seeds and objects"
        assert accuracy(c, n, sides[0], images) == summary(own, OBJECTS)
        assert accuracy_difference(c, n, b, n, sides, images) == paired(own, base, OBJECTS)
        assert accuracy_ratio(c, n, b, n, sides, images) == ratio(own, base, OBJECTS)
        assert {summary(own, OBJECTS).over, ratio(own, base, OBJECTS).over} == {over}
        labels = np.array([f"scene {k:02d}" for k in OBJECTS])
        assert summary(own, labels) == summary(own, OBJECTS)


def test_without_counts_of_each_object_nothing_is_known_of_dependent_images() -> None:
    one = accuracy([70], [86], [None], None, dependent=True)
    assert one.value == 70 / 86 and math.isnan(one.low) and one.over == "objects"
    several = accuracy([40, 50, 60], [100] * 3, [None] * 3, None, dependent=True)
    assert (several.low, several.high) == pytest.approx(stats.t.interval(0.95, 2, 0.5, 0.1 / math.sqrt(3)))
    assert several.over == "seeds"
    assert accuracy([99, 60], [100] * 2, dependent=True).high == 1, "within what can be"
    found = accuracy_difference([70], [86], [50], [86], dependent=True)
    assert math.isnan(found.p) and math.isnan(found.difference.low) and found.test == "none"
    assert accuracy_difference([70, 71], [86] * 2, [50, 60], [86] * 2, dependent=True).difference.over == "seeds"
    logs = np.log([2, 0.5])
    several = accuracy_ratio([40, 25], [100] * 2, [20, 50], [100] * 2, dependent=True)
    expected = np.exp(stats.t.interval(0.95, 1, 0, logs.std(ddof=1) / math.sqrt(2)))
    assert (several.low, several.high) == pytest.approx(tuple(expected)) and several.over == "seeds"


def test_values_of_one_seed_have_students_interval() -> None:
    values = RNG.exponential(size=40)
    found = summary(values)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), *expected))
    other = RNG.exponential(size=40)
    pair, test = paired(values, other), stats.ttest_rel(values, other)
    interval = test.confidence_interval()
    assert (pair.difference.low, pair.difference.high, pair.p) == pytest.approx((*interval, test.pvalue))
    assert (pair.test, pair.n, pair.seeds, pair.errors[0].freedom) == ("t over images", 40, 1, 39)


ENTROPY = np.array([
    [1.2, 0.4, 0.9, 2.1, 1.7, 0.3, 0.8, 1.1, 1.9, 0.6, 1.4, 1.0],
    [1.0, 0.5, 1.1, 2.4, 1.5, 0.2, 1.0, 1.3, 2.2, 0.7, 1.2, 1.3],
    [1.5, 0.7, 0.8, 2.0, 1.9, 0.6, 0.9, 1.6, 1.8, 1.1, 1.5, 1.2],
])  # fmt: skip
OF = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4]


def test_values_on_objects_are_statsmodels_cluster_robust_ones() -> None:
    # statsmodels 0.15.0, OLS(values, ones(12)).fit(cov_type="cluster", cov_kwds={"groups": OF}, use_t=True).
    found = summary(ENTROPY[0], OF)
    assert (found.low, found.high) == pytest.approx((0.6254394697055397, 1.6078938636277942), rel=1e-9)
    pair = paired(ENTROPY[0], np.roll(ENTROPY[1], 3), OF)
    assert (pair.difference.low, pair.difference.high) == pytest.approx((-0.8079195669794081, 0.6412529003127414))
    assert pair.p == pytest.approx(0.76546921, abs=1e-8)


def test_images_of_objects_say_no_more_than_independent_ones() -> None:
    """Objects that are right alike by chance: the interval is that of as many independent images, with Student's t."""
    for seeds in (1, 3):  # that agree on every image
        found = accuracy([40] * seeds, [100] * seeds, [[4] * 10] * seeds, [10] * 10)
        assert (found.low, found.high) == pytest.approx(wilson(40, 100, stats.t.ppf(0.975, 9)))


# --- several seeds --------------------------------------------------------------------------------------------------


def test_of_several_seeds_the_variance_is_that_of_seeds_and_of_images() -> None:
    """MS / S + Cov and its degrees of freedom, by NumPy's covariances, and by the mean squares of an analysis of
    variance of both factors (without replication): (MS of seeds + MS of images - MS of the rest) / (S n)."""
    values = RNG.normal(size=(4, 1)) * 0.6 + RNG.normal(size=(1, 50)) * 2 + RNG.normal(size=(4, 50))
    found = summary(values)
    ms, var, cov = covariances(values)
    assert ms > var - cov > 0 and cov > 0
    variance = ms / 4 + cov
    freedom = variance**2 / ((ms / 4) ** 2 / 3 + cov**2 / 49)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-9)
    assert (found.sd, found.over) == (pytest.approx(values.mean(axis=1).std(ddof=1)), "seeds and images")
    rest = values - values.mean(axis=0) - values.mean(axis=1)[:, None] + values.mean()
    of_seeds, of_images = 50 * ms, 4 * values.mean(axis=0).var(ddof=1)
    assert variance == pytest.approx((of_seeds + of_images - (rest**2).sum() / (3 * 49)) / 200)


def test_the_variance_of_two_levels_is_that_of_statsmodels_mean_squares() -> None:
    # statsmodels 0.15.0, anova_lm of ols("y ~ C(s) + C(i)") on ENTROPY: mean squares of seeds, images and the rest.
    of_seeds, of_images, rest = 0.10111111111111122, 0.8944444444444446, 0.033535353535353536
    variance, shared = (of_seeds + of_images - rest) / 36, (of_images - rest) / 36
    freedom = variance**2 / ((of_seeds / 36) ** 2 / 2 + shared**2 / 11)
    found = summary(ENTROPY)
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(variance), rel=1e-9)


def test_seeds_that_agree_by_chance_leave_what_images_amount_to() -> None:
    values = RNG.normal(size=(3, 50)) + RNG.normal(size=(1, 50))
    values -= values.mean(axis=1)[:, None]  # all means are alike
    found, (ms, _, cov) = summary(values), covariances(values)
    assert ms == pytest.approx(0) and cov > 0
    expected = stats.t.interval(0.95, 49, 0, stats.sem(values.mean(axis=0)))
    assert (found.low, found.high) == pytest.approx(expected)


def test_seeds_that_are_all_alike_are_one() -> None:
    """On the same images: nothing is learned of others, and the interval over objects stays."""
    one, three = summary(OWN[:1], OBJECTS), summary(np.repeat(OWN[:1], 3, axis=0), OBJECTS)
    assert (three.value, three.low, three.high) == pytest.approx((one.value, one.low, one.high))
    assert (three.sd, three.over) == (0, "seeds and objects")
    pair = paired(np.repeat(OWN[:1], 3, axis=0), np.repeat(BASE[:1], 3, axis=0), OBJECTS)
    assert pair.p == pytest.approx(paired(OWN[:1], BASE[:1], OBJECTS).p)


def test_with_nothing_shared_by_images_seeds_are_all() -> None:
    """Student's over seeds, where they scatter far more than images can account for."""
    values = RNG.normal(size=(4, 1)) + RNG.normal(size=(4, 5000)) * 1e-3
    found = summary(values)
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values.mean(axis=1)))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-3)


def test_an_accuracy_stays_within_what_can_be() -> None:
    for right in ([99, 60], [100, 100], [0, 0], [100, 99]):
        for found in (accuracy(right, [100] * 2), summary(np.arange(100) < np.array(right)[:, None])):
            assert 0 <= found.low < found.value + 1e-12 and found.value - 1e-12 < found.high <= 1
            assert found.high - found.low > 0.03, "never without a width"


def test_without_records_images_contribute_the_most_that_they_can() -> None:
    counts, n = [40, 50, 60], 100
    nested = np.arange(n) < np.array(counts)[:, None]  # the same images are easy for all seeds
    found, most = accuracy(counts, [n] * 3), summary(nested)
    assert (found.value, found.sd, found.over, found.wide) == (0.5, pytest.approx(0.1), "seeds and images", True)
    variance = 0.01 / 3 + 0.25 / 100
    freedom = variance**2 / ((0.01 / 3) ** 2 / 2 + 0.0025**2 / 99)
    effective = 0.25 / variance
    assert (found.low, found.high) == pytest.approx(wilson(effective / 2, effective, stats.t.ppf(0.975, freedom)))
    assert (most.low, most.high) == pytest.approx((found.low, found.high), abs=0.001) and not most.wide
    found = accuracy_difference(counts, [n] * 3, [30, 45, 40], [n] * 3)
    d = np.array([0.1, 0.05, 0.2])
    variance = d.var(ddof=1) / 3 + (0.25 + 23 / 60 * 37 / 60) / 100
    error = max(found.errors, key=lambda error: error.variance)
    assert (error.variance, found.difference.wide) == (pytest.approx(variance), True)
    assert found.p == pytest.approx(2 * stats.t.sf(d.mean() / math.sqrt(variance), error.freedom))


def test_a_difference_of_several_seeds_has_two_images_more_that_differ_as_these_do() -> None:
    rng = np.random.default_rng(2)
    own, base = (rng.normal(size=(1, 60)) * 2 + rng.normal(size=(3, 60)) + shift > 0 for shift in (0.7, 0.3))
    found, d = paired(own, base), own.astype(float) - base
    _, var, cov = covariances(d)
    mean, alike = d.mean(axis=0), (var + 2 * cov) / 3 / var
    images = ((mean**2).sum() + 2 * alike) / 62**2 - (mean.sum() / 62) ** 2 / 62
    assert found.centre == pytest.approx(mean.sum() / 62)
    assert (found.errors[0].variance, found.errors[0].freedom) == (pytest.approx(images), 59)
    assert found.errors[1].variance == pytest.approx(
        d.mean(axis=1).var(ddof=1) / 3 + cov + images - (var + 2 * cov) / 3
    )
    assert found.difference.value == pytest.approx(mean.mean()) and 0 < cov < var


# --- ratios ---------------------------------------------------------------------------------------------------------


def test_ratios_are_taken_seed_by_seed_and_averaged_on_the_log_axis() -> None:
    estimate = accuracy_ratio([40, 25], [100, 100], [20, 50], [100, 100])
    assert (estimate.value, estimate.low * estimate.high) == pytest.approx((1, 1)), "twice and half cancel out"
    assert (estimate.sd, estimate.over, estimate.wide) == (pytest.approx(2**2**0.5), "seeds and images", True)
    variance, images = math.log(2) ** 2, (1 / 40 - 0.01 + 1 / 20 - 0.01 + 1 / 25 - 0.01 + 1 / 50 - 0.01) / 2
    quantile = (variance * stats.t.ppf(0.975, 1) + images * stats.t.ppf(0.975, 99)) / (variance + images)
    assert math.log(estimate.high) == pytest.approx(quantile * math.sqrt(variance + images))
    one = accuracy_ratio([40], [100], [20], [80])
    assert (one.value, one.low, one.high) == katz(40, 100, 20, 80)


def test_ratios_of_records_are_linearised() -> None:
    """Against numerical derivatives of the mean logarithm by the weight of each object."""
    own, base = np.exp(OWN + HARD), np.exp(BASE - HARD)
    found = ratio(own, base, OBJECTS)

    def logs(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log((own * weights[OBJECTS]).sum(axis=1) / (base * weights[OBJECTS]).sum(axis=1))

    one = np.ones(12)
    slopes = np.array([(logs(one + 1e-6 * np.eye(12)[g]) - logs(one)) / 1e-6 for g in range(12)]).T
    ms, matrix = logs(one).var(ddof=1), 12 / 11 * slopes @ slopes.T
    cov = matrix[~np.eye(3, dtype=bool)].mean()
    assert found.value == pytest.approx(math.exp(logs(one).mean()))
    freedom = (ms / 3 + cov) ** 2 / ((ms / 3) ** 2 / 2 + cov**2 / 11)
    halves = (stats.t.ppf(0.975, freedom) * math.sqrt(ms / 3 + cov), stats.t.ppf(0.975, 11) * matrix.mean() ** 0.5)
    assert cov > 0 and math.log(found.high / found.value) == pytest.approx(max(halves), rel=1e-4)


def test_of_shares_the_dependence_of_differences_is_taken_with_one_object_more() -> None:
    """As that of accuracies: V / V_1 with the variance of an unknown object in both, and V_1 that of objects on which
    the networks differ wholly or not at all."""
    sizes = np.bincount(OBJECTS)
    x, z = (np.array(by_object(side[:1])[0]) for side in (OWN, BASE))
    squares, d = (sizes**2).sum() / 60**2, (x - z).sum() / 60
    variance = 12 / 11 * ((x - z - d * sizes) ** 2).sum() / 60**2
    whole, unknown = 12 / 11 * squares * (abs(x - z).sum() / 60 - d**2), squares / 12 / 12
    expected = max(variance, whole * (variance + unknown) / (whole + unknown))
    (error,) = paired(OWN[0], BASE[0], OBJECTS).errors
    assert (error.variance, error.freedom) == (pytest.approx(expected), 11) and expected > variance
    found, both = ratio(OWN[0], BASE[0], OBJECTS), np.minimum(x, z).sum()
    variance = 12 / 11 * ((x / x.sum() - z / z.sum()) ** 2).sum()
    apart = (x.sum() - both) / x.sum() ** 2 + (z.sum() - both) / z.sum() ** 2
    whole = 12 / 11 * squares * 60 * (both * (1 / x.sum() - 1 / z.sum()) ** 2 + apart)
    unknown *= ((60 / x.sum()) ** 2 + (60 / z.sum()) ** 2) / 2
    expected = max(variance, whole * (variance + unknown) / (whole + unknown))
    assert math.log(found.high / found.value) == pytest.approx(stats.t.ppf(0.975, 11) * math.sqrt(expected))


def test_a_seed_without_a_ratio_makes_the_mean_undefined_and_one_of_zero_makes_it_zero() -> None:
    assert math.isnan(accuracy_ratio([40, 60], [100, 100], [20, 0], [100, 100]).value)
    zero = accuracy_ratio([40, 0], [100, 100], [20, 50], [100, 100])
    assert zero.value == 0 and math.isnan(zero.low) and math.isnan(zero.sd)
    none = np.zeros_like(OWN)
    assert math.isnan(ratio(OWN, none).value) and ratio(none, OWN).value == 0
    with pytest.raises(ValueError, match="not negative"):
        ratio(-OWN.astype(float), BASE)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="same seeds and images"):
        paired(OWN, BASE[:2])
    with pytest.raises(ValueError, match="finite"):
        summary([[0.1, math.nan]])
    with pytest.raises(ValueError, match="as many clusters"):
        summary(OWN, OBJECTS[:-1])
    with pytest.raises(ValueError, match=r"not of shape \(0,\)"):
        summary([])


def test_of_a_single_image_or_object_nothing_is_known() -> None:
    for found in (summary(OWN, np.zeros(60)), summary([[0.5], [0.7]]), ratio(OWN, BASE, np.zeros(60)),
                  paired(OWN, BASE, np.zeros(60)).difference, paired([[1], [0]], [[0], [1]]).difference):  # fmt: skip
        assert math.isnan(found.low) and math.isnan(found.high)


def test_means_alone_have_an_interval_over_seeds() -> None:
    values = [1.80, 1.91, 2.02]
    found = mean_over_seeds(values)
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected) and found.over == "seeds"
    assert math.isnan(mean_over_seeds([1.8]).low) and mean_over_seeds([1.8]).value == 1.8
