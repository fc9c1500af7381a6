"""Intervals by resampling, against SciPy's, against those in closed form, and against themselves."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.statistics import bootstrap
from analysis.statistics import estimates as statistics
from analysis.statistics.bootstrap import Resampling

RNG = np.random.default_rng(5)
SKEWED = np.exp(1.5 * RNG.normal(size=80))
HARD = RNG.normal(size=(1, 2000))
OWN, BASE = (HARD + RNG.normal(size=(3, 2000)) + RNG.normal(0, 0.05, (3, 1)) + shift > 0 for shift in (0.7, 0.3))
OBJECTS = np.arange(2000) // 40


@pytest.mark.parametrize(("method", "name"), [("percentile", "percentile"), ("bca", "BCa")])
def test_of_one_seed_it_is_scipys_but_for_the_widening_of_few(method: bootstrap.Method, name: str) -> None:
    """Student's quantile and G / (G - 1) are taken out again, by the level that SciPy is asked for."""
    found = bootstrap.summary(SKEWED, method=method, resamples=100_000)
    level = 1 - 2 * stats.norm.cdf(-stats.t.ppf(0.975, 79) * math.sqrt(80 / 79))
    expected = stats.bootstrap(
        (SKEWED,), np.mean, confidence_level=level, n_resamples=100_000, method=name, rng=np.random.default_rng(1)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.01)
    assert found.value == pytest.approx(SKEWED.mean())


def test_skewness_moves_bca_and_not_students() -> None:
    plain, skewed = statistics.summary(SKEWED), bootstrap.summary(SKEWED, resamples=5000)
    assert skewed.low > plain.low + 0.1 and skewed.high > plain.high + 0.1
    mirrored = bootstrap.summary(-SKEWED, resamples=5000)
    assert (-mirrored.high, -mirrored.low) == pytest.approx((skewed.low, skewed.high), rel=0.03)


@pytest.mark.parametrize("clusters", [None, OBJECTS])
@pytest.mark.parametrize("seeds", [1, 3])
def test_of_many_images_it_is_as_wide_as_in_closed_form(clusters: NDArray[np.int64] | None, seeds: int) -> None:
    own, base = OWN[:seeds], BASE[:seeds]
    for drawn, closed in (
        (bootstrap.summary(own, clusters, resamples=4000), statistics.summary(own, clusters)),
        (bootstrap.paired(own, base, clusters, resamples=4000), statistics.paired(own, base, clusters).difference),
        (bootstrap.ratio(own, base, clusters, resamples=4000), statistics.ratio(own, base, clusters)),
    ):
        assert (drawn.value, drawn.sd, drawn.over) == pytest.approx((closed.value, closed.sd, closed.over), nan_ok=True)
        assert drawn.high - drawn.low == pytest.approx(closed.high - closed.low, rel=0.12 if seeds == 1 else 0.25)
        assert drawn.low + drawn.high == pytest.approx(
            closed.low + closed.high, abs=0.2 * seeds * (closed.high - closed.low)
        )


def test_pairs_are_drawn_together() -> None:
    found, apart = (bootstrap.paired(OWN[0], base) for base in (BASE[0], np.roll(BASE[0], 7)))
    assert (found.high - found.low) < 0.9 * (apart.high - apart.low)
    same = bootstrap.paired(OWN, OWN)
    assert same.value == 0 and math.isnan(same.low), "nothing was seen to differ"


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    for values in (OWN, HARD[0]):
        one, again, other = (bootstrap.summary(values, seed=seed) for seed in (3, 3, 4))
        assert (one.low, one.high) == (again.low, again.high) and one.low != other.low


@pytest.mark.parametrize("columns", [OWN.T.astype(float), HARD.T])
def test_draws_do_not_depend_on_how_many_there_are(columns: NDArray[np.float64]) -> None:
    few, many = (Resampling(np.ones(2000), resamples, 9).sums(columns)[0] for resamples in (101, 250))
    assert np.allclose(few, many[:101], rtol=1e-13)


def test_images_with_the_same_pattern_are_drawn_as_one() -> None:
    """The multinomial over patterns has the distribution of draws image by image: mean, covariances and skewness."""
    patterns = OWN.T.astype(float)
    short, sizes = Resampling(np.ones(2000), 4000, 0).sums(patterns)
    long = Resampling(np.ones(2000), 4000, 0).sums(patterns + 1e-9 * RNG.random((2000, 1)))[0]
    assert set(sizes) == {2000}
    assert short.mean(axis=0) == pytest.approx(patterns.sum(axis=0), abs=2)
    expected = np.cov(patterns.T, bias=True) * 2000
    assert np.cov(short.T) == pytest.approx(expected, rel=0.15) and np.cov(long.T) == pytest.approx(expected, rel=0.15)
    assert stats.ks_2samp(short[:, 0], np.round(long[:, 0])).pvalue > 0.001


def test_objects_are_drawn_with_all_their_images() -> None:
    sizes = np.array([5.0, 50, 500])
    sums, images = Resampling(sizes, 500, 0).sums(sizes[:, None] * 2)
    assert np.array_equal(sums[:, 0], 2 * images) and len(set(images)) == 10  # multisets of 3 out of 3


def test_seeds_are_a_level_of_their_own() -> None:
    """With effects of seeds far larger than those of images, the interval is as wide as Student's over seeds."""
    values = np.array([[0.0], [0.3], [0.9], [1.2], [0.5]]) + RNG.normal(0, 0.1, (5, 3000))
    found, over_seeds = bootstrap.summary(values, method="percentile", resamples=10_000), values.mean(axis=1)
    expected = stats.t.interval(0.95, 4, over_seeds.mean(), stats.sem(over_seeds))
    assert found.high - found.low == pytest.approx(expected[1] - expected[0], rel=0.15)
    deviations = over_seeds - over_seeds.mean()
    effects = Resampling(np.ones(10), 20_000, 0).effects(deviations)
    assert effects.var() == pytest.approx(over_seeds.var(ddof=1) / 5, rel=0.05)
    # Effects that are no more than images account for are not counted twice.
    noise = RNG.normal(size=(5, 3000))
    noise -= noise.mean(axis=1)[:, None]
    found, alone = bootstrap.summary(noise), bootstrap.summary(noise.mean(axis=0))
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=1e-9)


def test_a_draw_without_a_base_leaves_no_interval() -> None:
    own, base = np.ones(50), np.r_[1.0, np.zeros(49)]
    found = bootstrap.ratio(own, base)
    assert found.value == pytest.approx(50) and math.isnan(found.low)
    assert math.isnan(bootstrap.ratio(own, 0 * base).value)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="1000 or more"):
        bootstrap.summary(SKEWED, resamples=20)
    with pytest.raises(ValueError, match="choose bca or percentile"):
        bootstrap.summary(SKEWED, method="t")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="same seeds and images"):
        bootstrap.paired(OWN, BASE[:2])
    assert math.isnan(bootstrap.summary(np.ones(20)).low)
