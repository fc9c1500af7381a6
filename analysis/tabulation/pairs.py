"""The statistics of a cell, and of two cells in pairs by seed and, where it is known, by image or object."""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.statistics import estimates as of_runs
from analysis.statistics.comparisons import p_value
from analysis.statistics.estimates import Estimate
from analysis.statistics.intervals import over_seeds
from analysis.statistics.two_levels import Error
from analysis.tabulation.cells import Comparison, Rows

Images = Callable[[Rows], NDArray[np.float64] | None]
"""What is known of each image: values [seeds, images], or None where not every seed has records."""


def estimate(rows: Rows, images: Images) -> Estimate:
    """Of rows that differ in their seed alone."""
    dependent = rows.object_n is not None
    if not dependent and _useful(rows) and (values := images(rows)) is not None:
        return of_runs.summary(values)
    if rows.counts is None:
        return of_runs.mean_over_seeds(rows.values)
    ns = [rows.n] * len(rows.counts)
    by_object = rows.by_object if _by_object(rows) else ()
    return of_runs.accuracy(rows.counts, ns, by_object, rows.object_n, dependent)


def _useful(rows: Rows) -> bool:
    """Whether records say more than counts."""
    return len(rows.seeds) > 1 or rows.counts is None


def compare(own: Rows, base: Rows, images: Images, show: str) -> tuple[Comparison, Estimate | None]:
    """The difference of two cells, over the seeds that both have; and with show `ratio` their ratio."""
    seeds = [seed for seed in own.seeds if seed in base.seeds]
    if not seeds:
        return Comparison(why_not="no seed in common with the baseline", runs=base.runs), None
    if own.n != base.n or _plain(own.object_n) != _plain(base.object_n):
        return Comparison(why_not="measured on other test images than the baseline", runs=base.runs), None
    own, base = own.of_seeds(seeds), base.of_seeds(seeds)
    found = _compared(own, base, images)
    test = "" if math.isnan(found.p) else found.test
    made = Comparison(found.difference, found.p, found.p, test, base.runs, "", found.centre, found.errors)
    return made, _ratio(own, base, images) if show == "ratio" else None


def _plain(counts: Sequence[int] | None) -> list[int] | None:
    return None if counts is None else [int(count) for count in counts]


def _by_object(*several: Rows) -> bool:
    return all(rows.object_n is not None and all(one is not None for one in rows.by_object) for rows in several)


def _of_images(own: Rows, base: Rows, images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Values of each image; None where images are not independent, for records do not say which object they show."""
    if own.object_n is not None:
        return None
    values = [images(own), images(base)]
    return (values[0], values[1]) if values[0] is not None and values[1] is not None else None


def _compared(own: Rows, base: Rows, images: Images) -> of_runs.Comparison:
    if own.counts is not None and base.counts is not None and _by_object(own, base):
        return _of_counts(own, base, by_object=True)
    if (both := _of_images(own, base, images)) is not None:
        return of_runs.paired(*both)
    if own.counts is not None and base.counts is not None:
        return _of_counts(own, base, by_object=False)
    return _of_means(own, base)


def _of_counts(own: Rows, base: Rows, by_object: bool) -> of_runs.Comparison:
    assert own.counts is not None and base.counts is not None
    ns = [own.n] * len(own.counts)
    objects = (own.by_object, base.by_object) if by_object else ((), ())
    dependent = own.object_n is not None
    return of_runs.accuracy_difference(own.counts, ns, base.counts, ns, objects, own.object_n, dependent)


def _of_means(own: Rows, base: Rows) -> of_runs.Comparison:
    """Seed by seed, on the same images."""
    each = [x - z for x, z in zip(own.values, base.values, strict=True)]
    found = of_runs.mean_over_seeds(each)
    errors = (Error(statistics.variance(each) / len(each), len(each) - 1),) if len(each) > 1 else ()
    p = p_value(found.value, errors)
    return of_runs.Comparison(found, p, "t over seeds", own.n, len(each), found.value, errors)


def _ratio(own: Rows, base: Rows, images: Images) -> Estimate:
    if own.counts is not None and base.counts is not None:
        ns = [own.n] * len(own.counts)
        if not _by_object(own, base) and (both := _of_images(own, base, images)) is not None:
            return of_runs.ratio(*both)
        objects = (own.by_object, base.by_object) if _by_object(own, base) else ((), ())
        dependent = own.object_n is not None
        return of_runs.accuracy_ratio(own.counts, ns, base.counts, ns, objects, own.object_n, dependent)
    if any(not x > 0 for x in (*own.values, *base.values)):
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(own.values), "seeds")
    logs = [math.log(x / z) for x, z in zip(own.values, base.values, strict=True)]
    if len(logs) == 1:
        return Estimate(math.exp(logs[0]), math.nan, math.nan, math.nan, 1, "images")
    value, low, high, sd = (math.exp(x) for x in over_seeds(logs, 0.0))
    return Estimate(value, low, high, sd, len(logs), "seeds")
