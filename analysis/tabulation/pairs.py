"""The statistics of a cell, and of two cells in pairs by seed and, where it is known, by image or object."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from analysis.statistics import estimates as of_runs
from analysis.statistics.comparisons import p_value
from analysis.statistics.estimates import Estimate
from analysis.statistics.intervals import over_seeds
from analysis.statistics.two_levels import Error
from analysis.statistics.units import Units
from analysis.tabulation.cells import Comparison, Rows
from analysis.tabulation.selection import ImageValues

Images = Callable[[Rows], ImageValues | None]
"""What is known of each image; None where not every seed has records."""


def estimate(rows: Rows, images: Images) -> Estimate:
    """Of rows that differ in their seed alone."""
    dependent = rows.object_n is not None
    if (dependent or _useful(rows)) and (known := _units([rows], images)):
        return of_runs.mean_over_units(known[0])
    if rows.counts is None:
        return of_runs.mean_over_seeds(rows.values)
    return of_runs.accuracy(rows.counts, [rows.n] * len(rows.counts), dependent=dependent)


def _useful(rows: Rows) -> bool:
    """Whether records of independent images say more than counts."""
    return len(rows.seeds) > 1 or rows.counts is None


def compare(own: Rows, base: Rows, images: Images, show: str) -> tuple[Comparison, Estimate | None]:
    """The difference of two cells, over the seeds that both have; and with show `ratio` their ratio."""
    seeds = [seed for seed in own.seeds if seed in base.seeds]
    if not seeds:
        return Comparison(why_not="no seed in common", runs=base.runs), None
    if not _same_images(own, base):
        return Comparison(why_not="measured on other images", runs=base.runs), None
    own, base = own.of_seeds(seeds), base.of_seeds(seeds)
    known = _units([own, base], images)
    found = of_runs.difference_over_units(*known) if known else _of_no_images(own, base)
    made = replace(_comparison(found, base.runs), pair=(own, base))
    return made, _ratio(own, base, known) if show == "ratio" else None


def contrast(first: Comparison, second: Comparison, images: Images) -> Comparison:
    """How far the first difference is above the second, over the seeds that both have: a difference of differences on
    the same images, seed by seed."""
    why_not = first.why_not or second.why_not
    if first.pair is None or second.pair is None:
        return Comparison(why_not=why_not or "nothing is compared", runs=second.runs)
    four = (*first.pair, *second.pair)
    runs = tuple(dict.fromkeys(run for rows in four[1:] for run in rows.runs if run not in four[0].runs))
    seeds = [seed for seed in first.pair[0].seeds if seed in second.pair[0].seeds]
    if not seeds:
        return Comparison(why_not="no seed in common", runs=runs)
    if not _same_images(*four):
        return Comparison(why_not="measured on other images", runs=runs)
    sides = [rows.of_seeds(seeds) for rows in four]
    if known := _units(sides, images):
        # Such differences are no shares: up to two apart on each image.
        own, other = (replace(known[k] - known[k + 1], share=False) for k in (0, 2))
        return _comparison(of_runs.difference_over_units(own, other), runs)
    dependent, n, counts = sides[0].object_n is not None, sides[0].n, [rows.counts for rows in sides]
    if all(of is not None for of in counts):
        return _comparison(of_runs.accuracy_contrast([of for of in counts if of is not None], n, dependent), runs)
    each = [a - b - (c - d) for a, b, c, d in zip(*(rows.values for rows in sides), strict=True)]
    return _comparison(_over_seeds(each, n, sides), runs)


def _comparison(found: of_runs.Comparison, runs: tuple[str, ...]) -> Comparison:
    test = "" if math.isnan(found.p) else found.test
    return Comparison(found.difference, found.p, found.p, test, runs, "", found.centre, found.errors)


def _same_images(first: Rows, *others: Rows) -> bool:
    return all(rows.n == first.n and _plain(rows.object_n) == _plain(first.object_n) for rows in others)


def _plain(counts: Sequence[int] | None) -> list[int] | None:
    return None if counts is None else [int(count) for count in counts]


def _units(several: Sequence[Rows], images: Images) -> list[Units] | None:
    """Of rows of the same seeds and images, what is known of each object, or image; None where that is not known of
    all, or where images are not independent and records do not say which object they show."""
    if all(rows.counts is not None and _by_object(rows) for rows in several):
        return [Units.counted(rows.by_object, rows.object_n or ()) for rows in several]
    known = [images(rows) for rows in several]
    found = [one for one in known if one is not None]
    if len(found) < len(known) or any(not _alike(one, found[0]) for one in found):
        return None
    if several[0].object_n is not None and found[0].objects is None:
        return None
    return [Units.of(one.values, found[0].objects) for one in found]


def _by_object(rows: Rows) -> bool:
    return rows.object_n is not None and all(one is not None for one in rows.by_object)


def _alike(one: ImageValues, other: ImageValues) -> bool:
    """Whether they are of the same images, and objects."""
    if not np.array_equal(one.index, other.index):
        return False
    if one.objects is None or other.objects is None:
        return one.objects is other.objects
    return np.array_equal(one.objects, other.objects)


def _of_no_images(own: Rows, base: Rows) -> of_runs.Comparison:
    """Of counts or means of which nothing is known image by image."""
    if own.counts is not None and base.counts is not None:
        ns, dependent = [own.n] * len(own.counts), own.object_n is not None
        return of_runs.accuracy_difference(own.counts, ns, base.counts, ns, dependent=dependent)
    return _over_seeds([x - z for x, z in zip(own.values, base.values, strict=True)], own.n, (own, base))


def _over_seeds(each: Sequence[float], n: int, of: Sequence[Rows]) -> of_runs.Comparison:
    """Of differences seed by seed, on the same n images, of the values of these."""
    found = of_runs.mean_over_seeds(each, max(abs(value) for rows in of for value in rows.values))
    known = not math.isnan(found.low)
    errors = (Error(statistics.variance(each) / len(each), len(each) - 1),) if known else ()
    p = 1.0 if len(each) > 1 and not any(each) else p_value(found.value, errors)
    return of_runs.Comparison(found, p, "t over seeds", n, len(each), found.value, errors)


def _ratio(own: Rows, base: Rows, known: Sequence[Units] | None) -> Estimate:
    counted = own.counts is not None and base.counts is not None
    if not counted and any(not x > 0 for x in (*own.values, *base.values)):
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(own.values), "seeds")
    if known:
        return of_runs.ratio_over_units(*known)
    if own.counts is not None and base.counts is not None:
        ns, dependent = [own.n] * len(own.counts), own.object_n is not None
        return of_runs.accuracy_ratio(own.counts, ns, base.counts, ns, dependent=dependent)
    logs = [math.log(x / z) for x, z in zip(own.values, base.values, strict=True)]
    if len(logs) == 1:
        return Estimate(math.exp(logs[0]), math.nan, math.nan, math.nan, 1, "images")
    value, low, high, sd = (math.exp(x) for x in over_seeds(logs, 0.0, 1.0))
    return Estimate(value, low, high, sd, len(logs), "seeds")
