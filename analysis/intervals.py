"""95 % intervals for accuracies, their ratios and differences: over images, over objects, over seeds. Pure functions of
counts.

An interval says how far another sample of the same kind would move the value: other images, where each is taken as
independent of the rest; other objects, where several images show one object; other seeds, on the same images.
"""

import math
import statistics
from collections.abc import Sequence

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 % intervals."""
UNKNOWN = 1 / 12
"""Variance of a share that may be anything in 0..1 (uniform)."""


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit  # takes a while to import

    return float(stdtrit(freedom, 0.975))


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


def clustered(correct: Sequence[int], images: Sequence[int]) -> tuple[float, float]:
    """Score interval of a proportion, in 0..1, where images come in clusters (objects): item k of both is one object's.

    Wilson's interval at the effective number of images n* = p (1 - p) / V, with Student's t of G - 1 degrees of freedom
    for G objects: Kott & Carr (1997), J. Official Statistics 13:1-13; Korn & Graubard (1998), Survey Methodology
    24:193-201; compared by Dean & Pavlou (2015), J. Survey Stat. Methodol. 3:484-503, and Franco, Little, Louis & Slud
    (2019), ibid. 7:334-364. V = G / (G - 1) sum (x - p m)^2 / M^2 is the usual variance of a ratio under sampling of
    clusters (x of m images right, M in all; Cochran 1977, Sampling Techniques, ch. 9), and n* <= M.

    Near 0 and 1, where few objects differ, V is mostly too small, and 0 where all agree. So the dependence V / V_1
    (V_1: where each object is wholly right or wholly wrong) is estimated with one object more, of which nothing is
    known: its variance UNKNOWN is added to both. Where all objects agree, each then counts as one image. The interval
    never has width zero. NaN limits for a single object: nothing is known of others.

    Raises ValueError where the counts are no proportions.
    """
    if len(correct) != len(images) or any(not 0 <= x <= m or m == 0 for x, m in zip(correct, images, strict=True)):
        raise ValueError("each object needs 0 <= correct <= images, and at least one image")
    objects, total = len(images), sum(images)
    if objects < 2:
        return math.nan, math.nan
    p = sum(correct) / total
    squares = sum(m * m for m in images) / total**2  # 1 / squares: as so many objects of one size
    variance = objects / (objects - 1) * sum((x - p * m) ** 2 for x, m in zip(correct, images, strict=True)) / total**2
    unknown = UNKNOWN * squares / objects
    whole = objects / (objects - 1) * p * (1 - p) * squares
    dependence = min(1.0, (variance + unknown) / (whole + unknown))
    effective = min(1 / (squares * dependence), total)
    return wilson(p * effective, effective, student(objects - 1))


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


def clustered_ratio(
    correct: Sequence[int], base_correct: Sequence[int], images: Sequence[int]
) -> tuple[float, float, float]:
    """Ratio of two accuracies on the same images, which come in objects, with its interval: (ratio, low, high).

    The variance of the ratio's logarithm, linearised and summed by object, G / (G - 1) sum (x / X - z / Z)^2, with
    Student's t of G - 1 degrees of freedom (Woodruff 1971, J. Am. Stat. Assoc. 66:411-414; Cochran 1977, ch. 6). What
    both networks find easy cancels out. NaN as in `katz`, and NaN limits for a single object, or where all objects have
    the same ratio.
    """
    right, base, objects = sum(correct), sum(base_correct), len(images)
    if base == 0:
        return math.nan, math.nan, math.nan
    if right == 0 or objects < 2:
        return right / base, math.nan, math.nan
    squares = sum((x / right - z / base) ** 2 for x, z in zip(correct, base_correct, strict=True))
    return _log_interval(right / base, objects / (objects - 1) * squares, student(objects - 1))


def difference(count: int, n: int, base_count: int, base_n: int, z: float = Z95) -> tuple[float, float, float]:
    """Difference of two proportions, count / n - base_count / base_n, with its interval: (difference, low, high).

    The hybrid of the two score intervals (method 10 of Newcombe 1998, Statistics in Medicine 17:873-890). It takes the
    two counts as independent; of two networks on the same images, which tend to agree on what is easy, it is usually
    too wide: `paired_difference` is to be preferred where it is known who was right on which image.
    """
    own, base = count / n, base_count / base_n
    (low, high), (base_low, base_high) = wilson(count, n, z), wilson(base_count, base_n, z)
    d = own - base
    return d, d - math.hypot(own - low, base_high - base), d + math.hypot(high - own, base - base_low)


def paired_difference(differences: Sequence[float], z: float = Z95) -> tuple[float, float, float]:
    """Difference of two accuracies on the same independent images, with its interval: (difference, low, high).

    differences: of each image, in -1..1: 1 where only the first network is right, -1 where only the second is, 0 where
    they agree (over several seeds, the mean of these). Wald's interval with two images more, one for either network,
    of which the centre is taken too: Bonett & Price (2012), J. Educational and Behavioral Statistics 37:479-488. It
    never has width zero. Raises ValueError where there is no image.
    """
    if not differences:
        raise ValueError("a difference needs at least one image")
    n = len(differences) + 2
    mean = sum(differences) / n
    squares = (sum(d * d for d in differences) + 2) / n
    half = z * math.sqrt((squares - mean * mean) / n)
    return sum(differences) / len(differences), max(mean - half, -1.0), min(mean + half, 1.0)


def clustered_difference(
    correct: Sequence[float], base_correct: Sequence[float], images: Sequence[int]
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same images, which come in objects, with its interval: (difference, low,
    high). correct, base_correct: the right images of each object (over several seeds, the mean of these).

    The usual variance of a ratio under sampling of clusters, G / (G - 1) sum (x - z - d m)^2 / M^2 (Cochran 1977, ch.
    9), with Student's t of G - 1 degrees of freedom. What both networks find easy cancels out. NaN limits for a single
    object, or where all objects have the same difference.
    """
    objects, total = len(images), sum(images)
    d = (sum(correct) - sum(base_correct)) / total
    if objects < 2:
        return d, math.nan, math.nan
    squares = sum((x - z - d * m) ** 2 for x, z, m in zip(correct, base_correct, images, strict=True))
    variance = objects / (objects - 1) * squares / total**2
    if not variance > 1e-15:
        return d, math.nan, math.nan
    half = student(objects - 1) * math.sqrt(variance)
    return d, max(d - half, -1.0), min(d + half, 1.0)


def _log_interval(ratio: float, variance: float, quantile: float) -> tuple[float, float, float]:
    if not variance > 1e-15:  # NaN; or none, but for rounding
        return ratio, math.nan, math.nan
    spread = quantile * math.sqrt(variance)
    return ratio, ratio * math.exp(-spread), ratio * math.exp(spread)


def over_seeds(values: Sequence[float], resolution: float) -> tuple[float, float, float, float]:
    """Mean of a value over two or more seeds, its 95 % interval (Student's t), and the standard deviation of the
    values: (mean, low, high, sd).

    Values differ by multiples of `resolution` (of a share of n images: 1 / n), so that some may agree by chance: the
    interval takes their variance to be at least resolution^2 / 12, that of rounding (Sheppard's correction).
    """
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = student(len(values) - 1) * math.sqrt(max(sd * sd, resolution**2 / 12) / len(values))
    return mean, mean - half, mean + half, sd
