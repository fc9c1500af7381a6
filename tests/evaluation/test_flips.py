"""The search for the first flip, against a look at every point of the grid."""

import numpy as np
import pytest
from numpy.typing import NDArray

from blurtrain.evaluation.flips import Flips, Grid, first_flips

GRID = Grid.of(0.5, 32, 0.02, 2.3)  # the measure's own


def search(table: NDArray[np.int64], start: NDArray[np.int64], grid: Grid = GRID) -> tuple[Flips, list[int]]:
    """table [n, P]: the predictions of each image; also the number of images of each call."""
    sizes = []

    def predict(rows: NDArray[np.int64], points: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes.append(len(rows))
        return table[rows, points]

    return first_flips(predict, start, np.ones(len(start), np.bool_), grid), sizes


def flips_at(points: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images whose prediction is 1 up to a point, and then 2."""
    return np.where(np.arange(len(GRID.points)) < points[:, None], 1, 2)


def test_every_point_of_the_grid_is_found_within_twelve_passes_with_that_at_the_start() -> None:
    points = np.arange(len(GRID.points) + 1)  # the last one: never
    found, sizes = search(flips_at(points), np.ones(len(points), np.int64))
    assert found.first.tolist() == points.tolist()
    assert not found.returned.any() and found.finite.all()
    assert 1 + found.tries.max() == 12 and found.tries[-1] == len(GRID.scanned)
    assert sum(sizes) == found.tries.sum()  # who is done is not predicted again
    assert sizes[-1] < len(points)


def test_the_grid_is_as_fine_as_it_says() -> None:
    for grid, precision, scan in ((GRID, 0.02, 2.3), (Grid.of(1, 9, 0.1, 3), 0.1, 3), (Grid.of(1, 2, 0.5, 8), 0.5, 8)):
        ratios = grid.points[1:] / grid.points[:-1]
        assert ratios.max() <= 1 + precision + 1e-9 and np.ptp(ratios) < 1e-9
        assert (grid.points[grid.scanned][1:] / grid.points[grid.scanned][:-1] <= scan + 1e-9).all()
        assert grid.scanned[-1] == len(grid.points) - 1
    assert GRID.points[[0, -1]] == pytest.approx([0.5, 32])


def test_predictions_that_come_back_are_counted_and_the_first_flip_stands() -> None:
    scanned = GRID.scanned.tolist()
    table = flips_at(np.array([scanned[0] + 5, scanned[0] + 5, scanned[0] + 5]))
    table[1, scanned[3]] = 1  # back at a scanned point
    table[2, scanned[2] + 1 : scanned[3]] = 1  # back between two of them: not seen
    found, _ = search(table, np.ones(3, np.int64))
    assert found.first.tolist() == [scanned[0] + 5] * 3
    assert found.returned.tolist() == [False, True, False]


def test_a_flip_between_scanned_points_is_missed_but_what_is_found_is_a_flip() -> None:
    rng = np.random.default_rng(0)
    table = np.where(rng.random((200, 12)) < 0.4, 2, 1).repeat(18, axis=1)[:, : len(GRID.points)]
    found, _ = search(table, np.ones(200, np.int64))
    plain = np.where((table == 2).any(1), (table == 2).argmax(1), len(GRID.points))
    assert (found.first >= plain).all() and (found.first > plain).any()
    rows = np.flatnonzero(found.first < len(GRID.points))
    assert (table[rows, found.first[rows]] == 2).all()
    before = found.first[rows] - 1
    assert ((before < 0) | (table[rows, before] == 1)).all()


def test_predictions_that_are_not_finite_end_the_search_of_that_image_alone() -> None:
    table = flips_at(np.array([50, 50, 50]))
    table[1, GRID.scanned[1]] = -1
    found, _ = search(table, np.array([1, 1, -1]))
    assert found.finite.tolist() == [True, False, False]
    assert found.first[0] == 50 and found.tries.tolist()[1:] == [2, 0]
