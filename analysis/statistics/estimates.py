"""Values of tables with their intervals: what other seeds and other test images would make of them.

Of records of each image: `summary`, `paired`, `ratio`. Of counts, where there are none: `accuracy`,
`accuracy_difference`, `accuracy_ratio`.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.comparisons import mcnemar, p_value
from analysis.statistics.intervals import dependence, difference, katz, over_seeds, student, two_images_more, wilson
from analysis.statistics.two_levels import Error, Spread, at_most, half_width, spread
from analysis.statistics.units import Counts, Over, Units


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval low..high; NaN where it is undefined.

    `over` says what the interval is about. From one seed: other test images ("images") or, where several show one
    object, other objects ("objects"), for the network of this seed. From several: other seeds and other images
    together ("seeds and images", "seeds and objects"). "seeds": other seeds on the same images, where nothing is known
    of how images differ.

    `value` is the mean over seeds and `sd` their sample standard deviation (NaN for one seed); of ratios, the geometric
    mean and the geometric standard deviation (a factor).
    """

    value: float
    low: float
    high: float
    sd: float
    seeds: int
    over: Over
    wide: bool = False
    """Whether what images contribute was taken to be the most that it can be, for want of records of each image: the
    interval is then mostly too wide."""
    errors: tuple[Error, ...] = field(default=(), compare=False, repr=False)
    """Of ratios over several seeds: of the mean logarithm (see `two_levels.half_width`)."""


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same images, in pairs by seed: own minus base."""

    difference: Estimate
    p: float
    """Two-sided, of no difference; NaN where there is no test."""
    test: str
    """Its name: "McNemar, mid-p" (one seed, independent images), else Student's t of the interval."""
    n: int
    """Images."""
    seeds: int
    centre: float
    """The interval is centre -+ half_width(errors) (`two_levels`), within what can be."""
    errors: tuple[Error, ...]
    """Empty where the interval is not of this form, or there is none; for `comparisons.corrected_intervals`."""


# --- records of each image ------------------------------------------------------------------------------------------


def summary(values: ArrayLike, clusters: ArrayLike | None = None) -> Estimate:
    """Mean of values [seeds, images] (or [images]: one seed) over both.

    clusters [images]: which object (scene, clip) each image shows, by any label; None: images are independent. All
    seeds have the same images in the same order. The variance V is that of `two_levels.Spread`, between clusters that
    of a ratio (Cochran 1977, Sampling Techniques, ch. 9); the interval is mean -+ t sqrt(V). No interval for a single
    image or object.

    Of shares (all values are 0 or 1, or booleans) it is Wilson's at the effective number of images n* = p (1 - p) / V,
    with Student's t: Kott & Carr (1997), J. Official Statistics 13:1-13; Korn & Graubard (1998), Survey Methodology
    24:193-201; compared by Dean & Pavlou (2015), J. Survey Stat. Methodol. 3:484-503, and Franco, Little, Louis & Slud
    (2019), ibid. 7:334-364. What images amount to in V is taken with one object more (`intervals.dependence`), so that
    the interval never has width 0, and as no less than if they were independent. Of one seed of independent images it
    is Wilson's own.

    Raises ValueError where shapes do not fit, or values are NaN or infinite.
    """
    return mean_over_units(Units.of(values, clusters))


def paired(own: ArrayLike, base: ArrayLike, clusters: ArrayLike | None = None) -> Comparison:
    """The difference of the means of own and base, both [seeds, images] (or [images]), of the same seeds and images.

    As `summary`, of the differences of each seed on each image; what both find easy cancels out. Of shares on
    independent images the interval has two images more (`intervals.two_images_more`), of shares on objects one object
    more (`intervals.dependence`). The test belongs to the interval (`comparisons.p_value`), but for one seed of shares
    on independent images, where it is McNemar's mid-p. No interval where the two never differ, but for shares on
    independent images. Raises ValueError as `summary` does, and where seeds or images are not the same.
    """
    return difference_over_units(Units.of(own, clusters), Units.of(base, clusters))


def ratio(own: ArrayLike, base: ArrayLike, clusters: ArrayLike | None = None) -> Estimate:
    """The ratio of the means of own and base, both [seeds, images] (or [images]), of the same seeds and images.

    As `summary`, of the logarithm of each seed's ratio, linearised: an object moves it by x / X - z / Z, where X is the
    sum of x over all objects (Woodruff 1971, J. Am. Stat. Assoc. 66:411-414; Cochran 1977, Sampling Techniques, ch. 6);
    of shares on objects with one object more, as `paired`. NaN where a seed's base is 0; no interval where a seed's
    ratio is 0. Raises ValueError for negative means, and as `paired` does.
    """
    return ratio_over_units(Units.of(own, clusters), Units.of(base, clusters))


def mean_over_units(units: Units) -> Estimate:
    """`summary`, of sums."""
    return _share(units) if units.share else _mean(units)


def _sd(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _mean(units: Units) -> Estimate:
    means = units.means
    mean, half = float(means.mean()), half_width(spread(units.influences, means).errors())
    return Estimate(mean, mean - half, mean + half, _sd(means), len(means), units.over)


def _share(units: Units) -> Estimate:
    means, seeds = units.means, len(units.sums)
    total = float(units.sums.sum())
    p = total / (seeds * units.n)
    if seeds == 1 and not units.objects:
        return Estimate(p, *wilson(total, units.n), math.nan, 1, "images")
    parts = spread(units.influences, units.means)
    if parts.units < 2:
        return Estimate(p, math.nan, math.nan, _sd(means), seeds, units.over)
    images = units.squares * dependence(parts.images, units.whole(p * (1 - p)), parts.units, units.squares)
    # No less than if images were independent; means over seeds vary less over them, the less alike seeds are.
    images = max(images, parts.alike / units.n)
    return Estimate(p, *_score(p, images, parts), _sd(means), seeds, units.over)


def _score(p: float, images: float, parts: Spread) -> tuple[float, float]:
    """Wilson's interval at the effective number of images; 1 / `images` of them are what images, or objects, say."""
    largest = p * (1 - p)
    if largest == 0:  # and so for each seed
        return wilson(p / images, 1 / images, student(parts.units - 1))
    limits = []
    for error in parts.errors(images * largest):
        effective = largest / error.variance
        limits.append(wilson(p * effective, effective, student(error.freedom)))
    return min(low for low, _ in limits), max(high for _, high in limits)


def difference_over_units(own: Units, base: Units) -> Comparison:
    """`paired`, of sums."""
    both = own - base
    means, seeds, n = both.means, len(both.sums), both.n
    parts = spread(both.influences, means)
    mean = centre = float(means.mean())
    test = f"t over {both.over}"
    if both.share and not both.objects:
        centre, images = two_images_more(both.sums.mean(axis=0), parts.alike)
        errors = parts.errors(images) if seeds > 1 else (Error(images, math.inf),)
        test = test if seeds > 1 else "McNemar, mid-p"
    elif both.share:
        # As if all the images of an object on which the two differ, they differed alike.
        differing = float(np.abs(both.sums).sum()) / (seeds * n)
        errors = parts.errors(_with_one_more(parts, both, differing - mean**2))
    else:
        errors = parts.errors()
    rounding = 1e-24 * (float(np.abs(both.sums).max()) / n) ** 2
    errors = tuple(error for error in errors if error.variance > rounding)
    low, high = _within(centre, half_width(errors), 1.0 if both.share else math.inf)
    if test == "McNemar, mid-p":
        p = mcnemar(int((both.sums > 0).sum()), int((both.sums < 0).sum()))
    else:
        p = p_value(centre, errors) if both.sums.any() else 1.0
    return Comparison(Estimate(mean, low, high, _sd(means), seeds, both.over), p, test, n, seeds, centre, errors)


def _with_one_more(parts: Spread, units: Units, variance: float, scale: float = 1.0) -> float:
    """What objects amount to, with one more of which nothing is known; `variance`: of the values of the images."""
    if parts.units < 2:
        return math.nan
    whole = units.whole(max(variance, 0.0))
    return max(parts.images, whole * dependence(parts.images, whole, parts.units, units.squares, scale))


def _within(centre: float, half: float, bound: float) -> tuple[float, float]:
    return max(centre - half, -bound) if half >= 0 else math.nan, min(centre + half, bound) if half >= 0 else math.nan


def ratio_over_units(own: Units, base: Units) -> Estimate:
    """`ratio`, of sums. Raises ValueError for negative means."""
    above, below = own.sums.sum(axis=1), base.sums.sum(axis=1)
    if above.min() < 0 or below.min() < 0:
        raise ValueError("a ratio needs means that are not negative")
    if below.min() == 0 or above.min() == 0:
        value = math.nan if below.min() == 0 else 0.0
        return Estimate(value, math.nan, math.nan, math.nan, len(above), own.over)
    logs, influences = own.log_ratio(base)
    parts, images = spread(influences, logs), None
    if own.share and base.share and own.objects:
        # As if of the images of an object as many as can were right for both.
        both = np.minimum(own.sums, base.sums).sum(axis=1)
        squares = both * (1 / above - 1 / below) ** 2 + (above - both) / above**2 + (below - both) / below**2
        scale = own.n**2 * float((1 / above**2 + 1 / below**2).mean()) / 2
        images = _with_one_more(parts, own, own.n * float(squares.mean()), scale)
    return _of_logs(logs, parts.errors(images), own.over)


def _of_logs(logs: NDArray[np.float64], errors: Sequence[Error], over: Over, wide: bool = False) -> Estimate:
    """The geometric mean; its interval by the errors of the mean logarithm."""
    errors = tuple(error for error in errors if error.variance > 1e-15)
    mean, half = float(logs.mean()), half_width(errors)
    value, low, high = (math.exp(x) for x in (mean, mean - half, mean + half))
    sd = math.exp(_sd(logs)) if len(logs) > 1 else math.nan
    return Estimate(value, low, high, sd, len(logs), over, wide, errors)


# --- counts alone ---------------------------------------------------------------------------------------------------


def accuracy(
    counts: Sequence[int],
    ns: Sequence[int],
    by_object: Sequence[Counts] = (),
    images_by_object: Counts = None,
    dependent: bool = False,
) -> Estimate:
    """Accuracy in 0..1 from the counts of one or more seeds, item k of `counts` (right images), `ns` (all images) and
    `by_object` being one's.

    Where the right images of each object are known for every seed, and the images of each object: as `summary`, over
    objects. Else, over images: of one seed Wilson's interval; of several with V = MS / S + p (1 - p) / n (`wide`),
    which is right if all seeds have the same images right, and else too wide.

    dependent: images are known to show objects several times; without counts by object, nothing is known then of how
    far others would move the value: no interval of one seed, and of several that over seeds, on the same images.

    Raises ValueError where counts by object are no counts of `images_by_object`; so do the ratio and the difference.
    """
    seeds = len(counts)
    if _all_known(by_object, seeds) and images_by_object is not None:
        return mean_over_units(Units.counted(by_object, images_by_object))
    means = np.array([c / n for c, n in zip(counts, ns, strict=True)])
    if dependent:
        return _over_seeds(means, 1 / min(ns), (0.0, 1.0), "objects")
    if seeds == 1:
        return Estimate(float(means[0]), *wilson(counts[0], ns[0]), math.nan, 1, "images")
    p, n = sum(counts) / sum(ns), min(ns)
    parts = at_most(float(np.var(means, ddof=1)), seeds, p * (1 - p) / n, n)
    return Estimate(float(means.mean()), *_score(p, 1 / n, parts), _sd(means), seeds, "seeds and images", True)


def accuracy_ratio(
    counts: Sequence[int],
    ns: Sequence[int],
    base_counts: Sequence[int],
    base_ns: Sequence[int],
    by_object: tuple[Sequence[Counts], Sequence[Counts]] = ((), ()),
    images_by_object: Counts = None,
    dependent: bool = False,
) -> Estimate:
    """Ratio of two accuracies, seed by seed: item k of the first four, and of both of `by_object`, belongs to one seed.

    Where the right images of each object are known: as `ratio`, over objects. Else over images, by Katz' variance of
    each seed's ratio, which takes the networks as independent; of several seeds with V = MS / S + the mean of these
    (`wide`). The geometric mean of several seeds is undefined as soon as one seed's ratio is: to leave out the seeds
    whose denominator is 0 would bias it. A ratio of 0 has no logarithm: no interval then. dependent: as in `accuracy`.
    """
    seeds = len(counts)
    if all(_all_known(side, seeds) for side in by_object) and images_by_object is not None:
        return ratio_over_units(*(Units.counted(side, images_by_object) for side in by_object))
    pairs = list(zip(counts, ns, base_counts, base_ns, strict=True))
    if seeds == 1 and not dependent:
        return Estimate(*katz(*pairs[0]), math.nan, 1, "images", True)
    if not pairs or min(base_counts) == 0 or min(counts) == 0:
        value = 0.0 if pairs and min(base_counts) > 0 else math.nan
        return Estimate(value, math.nan, math.nan, math.nan, seeds, "seeds and images", True)
    logs = np.array([math.log((count / n) / (base / base_n)) for count, n, base, base_n in pairs])
    if dependent:
        # One image more or less moves the logarithm of a count c by 1 / c.
        resolution = math.sqrt(statistics.fmean(1 / c**2 + 1 / b**2 for c, _, b, _ in pairs))
        found = _over_seeds(logs, resolution, (-math.inf, math.inf), "objects")
        value, low, high, sd = (math.exp(x) for x in (found.value, found.low, found.high, found.sd))
        return Estimate(value, low, high, sd, seeds, found.over)
    images = statistics.fmean(1 / c - 1 / n + 1 / b - 1 / m for c, n, b, m in pairs)
    parts = at_most(float(np.var(logs, ddof=1)), seeds, images, min(*ns, *base_ns))
    return _of_logs(logs, parts.errors(), "seeds and images", wide=True)


def accuracy_difference(
    counts: Sequence[int],
    ns: Sequence[int],
    base_counts: Sequence[int],
    base_ns: Sequence[int],
    by_object: tuple[Sequence[Counts], Sequence[Counts]] = ((), ()),
    images_by_object: Counts = None,
    dependent: bool = False,
) -> Comparison:
    """Difference of two accuracies, in -1..1, with its test: item k of each belongs to one seed.

    Where the right images of each object are known: as `paired`, over objects. Else over images as if they were others
    for either network (`wide`): of one seed Newcombe's interval (`intervals.difference`), without a test; of several
    with V = MS / S + p (1 - p) / n + q (1 - q) / n. dependent: as in `accuracy`.
    """
    seeds, n = len(counts), min(*ns, *base_ns)
    if all(_all_known(side, seeds) for side in by_object) and images_by_object is not None:
        return difference_over_units(*(Units.counted(side, images_by_object) for side in by_object))
    means = np.array([c / n - b / m for c, n, b, m in zip(counts, ns, base_counts, base_ns, strict=True)])
    mean = float(means.mean())
    if dependent or seeds == 1:
        if dependent:
            found = _over_seeds(means, math.sqrt(2) / n, (-1.0, 1.0), "objects")
        else:
            limits = difference(counts[0], ns[0], base_counts[0], base_ns[0])
            found = Estimate(*limits, math.nan, 1, "images", True)
        return Comparison(found, math.nan, "none", n, seeds, mean, ())
    shares = (sum(counts) / sum(ns), sum(base_counts) / sum(base_ns))
    images = sum(p * (1 - p) for p in shares) / n
    errors = at_most(float(np.var(means, ddof=1)), seeds, images, n).errors()
    found = Estimate(mean, *_within(mean, half_width(errors), 1.0), _sd(means), seeds, "seeds and images", True)
    return Comparison(found, p_value(mean, errors), "t over seeds and images", n, seeds, mean, errors)


def accuracy_contrast(counts: Sequence[Sequence[int]], n: int, dependent: bool = False) -> Comparison:
    """(a - b) - (c - d) of the accuracies a, b, c, d whose counts are given, of the same n images, seed by seed.

    Nothing being known of single images, they are taken to be others for each of the four (`wide`): over several seeds
    V = MS / S + the sum of the four p (1 - p) / n. That is the most they can amount to where what has a network or a
    blur in common is right on the same images more often than what has neither. No interval of one seed, nor of
    `dependent` images, as in `accuracy`.
    """
    a, b, c, d = (np.array(of, np.float64) / n for of in counts)
    means = a - b - (c - d)
    seeds, mean = len(means), float(means.mean())
    if dependent or seeds == 1:
        found = _over_seeds(means, 2 / n, (-2.0, 2.0), "objects" if dependent else "images")
        return Comparison(found, math.nan, "none", n, seeds, mean, ())
    images = sum(float(of.mean() * (1 - of.mean())) for of in (a, b, c, d)) / n
    errors = at_most(float(np.var(means, ddof=1)), seeds, images, n).errors()
    found = Estimate(mean, *_within(mean, half_width(errors), 2.0), _sd(means), seeds, "seeds and images", True)
    return Comparison(found, p_value(mean, errors), "t over seeds and images", n, seeds, mean, errors)


def mean_over_seeds(values: Sequence[float], size: float = 0.0) -> Estimate:
    """Mean of values of which each seed's mean alone is known: over seeds, on the same images; no interval of one, nor
    where all agree (`size`: see `intervals.over_seeds`)."""
    return _over_seeds(np.array(values, np.float64), 0.0, (-math.inf, math.inf), "images", size)


def _over_seeds(
    values: NDArray[np.float64], resolution: float, bounds: tuple[float, float], over: Over, size: float = 0.0
) -> Estimate:
    if len(values) == 1:
        return Estimate(float(values[0]), math.nan, math.nan, math.nan, 1, over)
    mean, low, high, sd = over_seeds(values.tolist(), resolution, size)
    return Estimate(mean, max(low, bounds[0]), min(high, bounds[1]), sd, len(values), "seeds")


def _all_known(by_object: Sequence[Any], seeds: int) -> bool:
    return len(by_object) == seeds > 0 and all(hasattr(item, "__len__") for item in by_object)
