"""Kaplan & Meier's curve, against SciPy's and against numbers of lifelines 0.30.3."""

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf

from blurtrain.evaluation.survival import kaplan_meier

VALUES = np.array([1, 3.2, 9, 9, 2.8, 2.2, 3.6, 0.9, 8.1, 0.6, 3.7, 9, 4.1, 4.1, 5, 6.5, 1.2, 2.2, 7.7])
CENSORED = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], np.bool_)


@pytest.mark.filterwarnings("ignore:The confidence interval is undefined")
@pytest.mark.parametrize("seed", range(5))
def test_curve_and_interval_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.exponential(8, 60).round(1) + 0.1
    censored = (values > 9) | (rng.random(60) < 0.15)
    values = np.minimum(values, 9.0)
    ours = kaplan_meier(values, censored)
    theirs = ecdf(CensoredData(uncensored=values[~censored], right=values[censored])).sf
    bounds = theirs.confidence_interval(0.95, method="log-log")
    seen = np.isin(theirs.quantiles, ours.values)
    assert ours.share == pytest.approx(theirs.probabilities[seen], abs=1e-12)
    assert ours.low == pytest.approx(np.nan_to_num(bounds.low.probabilities[seen]), abs=1e-12)
    assert ours.high == pytest.approx(np.nan_to_num(bounds.high.probabilities[seen]), abs=1e-12)


def test_median_and_its_interval_are_those_of_lifelines() -> None:
    curve = kaplan_meier(VALUES, CENSORED)
    assert (curve.median, *curve.median_interval) == (3.7, 2.2, 7.7)
    assert curve.at_risk[0] == 19 and curve.events.sum() == (~CENSORED).sum()


def test_where_more_than_half_are_left_there_is_no_median() -> None:
    curve = kaplan_meier(np.array([1.0, 2, 9, 9, 9, 9]), np.array([0, 0, 1, 1, 1, 1], np.bool_))
    assert curve.median is None and curve.median_interval[1] is None
    nothing = kaplan_meier(np.full(4, 9.0), np.ones(4, np.bool_))
    assert nothing.median is None and nothing.table().shape == (0, 6)


def test_without_censoring_the_median_is_the_lower_one() -> None:
    assert kaplan_meier(np.array([4.0, 1, 3, 2]), np.zeros(4, np.bool_)).median == 2
