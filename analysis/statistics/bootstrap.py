"""95 % intervals by resampling images, or the objects that they show, with seeds as a second level, in pairs.

They take the shape of the distribution from the data: for values that are far from normal, where
`analysis.statistics.estimates` takes Student's. Resampling knows nothing of what was not seen: of shares near 0 or 1,
and of few seeds, the intervals of `analysis.statistics.estimates` are to be preferred.
"""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.estimates import Estimate, mean_over_units, ratio_over_units
from analysis.statistics.two_levels import half_width, spread
from analysis.statistics.units import Units

Method = Literal["bca", "percentile"]
_OUTERMOST = 5
"""Draws that are left outside of the outermost quantile that is read off them."""


def summary(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    method: Method = "bca",
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """As `statistics.summary`, its interval by resampling.

    Each of `resamples` draws as many units (images; with `clusters`, objects with all their images) with replacement,
    the same for all seeds, and adds effects of seeds, drawn with replacement too: the deviations of seeds from
    their mean, shrunk so that their variance is that of seeds without that of images (as residuals of random effects:
    Carpenter, Goldstein & Rasbash 2003, J. Royal Statistical Society C 52:431-443): draws have the variance of
    `two_levels.spread`.

    percentile: quantiles of the draws; bca: corrected for bias and skewness (Efron 1987, J. Am. Stat. Assoc.
    82:171-185; of two levels, the third moments add up: Davison & Hinkley 1997, Bootstrap Methods, ch. 5.3). Both are
    widened for few units and seeds, by the quantile of Student's t in place of the normal's (Hesterberg 2015, American
    Statistician 69:371-386); quantiles further out than the draws reach are stretched from the outermost. No interval
    where all draws are alike.

    The same seed gives the same draws (PCG64, a stream a resample). Raises ValueError as `statistics.summary`, for an
    unknown method, and for less than 100 resamples.
    """
    return _of_mean(Units.of(values, clusters), method, resamples, seed)


def paired(
    own: ArrayLike,
    base: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    method: Method = "bca",
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The difference of `statistics.paired`, its interval by resampling, as `summary`, of the differences."""
    return _of_mean(Units.of(own, clusters) - Units.of(base, clusters), method, resamples, seed)


def ratio(
    own: ArrayLike,
    base: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    method: Method = "bca",
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """As `statistics.ratio`, its interval by resampling, as `summary`, on the logarithm. No interval where some draw
    leaves a seed's mean at 0."""
    first, second = Units.of(own, clusters), Units.of(base, clusters)
    found = ratio_over_units(first, second)
    if not found.value > 0:
        return found
    drawn = Resampling(first.sizes, resamples, seed)
    sums, _ = drawn.sums(np.concatenate([first.sums, second.sums]).T)
    above, below = np.split(sums, 2, axis=1)
    if sums.min() <= 0:
        return replace(found, low=math.nan, high=math.nan)
    logs, influences = first.log_ratio(second)
    draws = np.log(above / below).mean(axis=1)
    low, high = _interval(float(logs.mean()), draws, influences, logs, drawn, method)
    return replace(found, low=math.exp(low), high=math.exp(high))


def _of_mean(units: Units, method: Method, resamples: int, seed: int) -> Estimate:
    drawn = Resampling(units.sizes, resamples, seed)
    sums, images = drawn.sums(units.sums.mean(axis=0)[:, None])
    found = mean_over_units(replace(units, share=False))
    low, high = _interval(found.value, sums[:, 0] / images, units.influences, units.means, drawn, method)
    return replace(found, low=low, high=high)


class Resampling:
    """Draws of as many units as there are, with replacement, `resamples` times."""

    def __init__(self, sizes: NDArray[np.float64], resamples: int, seed: int):
        if resamples < 100:
            raise ValueError(f"{resamples} resamples are too few for an interval: take 1000 or more")
        self.sizes, self.resamples, self.seed = sizes, resamples, seed

    def sums(self, columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of columns [units, k] over what each resample drew: [resamples, k], and their images: [resamples].

        Units with the same row are exchangeable: where few rows differ, a resample is one multinomial draw of how often
        each comes, instead of one draw a unit.
        """
        rows = np.column_stack([columns, self.sizes])
        rows, times = _distinct(rows)
        n = int(times.sum())
        if len(rows) * 8 < n:
            shares = times / n
            weights = (self._stream(b).multinomial(n, shares) for b in range(self.resamples))
        else:
            rows = np.repeat(rows, times, axis=0)
            weights = (np.bincount(self._stream(b).integers(0, n, n), minlength=n) for b in range(self.resamples))
        # Not by BLAS, whose threads wait for each other where the processor is shared, and which adds up as it likes.
        found = np.array([np.einsum("u,uk->k", drawn.astype(np.float64), rows) for drawn in weights])
        return found[:, :-1], found[:, -1]

    def effects(self, deviations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Means of as many seeds' deviations less one, drawn with replacement, [resamples]: their variance is then that
        of a mean over seeds (Rao & Wu 1988, J. Am. Stat. Assoc. 83:231-241)."""
        seeds = len(deviations)
        rng = np.random.Generator(np.random.PCG64([self.seed, 0, seeds]))
        return deviations[rng.integers(0, seeds, (self.resamples, seeds - 1))].mean(axis=1)

    def _stream(self, resample: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, resample]))


def _distinct(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The rows that differ, and how often each comes, in an order that depends on their values alone."""
    if len(rows) < 1000:
        return rows, np.ones(len(rows), np.int64)
    codes = np.zeros(len(rows), np.int64)
    for column in rows.T:
        values, index = np.unique(column, return_inverse=True)
        if len(values) * 8 > len(rows):
            return rows, np.ones(len(rows), np.int64)
        # Numbered anew after each column, so that codes stay small.
        _, first, codes = np.unique(codes * len(values) + index, return_index=True, return_inverse=True)
    return rows[first], np.bincount(codes)


def _interval(
    estimate: float,
    draws: NDArray[np.float64],
    influences: NDArray[np.float64],
    estimates: NDArray[np.float64],
    drawn: Resampling,
    method: Method,
) -> tuple[float, float]:
    """By the draws over units, to which seeds are added; `influences`, `estimates`: as of `two_levels.spread`."""
    from scipy.special import ndtr, ndtri  # takes a while to import

    if method not in ("bca", "percentile"):
        raise ValueError(f"method {method!r}: choose bca or percentile")
    parts = spread(influences, estimates)
    third = float((influences.mean(axis=0) ** 3).sum())
    if parts.surplus > 0:
        shrunk = math.sqrt(parts.surplus * parts.seeds / float(np.var(estimates, ddof=1)))
        deviations = shrunk * (estimates - estimates.mean())
        draws = draws + drawn.effects(deviations)
        third += float((deviations**3).sum()) / parts.seeds**3
    half = half_width(parts.errors())
    if np.ptp(draws) == 0 or math.isnan(half):
        return math.nan, math.nan
    resampled = parts.images * (parts.units - 1) / parts.units + parts.surplus
    wide = half / math.sqrt(resampled)
    bias, acceleration = 0.0, 0.0
    if method == "bca":
        below = np.count_nonzero(draws < estimate) + 0.5 * np.count_nonzero(draws == estimate)
        bias = float(ndtri(min(max(below, 1), len(draws) - 1) / len(draws)))
        acceleration = third / (6 * resampled**1.5)
    reach = -float(ndtri(_OUTERMOST / len(draws)))

    def limit(z: float) -> float:
        moved = bias + z
        z = bias + moved / max(1 - acceleration * moved, 0.1)
        inside = min(max(z, -reach), reach)
        quantile = float(np.quantile(draws, ndtr(inside)))
        return quantile if inside == z else estimate + (quantile - estimate) * z / inside

    return limit(-wide), limit(wide)
