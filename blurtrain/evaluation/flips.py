"""The first point of a geometric grid at which an image's prediction is another than at its start: by a coarse scan of
all of the grid, then by bisection between two scanned points."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Predict = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""The predictions [k] of k images (their rows), each at a point of its own of the grid; -1: not finite."""


@dataclass(frozen=True)
class Grid:
    """Points that are tried; below the first one lies the start."""

    points: NDArray[np.float64]
    """[P], ascending, each at most 1 + precision times the one before."""
    scanned: NDArray[np.int64]
    """Places in `points`, ascending: which of them are tried of every image; the last one is the last of all."""

    @classmethod
    def of(cls, smallest: float, largest: float, precision: float, scan: float) -> Self:
        """From `smallest` to `largest`; scanned points are at most `scan` times the one before."""
        span = math.log(largest / smallest)
        intervals = max(1, math.ceil(span / math.log(scan) - 1e-9))
        each = max(1, math.ceil(span / intervals / math.log1p(precision) - 1e-9))
        powers = np.arange(intervals * each + 1) / (intervals * each)
        return cls(smallest * (largest / smallest) ** powers, each * np.arange(1, intervals + 1))


@dataclass(frozen=True)
class Flips:
    """Of n images."""

    first: NDArray[np.int64]
    """[n], the point at which the prediction is first another, as far as the search sees; P: at none."""
    returned: NDArray[np.bool_]
    """[n], whether at a scanned point above that the first prediction is back."""
    finite: NDArray[np.bool_]
    """[n]; where not, some prediction was not finite, and all else says nothing."""
    tries: NDArray[np.int64]
    """[n], how many predictions were taken, without that at the start."""


def first_flips(predict: Predict, start: NDArray[np.int64], followed: NDArray[np.bool_], grid: Grid) -> Flips:
    """Search the grid for each of the `followed` images, whose predictions at the start are `start` [n].

    All scanned points are tried, so that it is seen where predictions come back. Then the interval below the first of
    them that has another prediction is halved, until its ends are neighbours on the grid: the upper end is the answer.
    A flip that comes and goes between two scanned points is not seen. An image that is done is not predicted again.
    """
    n, none = len(start), len(grid.points)
    first, below = np.full(n, none), np.full(n, -1)
    returned, tries = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    finite = start >= 0

    def tried(rows: NDArray[np.int64], points: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Those of the rows that are finite, and whether their predictions are others."""
        found = predict(rows, points)
        tries[rows] += 1
        finite[rows[found < 0]] = False
        return rows[found >= 0], (found != start[rows])[found >= 0]

    active = np.flatnonzero(followed & finite)
    for point in grid.scanned.tolist():
        if not len(active):
            break
        active, other = tried(active, np.full(len(active), point))
        flipped = first[active] < none
        returned[active[flipped & ~other]] = True
        below[active[~flipped & ~other]] = point
        first[active[~flipped & other]] = point
    active = active[first[active] < none]
    while len(active := active[first[active] - below[active] > 1]):
        middle = (below + first) // 2
        active, other = tried(active, middle[active])
        first[active[other]] = middle[active[other]]
        below[active[~other]] = middle[active[~other]]
    return Flips(first, returned & finite, finite, tries)
