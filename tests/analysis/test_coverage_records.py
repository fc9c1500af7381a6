"""How often intervals of cells hold what they are about where records say which object each image shows, beside counts
by object; and where a difference is beside another one on the same images."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from logistic_networks import Effects, Network, draw_samples
from tested_networks import Scenario

from analysis.statistics.estimates import Estimate
from analysis.tabulation.cells import Comparison, Rows
from analysis.tabulation.pairs import compare, contrast, estimate
from analysis.tabulation.selection import ImageValues

Known = dict[tuple[str, ...], ImageValues]


def rows(name: str, values: np.ndarray, objects: np.ndarray | None, by_object: bool = False) -> Rows:
    """Of values [seeds, images]: counts, where they are booleans."""
    counted, seeds = values.dtype == bool, len(values)
    sizes = None if objects is None else np.bincount(objects).tolist()
    right = tuple(np.bincount(objects, row).astype(int).tolist() for row in values) if by_object else (None,) * seeds
    return Rows(
        runs=tuple(f"{name}{seed}" for seed in range(seeds)),
        seeds=tuple(range(seeds)),
        counts=tuple(values.sum(axis=1).tolist()) if counted else None,
        values=tuple(values.mean(axis=1).tolist()),
        n=values.shape[1],
        by_object=right,
        object_n=sizes,
        about={},
        settings_id=name,
    )


def records(objects: np.ndarray | None, *of: np.ndarray) -> tuple[list[Rows], Any]:
    """Rows, and what is known of each image of them."""
    made = [rows(str(k), values, objects) for k, values in enumerate(of)]
    index = np.arange(of[0].shape[1])
    known = {one.runs: ImageValues(values.astype(float), index, objects)
             for one, values in zip(made, of, strict=True)}  # fmt: skip
    return made, lambda one: known.get(one.runs)


def nothing(one: Rows) -> None:
    """Where there are no records."""


def in_table(own: Rows, base: Rows, images: Any) -> tuple[Estimate, Estimate, Estimate]:
    """Value, difference and ratio, as cells have them."""
    beside, ratio = compare(own, base, images, "ratio")
    assert beside.difference and ratio
    return estimate(own, images), beside.difference, ratio


def limits(found: Sequence[Estimate]) -> list[list[float]]:
    return [[one.value, one.low, one.high] for one in found]


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_shares_have_the_intervals_of_counts_by_object(seeds: int) -> None:
    """So they cover as often as `test_coverage` finds, on 36 objects with 13,518 frames."""
    rng = np.random.default_rng(seeds)
    for right, sizes, _ in Scenario(0.57, 0.5, seeds).drawn(10):
        objects = np.repeat(np.arange(len(sizes)), sizes)
        place = np.concatenate([np.arange(size) for size in sizes])
        frames = right[:, :, objects] > place  # so many of each object are right
        order = rng.permutation(len(objects))  # and the order does not matter
        sides, images = records(objects[order], *frames[..., order])
        counted = [rows("counted", side, objects, by_object=True) for side in frames]
        found, expected = in_table(sides[0], sides[1], images), in_table(counted[0], counted[1], nothing)
        assert found[0].over == expected[0].over == ("seeds and objects" if seeds > 1 else "objects")
        assert np.allclose(limits(found), limits(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seeds", [1, 3])
def test_values_are_covered_where_records_know_objects_and_not_where_they_do_not(seeds: int) -> None:
    """Entropies, say: skewed values of images and objects."""
    rng, hits, samples = np.random.default_rng(2), np.zeros((2, 3)), 400
    objects = np.repeat(np.arange(36), 10)
    scale = math.exp((1.25 + 0.16 + 0.0025 * (seeds > 1)) / 8)
    for _ in range(samples):
        hard = rng.normal(size=(1, 36)).repeat(10, axis=1) + 0.5 * rng.normal(size=(1, 360))
        noise = 0.05 * rng.normal(size=(2, seeds, 1)) * (seeds > 1) + 0.4 * rng.normal(size=(2, seeds, 360))
        own, base = np.exp((hard + noise) / 2)
        for k, of in enumerate((objects, None)):
            sides, images = records(of, own, 0.9 * base)
            found = in_table(sides[0], sides[1], images)
            truth = scale, 0.1 * scale, 1 / 0.9
            hits[k] += [one.low <= true <= one.high for one, true in zip(found, truth, strict=True)]
    assert np.all((hits[0] / samples >= 0.915) & (hits[0] / samples <= 0.985)), hits / samples
    assert hits[1][0] / samples < 0.7, "as if images were independent"


# --- differences of differences ---------------------------------------------------------------------------------------

ACCURACIES = (0.8, 0.6, 0.85, 0.8)
"""Fine-tuned and not, under defocus; and under motion."""


def contrasted(sides: Sequence[Rows], images: Any) -> Comparison:
    first, second = (compare(sides[k], sides[k + 1], images, "difference")[0] for k in (0, 2))
    return contrast(first, second, images)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("of", "most"), [("objects", 0.985), ("counts by object", 0.985), ("images", 0.985),
                                          ("counts", 1.0)])  # fmt: skip
def test_differences_of_differences_are_covered(of: str, most: float, seeds: int) -> None:
    grouped = "object" in of
    effects = Effects(0.1, 1.0, 0.3, 1.0, 0.5) if grouped else Effects(0.1, 0.0, 0.0, 1.4, 0.6)
    networks = [Network(accuracy, effects) for accuracy in ACCURACIES]
    truth = ACCURACIES[0] - ACCURACIES[1] - (ACCURACIES[2] - ACCURACIES[3])
    sizes = np.full(36, 20) if grouped else np.ones(400, np.int64)
    objects = np.repeat(np.arange(36), 20) if grouped else None
    hits, samples = 0, 400
    for sample in draw_samples(networks, sizes, seeds, samples, np.random.default_rng(seeds)):
        for i in range(len(sample.right[0])):
            right = [side[i] for side in sample.right]
            sides, images = records(objects, *right)
            if "counts" in of:
                sides, images = [rows(str(k), x, objects, grouped) for k, x in enumerate(right)], nothing
            found = contrasted(sides, images)
            assert found.difference and found.difference.wide == (of == "counts")
            hits += found.difference.low <= truth <= found.difference.high
    assert 0.92 <= hits / samples <= most, hits / samples
