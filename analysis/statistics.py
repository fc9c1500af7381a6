"""Intervals for accuracies and for their ratio. Pure functions of counts of images."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 % intervals."""


@dataclass(frozen=True)
class Estimate:
    """A value with an interval; NaN where it is undefined.

    From one seed: low..high is the 95 % interval over test images, and sd is NaN.
    From several: value is the mean over seeds, low..high their range, sd their sample standard deviation.
    """

    value: float
    low: float
    high: float
    sd: float
    seeds: int


def wilson(count: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of a proportion `count / n`, in 0..1, for independent images.

    Wilson (1927), J. Am. Stat. Assoc. 22:209-212; recommended for small n and for proportions near 0 or 1 by
    Brown, Cai & DasGupta (2001), Statistical Science 16:101-133. Raises ValueError unless 0 <= count <= n and n > 0.
    """
    if not 0 <= count <= n or n == 0:
        raise ValueError(f"{count} of {n} is no proportion")
    p = count / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n the limit is exact; rounding would leave it a hair outside.
    return (0.0 if count == 0 else (centre - half) / scale, 1.0 if count == n else (centre + half) / scale)


def katz(count: int, n: int, base_count: int, base_n: int, z: float = Z95) -> tuple[float, float, float]:
    """Ratio of two proportions, (count / n) / (base_count / base_n), with its interval: (ratio, low, high).

    Delta method on the logarithm of the ratio: Katz, Baptista, Azen & Pike (1978), Biometrics 34:469-474. It takes
    the two counts as independent binomials. Two networks tested on the same images tend to agree on which are easy,
    so the interval is approximate and usually too wide. NaN throughout if base_count is 0; NaN limits if count is 0.
    """
    if base_count == 0:
        return math.nan, math.nan, math.nan
    ratio = (count / n) / (base_count / base_n)
    if count == 0:
        return ratio, math.nan, math.nan
    spread = z * math.sqrt(max(0.0, 1 / count - 1 / n + 1 / base_count - 1 / base_n))
    return ratio, ratio * math.exp(-spread), ratio * math.exp(spread)


def accuracy(counts: Sequence[int], ns: Sequence[int]) -> Estimate:
    """Accuracy in 0..1 from the counts of one or more seeds; Wilson's interval if it is one."""
    if len(counts) == 1:
        return Estimate(counts[0] / ns[0], *wilson(counts[0], ns[0]), sd=math.nan, seeds=1)
    return _over_seeds([count / n for count, n in zip(counts, ns, strict=True)])


def accuracy_ratio(
    counts: Sequence[int], ns: Sequence[int], base_counts: Sequence[int], base_ns: Sequence[int]
) -> Estimate:
    """Ratio of two accuracies, seed by seed: item k of all four belongs to one seed; Katz's interval if it is one.

    Undefined as soon as one seed's is: to leave out the seeds whose denominator is 0 would bias the mean.
    """
    each = [katz(*of_seed) for of_seed in zip(counts, ns, base_counts, base_ns, strict=True)]
    if len(each) == 1:
        return Estimate(*each[0], sd=math.nan, seeds=1)
    return _over_seeds([ratio for ratio, _, _ in each])


def _over_seeds(values: Sequence[float]) -> Estimate:
    if not values or any(math.isnan(v) for v in values):
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(values))
    return Estimate(statistics.fmean(values), min(values), max(values), statistics.stdev(values), len(values))
