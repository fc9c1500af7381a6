"""Intervals against scipy and against calculations by hand."""

import math

import pytest
from scipy.stats import binomtest

from analysis.statistics import accuracy, accuracy_ratio, katz, wilson


@pytest.mark.parametrize(("count", "n"), [(0, 86), (1, 86), (43, 86), (70, 86), (86, 86), (0, 1), (1, 1), (2607, 2936)])
def test_wilson_is_scipys(count: int, n: int) -> None:
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= wilson(count, n)[0] <= count / n <= wilson(count, n)[1] <= 1


@pytest.mark.parametrize(("count", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(count, n)


def test_katz_by_hand() -> None:
    # 40 of 100 against 20 of 80: ratio 0.4 / 0.25 = 1.6; variance of its log 1/40 - 1/100 + 1/20 - 1/80 = 0.0525.
    ratio, low, high = katz(40, 100, 20, 80)
    assert ratio == pytest.approx(1.6)
    assert low == pytest.approx(1.6 * math.exp(-1.959964 * math.sqrt(0.0525)), rel=1e-6)
    assert high == pytest.approx(1.6 * math.exp(1.959964 * math.sqrt(0.0525)), rel=1e-6)
    assert (round(low, 3), round(high, 3)) == (1.021, 2.507)


def test_katz_without_a_base_is_undefined_and_without_a_count_has_no_interval() -> None:
    assert all(math.isnan(x) for x in katz(0, 86, 0, 86))
    assert all(math.isnan(x) for x in katz(5, 86, 0, 86))
    ratio, low, high = katz(0, 86, 5, 86)
    assert ratio == 0 and math.isnan(low) and math.isnan(high)
    assert katz(86, 86, 86, 86) == (1, 1, 1)


def test_one_seed_has_wilsons_interval() -> None:
    estimate = accuracy([70], [86])
    assert (estimate.value, (estimate.low, estimate.high)) == (70 / 86, wilson(70, 86))
    assert math.isnan(estimate.sd) and estimate.seeds == 1


def test_several_seeds_have_mean_range_and_sample_standard_deviation() -> None:
    estimate = accuracy([40, 50, 60], [100, 100, 100])
    assert (estimate.low, estimate.high, estimate.seeds) == (0.4, 0.6, 3)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.sd == pytest.approx(0.1)


def test_ratios_are_taken_seed_by_seed() -> None:
    estimate = accuracy_ratio([40, 60], [100, 100], [20, 60], [100, 100])
    assert (estimate.value, estimate.low, estimate.high) == (1.5, 1, 2)
    one = accuracy_ratio([40], [100], [20], [80])
    assert (one.value, one.low, one.high) == katz(40, 100, 20, 80)


def test_a_seed_without_a_ratio_makes_the_mean_undefined() -> None:
    assert math.isnan(accuracy_ratio([40, 60], [100, 100], [20, 0], [100, 100]).value)
