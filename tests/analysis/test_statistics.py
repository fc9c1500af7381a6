"""Values of tables: which interval they have, and over what."""

import math

import pytest

from analysis.intervals import clustered, clustered_ratio, katz, wilson
from analysis.statistics import accuracy, accuracy_ratio


def test_one_seed_has_wilsons_interval() -> None:
    estimate = accuracy([70], [86])
    assert (estimate.value, (estimate.low, estimate.high)) == (70 / 86, wilson(70, 86))
    assert math.isnan(estimate.sd) and (estimate.seeds, estimate.over) == (1, "images")


def test_one_seed_on_objects_has_the_clustered_interval() -> None:
    images, right, base = [40, 40, 6], [40, 30, 0], [20, 20, 5]
    estimate = accuracy([70], [86], [right], images)
    assert ((estimate.low, estimate.high), estimate.over) == (clustered(right, images), "objects")
    ratio = accuracy_ratio([70], [86], [45], [86], (right, base), images)
    assert ((ratio.value, ratio.low, ratio.high), ratio.over) == (clustered_ratio(right, base, images), "objects")
    assert accuracy_ratio([70], [86], [45], [86], (right, None), images).over == "images"


def test_several_seeds_have_mean_standard_deviation_and_students_interval() -> None:
    estimate = accuracy([40, 50, 60], [100, 100, 100], [[40], None, None], [100])
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (estimate.value, estimate.sd) == pytest.approx((0.5, 0.1))
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)
    assert (estimate.seeds, estimate.over) == (3, "seeds")


def test_an_interval_over_seeds_stays_within_what_can_be() -> None:
    estimate = accuracy([99, 60], [100, 100])
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_ratios_are_taken_seed_by_seed_and_averaged_on_the_log_axis() -> None:
    estimate = accuracy_ratio([40, 25], [100, 100], [20, 50], [100, 100])
    assert (estimate.value, estimate.low * estimate.high) == pytest.approx((1, 1)), "twice and half cancel out"
    assert (estimate.sd, estimate.over) == (pytest.approx(2**2**0.5), "seeds")
    one = accuracy_ratio([40], [100], [20], [80])
    assert (one.value, one.low, one.high) == katz(40, 100, 20, 80)


def test_a_seed_without_a_ratio_makes_the_mean_undefined_and_one_of_zero_makes_it_zero() -> None:
    assert math.isnan(accuracy_ratio([40, 60], [100, 100], [20, 0], [100, 100]).value)
    zero = accuracy_ratio([40, 0], [100, 100], [20, 50], [100, 100])
    assert zero.value == 0 and math.isnan(zero.low) and math.isnan(zero.sd)
