"""A value of a table with its interval, from one seed or from several."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.intervals import (
    clustered,
    clustered_difference,
    clustered_ratio,
    difference,
    katz,
    over_seeds,
    paired_difference,
    wilson,
)

Over = Literal["images", "objects", "seeds"]
Objects = Sequence[int] | None
"""How many images of each object, or how many of them are right; None: the images show no object twice."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval low..high; NaN where it is undefined.

    `over` says what the interval is about: from one seed, other test images ("images") or, where several show one
    object, other objects ("objects"); from several seeds, other seeds on the same images ("seeds"). `value` is then
    the mean over seeds and `sd` their sample standard deviation; of ratios, the geometric mean and the geometric
    standard deviation (a factor).
    """

    value: float
    low: float
    high: float
    sd: float
    seeds: int
    over: Over


def accuracy(
    counts: Sequence[int],
    ns: Sequence[int],
    by_object: Sequence[Objects] = (None,),
    images_by_object: Objects = None,
) -> Estimate:
    """Accuracy in 0..1 from the counts of one or more seeds.

    From one, Wilson's interval, or, given the right images of each object (`by_object[0]`) and all its images, the
    clustered one. From several, Student's interval over seeds.
    """
    if len(counts) > 1:
        mean, low, high, sd = over_seeds([c / n for c, n in zip(counts, ns, strict=True)], 1 / min(ns))
        return Estimate(mean, max(low, 0.0), min(high, 1.0), sd, len(counts), "seeds")
    if by_object[0] is None or images_by_object is None:
        return Estimate(counts[0] / ns[0], *wilson(counts[0], ns[0]), math.nan, 1, "images")
    return Estimate(counts[0] / ns[0], *clustered(by_object[0], images_by_object), math.nan, 1, "objects")


def accuracy_ratio(
    counts: Sequence[int],
    ns: Sequence[int],
    base_counts: Sequence[int],
    base_ns: Sequence[int],
    by_object: tuple[Objects, Objects] = (None, None),
    images_by_object: Objects = None,
) -> Estimate:
    """Ratio of two accuracies, seed by seed: item k of the first four belongs to one seed.

    From one seed, Katz's interval, or, given the right images of each object under both (`by_object`), the clustered
    one. From several, the geometric mean with Student's interval of the logarithm. Undefined as soon as one seed's is:
    to leave out the seeds whose denominator is 0 would bias the mean. A ratio of 0 has no logarithm: no interval then.
    """
    pairs = list(zip(counts, ns, base_counts, base_ns, strict=True))
    if len(pairs) == 1:
        own, base = by_object
        if own is None or base is None or images_by_object is None:
            return Estimate(*katz(*pairs[0]), math.nan, 1, "images")
        return Estimate(*clustered_ratio(own, base, images_by_object), math.nan, 1, "objects")
    if not pairs or any(base == 0 for _, _, base, _ in pairs):
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(pairs), "seeds")
    if any(count == 0 for count, *_ in pairs):
        return Estimate(0.0, math.nan, math.nan, math.nan, len(pairs), "seeds")
    logs = [math.log((count / n) / (base / base_n)) for count, n, base, base_n in pairs]
    # One image more or less moves the logarithm of a count c by 1 / c.
    resolution = math.sqrt(statistics.fmean(1 / c**2 + 1 / b**2 for c, _, b, _ in pairs))
    mean, low, high, sd = (math.exp(x) for x in over_seeds(logs, resolution))
    return Estimate(mean, low, high, sd, len(logs), "seeds")


def accuracy_difference(
    counts: Sequence[int],
    ns: Sequence[int],
    base_counts: Sequence[int],
    base_ns: Sequence[int],
    by_image: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]] | None = None,
    by_object: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]] | None = None,
    images_by_object: Objects = None,
) -> Estimate:
    """Difference of two accuracies, in -1..1: item k of each belongs to one seed.

    by_image: of both, per seed, 1 for each image that is right and 0 else, in the same order; by_object: the right
    images of each object. Where they are given, the interval is over objects, or else over images, by pairs: the mean
    over seeds of each. Without, that of several seeds is Student's over seeds, and that of one seed over images as if
    they were others for either network.
    """
    seeds = len(counts)
    each = [c / n - b / m for c, n, b, m in zip(counts, ns, base_counts, base_ns, strict=True)]
    sd = statistics.stdev(each) if seeds > 1 else math.nan
    if by_object is not None and images_by_object is not None:
        own, base = (_mean_over_seeds(side) for side in by_object)
        return Estimate(*clustered_difference(own, base, images_by_object), sd, seeds, "objects")
    if by_image is not None:
        own, base = (_mean_over_seeds(side) for side in by_image)
        pairs = [x - z for x, z in zip(own, base, strict=True)]
        return Estimate(*paired_difference(pairs), sd, seeds, "images")
    if seeds > 1:
        mean, low, high, sd = over_seeds(each, math.sqrt(2) / min(*ns, *base_ns))
        return Estimate(mean, max(low, -1.0), min(high, 1.0), sd, seeds, "seeds")
    return Estimate(*difference(counts[0], ns[0], base_counts[0], base_ns[0]), math.nan, 1, "images")


def _mean_over_seeds(values: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.fmean(of_item) for of_item in zip(*values, strict=True)]
