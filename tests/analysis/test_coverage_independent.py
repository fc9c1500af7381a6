"""How often intervals of tables hold what they are about, in a second simulation, not that to which they were tuned: a
logistic model with random effects, other objects and other numbers of independent images."""

import itertools
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from logistic_networks import Effects, Network, draw_samples

from analysis.statistics.estimates import (
    Estimate,
    accuracy,
    accuracy_difference,
    accuracy_ratio,
    paired,
    ratio,
    summary,
)


def uneven(objects: int, images: int, evenness: float, seed: int) -> np.ndarray:
    """Images of each object; their coefficient of variation is about 1 / sqrt(evenness)."""
    shares = np.random.default_rng(seed).gamma(evenness, size=objects)
    sizes = np.maximum(np.round(shares / shares.sum() * images), 2).astype(np.int64)
    sizes[np.argmax(sizes)] += images - sizes.sum()
    return sizes


SIZES = {
    "12 objects": uneven(12, 600, 1.5, 1),
    "36 objects": uneven(36, 13518, 4, 2),
    "60 objects": uneven(60, 1200, 1.5, 3),
    "85 images": np.ones(85, np.int64),
    "500 images": np.ones(500, np.int64),
    "3000 images": np.ones(3000, np.int64),
}
ACCURACIES = (0.1, 0.3, 0.6, 0.8, 0.97)
GAPS = (0.0, 0.03, 0.15)
SEEDS = (1, 2, 3, 5)
LITTLE, MUCH = 0.03, 0.3
"""Standard deviations of seeds in log odds: accuracies near 50 % scatter by 0.6 and 6 points."""

Key = tuple[str, int, float]
"""Statistic, seeds, gap between the networks."""


def networks(kind: str, level: float, seed: float) -> list[Network]:
    """The network that is measured, and what it is compared with: one for each gap, towards 50 %."""
    effects = Effects(seed, 1.0, 0.3, 1.0, 0.5) if "objects" in kind else Effects(seed, 0.0, 0.0, 1.4, 0.6)
    return [Network(x, effects) for x in (level, *(level + (gap if level < 0.5 else -gap) for gap in GAPS))]


def by_object(kind: str, right: np.ndarray) -> np.ndarray:
    """Right images of each object, [..., objects]."""
    starts = np.concatenate([[0], np.cumsum(SIZES[kind])[:-1]])
    return np.asarray(np.add.reduceat(right, starts, axis=-1, dtype=np.int64))


def of_records(kind: str, own: np.ndarray, base: np.ndarray) -> tuple[Estimate, Estimate, Estimate]:
    """Accuracy, difference and ratio, of own and base [seeds, images]."""
    labels = np.repeat(np.arange(len(SIZES[kind])), SIZES[kind]) if "objects" in kind else None
    return summary(own, labels), paired(own, base, labels).difference, ratio(own, base, labels)


def of_counts(kind: str, own: np.ndarray, base: np.ndarray) -> tuple[Estimate, Estimate, Estimate]:
    """The same, of own and base [seeds, objects]: right images; of independent images [seeds, 1]."""
    objects = "objects" in kind
    images = [int(SIZES[kind].sum())] * len(own)
    counts = own.sum(axis=1).tolist(), images, base.sum(axis=1).tolist(), images
    sides: Any = (own, base) if objects else ((), ())
    sizes: Any = SIZES[kind] if objects else None
    return (
        accuracy(counts[0], images, sides[0], sizes),
        accuracy_difference(*counts, sides, sizes).difference,
        accuracy_ratio(*counts, sides, sizes),
    )


def coverage(
    kind: str, level: float, seed: float, samples: int, alone: bool = False, gaps: tuple[float, ...] = GAPS
) -> dict[Key, tuple[float, float]]:
    """Of each statistic: how many of the defined intervals hold the truth, and how many are undefined, as shares.

    alone: of counts where nothing is known of images.
    """
    nets = networks(kind, level, seed)
    by_counts = alone or kind == "36 objects"
    held = defaultdict[Key, list[float]](list)
    rng = np.random.default_rng([100 + list(SIZES).index(kind), round(level * 100), round(seed * 100)])
    for sample in draw_samples(nets, SIZES[kind], max(SEEDS), samples, rng):
        right: list[Any] = list(sample.right)
        if by_counts:
            right = [by_object(kind, x) if "objects" in kind else x.sum(axis=2, keepdims=True) for x in right]
        for i, seeds, gap in itertools.product(range(len(right[0])), SEEDS, gaps):
            k = 1 + GAPS.index(gap)
            found = (of_counts if by_counts else of_records)(kind, right[0][i, :seeds], right[k][i, :seeds])
            if seeds == 1:  # of this seed, over all images
                own, base = sample.seeds[0][i, 0], sample.seeds[k][i, 0]
                truths = own, own - base, own / base
            else:  # over all seeds too
                own, base = nets[0], nets[k]
                truths = own.accuracy, own.accuracy - base.accuracy, math.exp(own.logarithm - base.logarithm)
            for name, truth, estimate in zip(("accuracy", "difference", "ratio"), truths, found, strict=True):
                if name != "accuracy" or gap == gaps[0]:
                    defined = not math.isnan(estimate.low + estimate.high)
                    held[name, seeds, gap].append(estimate.low <= truth <= estimate.high if defined else math.nan)
    return {key: (float(np.nanmean(x)), float(np.isnan(x).mean())) for key, x in held.items()}


def by_statistic(*found: dict[Key, tuple[float, float]]) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Of several scenarios, in percent."""
    all_of = defaultdict[tuple[str, int], list[tuple[float, float]]](list)
    for one in found:
        for (name, seeds, _), (held, undefined) in one.items():
            all_of[name, seeds].append((100 * held, 100 * undefined))
    return all_of


def test_accuracies_over_populations_are_those_of_what_is_simulated() -> None:
    rng = np.random.default_rng(1)
    effects = Effects(0.5, 1.0, 0.4, 0.8, 0.6)
    nets = [Network(0.2, effects), Network(0.9, effects)]
    # Every sample is another seed, tested on 40 objects: the mean has the error of 20,000 of either.
    samples = list(draw_samples(nets, np.array([1, 3] * 20), 1, 20_000, rng))
    for k, network in enumerate(nets):
        right = np.concatenate([sample.right[k].mean(axis=(1, 2)) for sample in samples])
        seeds = np.concatenate([sample.seeds[k][:, 0] for sample in samples])
        expected = [(right, network.accuracy), (seeds, network.accuracy), (np.log(seeds), network.logarithm)]
        for values, mean in expected:
            assert values.mean() == pytest.approx(mean, abs=4 * values.std() / math.sqrt(len(values)))
        # Seeds that are better over all images do better on these, by as much.
        assert np.polyfit(seeds, right, 1)[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", ["60 objects", "500 images"])
def test_intervals_cover_in_another_simulation(kind: str) -> None:
    found = by_statistic(*(coverage(kind, level, seed, 150) for level in (0.3, 0.8) for seed in (LITTLE, MUCH)))
    assert len(found) == 3 * len(SEEDS)
    for (name, seeds), values in found.items():
        held, undefined = np.array(values).T
        assert 93 <= held.mean() <= (99 if seeds == 2 else 98), (name, seeds)
        assert not undefined.any()


MEASURED: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "12 objects": {
        "accuracy": ((97.8, 95.9), (99.1, 97.7), (98.0, 96.1), (97.9, 95.9)),
        "difference": ((98.0, 95.9), (99.1, 97.5), (98.2, 95.7), (98.4, 96.5)),
        "ratio": ((98.0, 94.9), (99.1, 97.8), (98.3, 95.4), (98.5, 96.0)),
    },
    "36 objects": {
        "accuracy": ((96.6, 94.1), (98.0, 96.6), (96.5, 94.7), (96.5, 94.9)),
        "difference": ((96.7, 94.6), (97.7, 94.6), (95.9, 92.6), (96.3, 93.2)),
        "ratio": ((96.8, 94.2), (97.7, 95.3), (95.8, 93.0), (96.4, 94.2)),
    },
    "60 objects": {
        "accuracy": ((95.5, 92.7), (97.9, 95.7), (95.6, 92.6), (95.8, 93.8)),
        "difference": ((95.5, 93.3), (97.4, 94.6), (95.4, 91.2), (96.0, 93.8)),
        "ratio": ((95.4, 93.6), (97.5, 95.4), (95.5, 92.0), (96.0, 94.0)),
    },
    "85 images": {
        "accuracy": ((95.3, 94.7), (98.8, 97.4), (96.8, 93.8), (96.6, 94.5)),
        "difference": ((95.8, 94.1), (98.8, 97.0), (97.4, 94.8), (96.9, 95.0)),
        "ratio": ((95.6, 93.8), (98.7, 97.1), (97.3, 94.7), (96.5, 94.3)),
    },
    "500 images": {
        "accuracy": ((95.0, 94.0), (97.2, 94.8), (95.0, 90.2), (95.3, 93.6)),
        "difference": ((95.2, 94.0), (97.3, 94.2), (96.0, 92.3), (95.9, 93.8)),
        "ratio": ((95.0, 94.0), (97.4, 94.5), (95.8, 92.0), (95.8, 93.5)),
    },
    "3000 images": {
        "accuracy": ((94.8, 93.9), (96.3, 93.5), (94.8, 93.1), (95.2, 93.9)),
        "difference": ((95.0, 93.9), (96.8, 94.0), (95.7, 92.9), (95.6, 93.9)),
        "ratio": ((94.9, 93.7), (96.8, 93.7), (95.6, 92.3), (95.5, 94.1)),
    },
}
"""Percent of intervals that hold the truth, an item of SEEDS each: the mean over ACCURACIES, GAPS, LITTLE and MUCH,
and the least of a single such scenario, in 1,000 samples. The least is of many, and so too low: 90.2 is 93 in 9,000
other samples."""
ERROR = 0.7
"""The standard error of 95 % in 1,000 samples, in points. Of a mean it is a third: each accuracy with each spread of
seeds has samples of its own."""


@pytest.mark.long
@pytest.mark.parametrize("kind", SIZES)
def test_intervals_cover_as_often_as_measured(kind: str) -> None:
    cases = itertools.product(ACCURACIES, (LITTLE, MUCH))
    found = by_statistic(*(coverage(kind, *case, 1000) for case in cases))
    for name, all_measured in MEASURED[kind].items():
        for seeds, (mean, least) in zip(SEEDS, all_measured, strict=True):
            held, undefined = np.array(found[name, seeds]).T
            assert held.mean() == pytest.approx(mean, abs=ERROR), (name, seeds)
            assert held.min() >= least - 2 * ERROR, (name, seeds)
            # Ratios are where a network is never right, or both are right on just the same images.
            assert undefined.max() <= (1.5 if (kind, name) == ("85 images", "ratio") else 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "means", "least"), [("85 images", 99.6, 98.5), ("500 images", 98.1, 94), ("3000 images", 96.5, 91.5)]
)
def test_intervals_of_counts_alone_are_too_wide_unless_images_are_many(kind: str, means: float, least: float) -> None:
    cases = itertools.product(ACCURACIES, (LITTLE, MUCH))
    found = by_statistic(*(coverage(kind, *case, 1000, alone=True, gaps=(0.03,)) for case in cases))
    for (name, seeds), values in found.items():
        if seeds > 1:
            held = np.array(values)[:, 0]
            assert held.mean() >= means and held.min() >= least, (name, seeds)
