"""The forms of 95 % intervals: of proportions, their ratios and differences, of means over seeds. Pure functions."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 % intervals."""
UNKNOWN = 1 / 12
"""Variance of a share that may be anything in 0..1 (uniform)."""


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t distribution; that of the normal for infinite degrees of freedom."""
    from scipy.special import stdtrit  # takes a while to import

    return Z95 if math.isinf(freedom) else float(stdtrit(freedom, 0.975))


def wilson(count: float, n: float, z: float = Z95) -> tuple[float, float]:
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


def dependence(variance: float, whole: float, objects: int, squares: float, scale: float = 1.0) -> float:
    """How alike the images of one object are, in 0..1: `variance` over objects (of an accuracy, say), as a share of
    what it would be (`whole`) if each object were wholly right or wholly wrong; at most 1.

    squares: the sum of the squared shares of all images that each object has, so that 1 / squares is the number of
    objects as if all had as many images. Near 0 and 1, where few objects differ, `variance` is mostly too small, and 0
    where all agree. So the share is taken with one object more, of which nothing is known: its variance UNKNOWN (times
    `scale`) is added to both.
    """
    unknown = UNKNOWN * scale * squares / objects
    return min(1.0, (variance + unknown) / (whole + unknown))


def katz(count: int, n: int, base_count: int, base_n: int, z: float = Z95) -> tuple[float, float, float]:
    """Ratio of two proportions, (count / n) / (base_count / base_n), with its interval: (ratio, low, high).

    Delta method on the logarithm of the ratio: Katz, Baptista, Azen & Pike (1978), Biometrics 34:469-474. It takes
    the two counts as independent binomials. Two networks tested on the same images tend to agree on which are easy,
    so the interval is approximate and usually too wide. NaN throughout if base_count is 0; NaN limits if count is 0, or
    if both are right everywhere: the method then knows of no error.
    """
    if base_count == 0:
        return math.nan, math.nan, math.nan
    variance = 1 / count - 1 / n + 1 / base_count - 1 / base_n if count else math.nan
    return _log_interval((count / n) / (base_count / base_n), variance, z)


def difference(count: int, n: int, base_count: int, base_n: int, z: float = Z95) -> tuple[float, float, float]:
    """Difference of two proportions, count / n - base_count / base_n, with its interval: (difference, low, high).

    The hybrid of the two score intervals (method 10 of Newcombe 1998, Statistics in Medicine 17:873-890). It takes the
    two counts as independent; of two networks on the same images, which tend to agree on what is easy, it is usually
    too wide: pairs are to be preferred where it is known who was right on which image.
    """
    own, base = count / n, base_count / base_n
    (low, high), (base_low, base_high) = wilson(count, n, z), wilson(base_count, base_n, z)
    d = own - base
    return d, d - math.hypot(own - low, base_high - base), d + math.hypot(high - own, base - base_low)


def two_images_more(differences: NDArray[np.float64], alike: float = 1.0) -> tuple[float, float]:
    """Centre and variance of Wald's interval of a difference of two accuracies on the same independent images.

    differences [images]: 1 where only the first network is right, -1 where only the second is, 0 where they agree; over
    several seeds, the mean of these. Two images are added, one for either network, of which the centre is taken too:
    Bonett & Price (2012), J. Educational and Behavioral Statistics 37:479-488. The variance is never 0.

    alike: over several seeds, the variance of `differences` as a share of one seed's; the images that are added have a
    difference whose square is as large a share of 1.
    """
    n = len(differences) + 2
    centre = float(differences.sum()) / n
    return centre, (float(differences @ differences) + 2 * alike) / n**2 - centre**2 / n


def _log_interval(ratio: float, variance: float, quantile: float) -> tuple[float, float, float]:
    """A ratio with the interval that is symmetrical about its logarithm, of which `variance` is: (ratio, low, high)."""
    if not variance > 1e-15:  # NaN; or none, but for rounding
        return ratio, math.nan, math.nan
    spread = quantile * math.sqrt(variance)
    return ratio, ratio * math.exp(-spread), ratio * math.exp(spread)


def is_rounding(variance: float, size: float) -> bool:
    """Whether a variance is none, or no more than that of rounding in numbers of this size."""
    return not variance > (1e-12 * size) ** 2


def over_seeds(values: Sequence[float], resolution: float, size: float = 0.0) -> tuple[float, float, float, float]:
    """Mean of a value over two or more seeds, its 95 % interval (Student's t), and the standard deviation of the
    values: (mean, low, high, sd).

    Values differ by multiples of `resolution` (of a share of n images: 1 / n), so that some may agree by chance: the
    interval takes their variance to be at least resolution^2 / 12, that of rounding (Sheppard's correction). Without
    a resolution, NaN limits where all agree, but for rounding in numbers of this `size` (of differences, that of what
    they are differences of; at least that of the values).
    """
    mean = statistics.fmean(values)
    # As statistics.stdev, which takes longer by far; of values that are all the same 0, not rounding.
    squares = 0.0 if min(values) == max(values) else math.fsum((x - mean) ** 2 for x in values)
    sd = math.sqrt(squares / (len(values) - 1))
    variance = max(sd * sd, resolution**2 / 12)
    if is_rounding(variance, max(size, *map(abs, values))):
        return mean, math.nan, math.nan, sd
    half = student(len(values) - 1) * math.sqrt(variance / len(values))
    return mean, mean - half, mean + half, sd
