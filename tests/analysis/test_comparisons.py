"""Tests of pairs and corrections for many, against SciPy, statsmodels' numbers, and the intervals they belong to."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from analysis import benjamini_hochberg, corrected_intervals, holm, mcnemar, paired
from analysis.statistics.comparisons import p_of_interval, p_value
from analysis.statistics.intervals import difference
from analysis.statistics.two_levels import Error

PS = [0.012, 0.6, 0.001, 0.039, 0.0391, 0.2, 0.0005]


@pytest.mark.parametrize(("first", "second"), [(12, 5), (5, 12), (0, 7), (30, 30), (0, 1), (1200, 1043)])
def test_mcnemars_exact_test_is_a_binomial_one(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue
    assert mcnemar(first, second, mid=False) == pytest.approx(expected, rel=1e-9)
    middle = expected - stats.binom.pmf(first, first + second, 0.5) if first != second else 1.0
    assert mcnemar(first, second) == pytest.approx(middle, rel=1e-9)


def test_mcnemar_of_fagerlands_example() -> None:
    # Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91, table 1 (Bentur et al. 2009), b = 1 and
    # c = 7: exact conditional 0.0703, mid-p 0.0391.
    assert (round(mcnemar(1, 7, mid=False), 4), round(mcnemar(1, 7), 4)) == (0.0703, 0.0391)
    assert mcnemar(0, 0) == 1
    with pytest.raises(ValueError, match="no counts"):
        mcnemar(-1, 3)


def test_one_seed_on_independent_images_is_tested_by_mcnemar() -> None:
    own, base = np.array([1] * 12 + [0] * 5 + [1] * 69), np.array([0] * 12 + [1] * 5 + [1] * 69)
    found = paired(own, base)
    assert (found.p, found.test, found.n) == (mcnemar(12, 5), "McNemar, mid-p", 86)
    # statsmodels 0.15.0, mcnemar([[69, 12], [5, 0]], exact=True).
    assert mcnemar(12, 5, mid=False) == pytest.approx(0.143463134765625)


def test_the_test_over_objects_is_obuchowskis_at_the_estimate() -> None:
    """By her covariance matrix of two clustered proportions, each about its own estimate, with t for the normal."""
    objects = np.repeat(np.arange(20), 6)
    # On each object at most one network is right, and on all its images, so that its dependence is whole.
    own, base = (np.isin(objects, right) for right in (range(9), range(9, 13)))
    n, m = np.bincount(objects), 20
    x, z = np.bincount(objects, own), np.bincount(objects, base)
    p, q, total = own.mean(), base.mean(), n.sum()
    scale = m / (m - 1) / total**2
    variances = scale * ((x - n * p) ** 2).sum(), scale * ((z - n * q) ** 2).sum()
    covariance = scale * ((x - n * p) * (z - n * q)).sum()
    t = (p - q) / math.sqrt(sum(variances) - 2 * covariance)
    found = paired(own, base, objects)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), m - 1)) and found.test == "t over objects"


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("clusters", [False, True])
@pytest.mark.parametrize("share", [False, True])
def test_p_is_below_5_percent_where_the_interval_leaves_out_0(seeds: int, clusters: bool, share: bool) -> None:
    rng, found = np.random.default_rng(11), []
    for _ in range(150):
        hard = rng.normal(size=(1, 40)) + np.repeat(rng.normal(size=10), 4)
        own = hard + rng.normal(size=(seeds, 40)) + 0.6
        base = hard + rng.normal(size=(seeds, 40))
        sides = (own > 0, base > 0) if share else (own, base)
        one = paired(*sides, np.arange(40) // 4 if clusters else None)
        if one.test != "McNemar, mid-p":
            found.append(one.p < 0.05)
            assert found[-1] == (one.difference.low > 0 or one.difference.high < 0)
    assert set(found) in (set(), {True, False})


def test_networks_that_never_differ_cannot_be_told_apart() -> None:
    right = np.random.default_rng(0).random((3, 50)) < 0.7
    for seeds in (1, 3):
        assert paired(right[:seeds], right[:seeds]).p == 1
        assert paired(right[:seeds], right[:seeds], np.arange(50) // 5).p == 1


def test_without_an_error_there_is_no_p_and_of_several_the_largest_is_taken() -> None:
    assert math.isnan(p_value(0.1, [Error(0.0, 3)])) and math.isnan(p_value(0.0, []))
    assert p_value(1.959964, [Error(1.0, math.inf)]) == pytest.approx(0.05, abs=1e-7)
    assert p_value(2.0, [Error(1.0, math.inf), Error(0.5, 1)]) == pytest.approx(2 * stats.t.sf(2 / math.sqrt(0.5), 1))


@pytest.mark.parametrize("freedom", [1, 4, math.inf])
def test_of_an_interval_alone_p_is_that_of_its_form(freedom: float) -> None:
    half = stats.t.ppf(0.975, min(freedom, 1e12)) * 0.1
    for value in (-0.3, -0.02, 0.0, 0.1, 0.5):
        expected = p_value(value, [Error(0.01, freedom)])
        assert p_of_interval(value, value - half, value + half, freedom) == pytest.approx(expected)
    assert math.isnan(p_of_interval(0.1, math.nan, math.nan))


def test_of_an_interval_that_is_not_symmetrical_the_side_of_0_counts() -> None:
    assert p_of_interval(0.2, 0.0, 0.9) == pytest.approx(0.05) == p_of_interval(-0.2, -0.9, 0.0)
    found = set()
    for count in range(50):
        p, (_, low, high) = p_of_interval(*difference(count, 50, 30, 50)), difference(count, 50, 30, 50)
        found.add(p < 0.05)
        assert (p < 0.05) == (low > 0 or high < 0) and (p == 1) == (count == 30)
    assert found == {True, False}


# --- many -----------------------------------------------------------------------------------------------------------


def test_holm_and_benjamini_hochberg_are_statsmodels() -> None:
    # statsmodels 0.15.0, multipletests(PS, method="holm") and method="fdr_bh".
    assert holm(PS) == pytest.approx([0.06, 0.6, 0.006, 0.156, 0.156, 0.4, 0.0035])
    assert benjamini_hochberg(PS) == pytest.approx([0.028, 0.6, 0.0035, 0.05474, 0.05474, 0.7 / 3, 0.0035])
    assert benjamini_hochberg(PS) == pytest.approx(stats.false_discovery_control(PS))


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_was_not_tested_does_not_count(adjust: Callable[[Sequence[float]], list[float]]) -> None:
    with_nan = [math.nan, *PS[:3], math.nan, *PS[3:]]
    found = adjust(with_nan)
    assert [p for p in found if not math.isnan(p)] == adjust(PS) and math.isnan(found[0]) and math.isnan(found[4])
    assert adjust([]) == [] and math.isnan(adjust([math.nan])[0]) and adjust([0.03]) == [0.03]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        adjust([1.2])


def test_a_part_of_a_family_counts_as_its_smallest_p_values() -> None:
    ps = [0.02, 0.001, math.nan, 0.004]
    assert holm(ps, 10) == pytest.approx([0.16, 0.01, math.nan, 0.036], nan_ok=True)
    assert benjamini_hochberg(ps, 10) == pytest.approx([0.2 / 3, 0.01, math.nan, 0.02], nan_ok=True)
    rng = np.random.default_rng(3)
    for _ in range(50):
        whole = (rng.random(10) ** 3).tolist()
        for adjust in (holm, benjamini_hochberg):
            assert all(a >= b - 1e-15 for a, b in zip(adjust(whole[:4], 10), adjust(whole)[:4], strict=True))
            assert adjust(whole, 10) == adjust(whole)
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="no part of a family of 2"):
            adjust(ps, 2)


def test_of_equal_networks_the_best_is_seldom_told_apart_by_a_family_of_all_pairs() -> None:
    found = np.random.default_rng(5).normal(size=(2000, 15))
    gaps = found.max(axis=1, keepdims=True) - np.sort(found)[:, :-1]
    ps = (2 * stats.norm.sf(gaps / math.sqrt(2))).tolist()
    share = {family: np.mean([min(holm(of, family)) < 0.05 for of in ps]) for family in (14, 15 * 14 // 2)}
    assert share[105] <= 0.05 and share[14] > 0.15, "as if the best were known before"


def differences(seed: int) -> tuple[list[float], list[tuple[Error, ...]]]:
    rng = np.random.default_rng(seed)
    errors = [(Error(rng.uniform(0.3, 1), freedom), Error(rng.uniform(0.1, 1), 35))
              for freedom in rng.choice([1, 3.2, 35, math.inf], 6).tolist()]  # fmt: skip
    return rng.normal(0, 3, 6).tolist(), errors


def test_bonferronis_intervals_are_at_a_share_of_5_percent() -> None:
    errors = [(Error(0.05**2, 4.0),), (Error(0.1**2, math.inf),), ()]
    (first, second, third) = corrected_intervals([0.1, -0.2, 0.3], errors, "bonferroni")
    assert first == pytest.approx(stats.t.interval(0.975, 4, 0.1, 0.05))
    assert second == pytest.approx(stats.norm.interval(0.975, -0.2, 0.1), rel=1e-6)
    assert math.isnan(third[0]), "and is not counted"
    with pytest.raises(ValueError, match="choose bonferroni or holm"):
        corrected_intervals([], [], "none")  # type: ignore[arg-type]


def test_holms_intervals_leave_out_0_where_holms_p_values_are_below_5_percent() -> None:
    seen = set()
    for seed in range(60):
        centres, errors = differences(seed)
        adjusted = holm([p_value(*of) for of in zip(centres, errors, strict=True)])
        found = corrected_intervals(centres, errors, "holm")
        out = [low > 0 or high < 0 for low, high in found]
        assert out == [p < 0.05 for p in adjusted]
        wider = corrected_intervals(centres, errors, "bonferroni")
        assert all(a >= c - 1e-12 and b <= d + 1e-12 for (a, b), (c, d) in zip(found, wider, strict=True))
        seen.add(sum(out))
    assert {0, 1, 2, 3} <= seen
