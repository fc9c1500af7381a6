"""Differences of two accuracies: against published examples, calculations by hand, and coverage in simulations."""

import math
from collections.abc import Sequence
from statistics import fmean, variance

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.estimates import accuracy_contrast, accuracy_difference, paired
from analysis.statistics.intervals import difference

Found = tuple[float, float, float]


def paired_difference(differences: Sequence[int]) -> Found:
    """Of one seed's independent images: 1 where only the first is right, -1 where only the second."""
    d = np.asarray(differences)
    found = paired(d >= 0, d <= 0).difference
    assert found.over == "images"
    return found.value, found.low, found.high


def clustered_difference(right: list[int], base: list[int], images: list[int]) -> Found:
    """Of one seed's objects."""
    n = [sum(images)]
    found = accuracy_difference([sum(right)], n, [sum(base)], n, ([right], [base]), images).difference
    assert found.over == "objects"
    return found.value, found.low, found.high


def test_unpaired_it_is_newcombes_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:873, table II, contrast (a), method 10.
    assert difference(56, 70, 48, 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_paired_it_is_walds_with_two_images_more() -> None:
    # By the counts of the four cells: only the first right, only the second right, both or none.
    first, second, same = 12, 5, 69
    n = first + second + same + 2
    p, q = (first + 1) / n, (second + 1) / n
    half = stats.norm.ppf(0.975) * math.sqrt((p + q - (p - q) ** 2) / n)
    found = paired_difference([1] * first + [-1] * second + [0] * same)
    assert found == pytest.approx((7 / 86, p - q - half, p - q + half))
    assert paired_difference([0] * 86)[1] < 0 < paired_difference([0] * 86)[2]


@pytest.mark.parametrize(
    ("n", "first", "second"), [(86, 0.2, 0.1), (86, 0.05, 0.02), (300, 0.1, 0.1), (2000, 0.08, 0.05)]
)
def test_intervals_of_pairs_cover_as_often_as_they_say(n: int, first: float, second: float) -> None:
    rng, hits, samples = np.random.default_rng(0), 0, 2000
    for _ in range(samples):
        u = rng.random(n)
        _, low, high = paired_difference(np.where(u < first, 1, np.where(u < first + second, -1, 0)).tolist())
        hits += low <= first - second <= high
    assert 0.94 <= hits / samples <= 0.985


@pytest.mark.parametrize("objects", [12, 36])
def test_intervals_over_objects_cover_although_images_are_dependent(objects: int) -> None:
    rng = np.random.default_rng(1)

    def accuracies(count: int) -> tuple[np.ndarray, np.ndarray]:
        easy = rng.normal(size=count)
        return tuple(1 / (1 + np.exp(-(shift + easy + rng.normal(0, 0.7, count)))) for shift in (0.6, 0.2))  # type: ignore[return-value]

    own, base = accuracies(500_000)
    truth, hits, naive, samples = float((own - base).mean()), 0, 0, 1000
    for _ in range(samples):
        right, theirs = (rng.binomial(50, p) for p in accuracies(objects))
        _, low, high = clustered_difference(right.tolist(), theirs.tolist(), [50] * objects)
        hits += low <= truth <= high
        _, low, high = difference(int(right.sum()), 50 * objects, int(theirs.sum()), 50 * objects)
        naive += low <= truth <= high
    assert 0.92 <= hits / samples <= 0.97
    assert naive / samples < 0.8


def test_of_objects_of_one_size_it_is_students_of_their_differences() -> None:
    """Where the networks differ on whole objects: else, of few objects, it is wider (see test_statistics.py)."""
    right, base = [10] * 7 + [0] * 5, [0] * 3 + [10] * 4 + [0] * 5
    each = [(x - z) / 10 for x, z in zip(right, base, strict=True)]
    expected = stats.t.interval(0.95, 11, fmean(each), math.sqrt(variance(each) / 12))
    assert clustered_difference(right, base, [10] * 12) == pytest.approx((fmean(each), *expected))
    assert math.isnan(clustered_difference([3], [2], [10])[1])


def test_what_is_known_decides_what_the_interval_is_over() -> None:
    counts = ([6, 8], [10, 10], [5, 4], [10, 10])
    images = ([[1] * 6 + [0] * 4, [1] * 8 + [0] * 2], [[1] * 5 + [0] * 5, [1] * 4 + [0] * 6])
    objects = ([[4, 2], [5, 3]], [[1, 4], [2, 2]])
    alone = accuracy_difference(*counts).difference
    by_image = paired(*images).difference
    by_object = accuracy_difference(*counts, objects, [5, 5]).difference
    one = accuracy_difference([6], [10], [5], [10]).difference
    assert [e.over for e in (alone, by_image, by_object, one)] == [
        "seeds and images", "seeds and images", "seeds and objects", "images",
    ]  # fmt: skip
    assert [e.wide for e in (alone, by_image, by_object, one)] == [True, False, False, True]
    assert [e.value for e in (alone, by_image, by_object)] == pytest.approx([0.25] * 3)
    assert [e.sd for e in (alone, by_image, by_object)] == pytest.approx([math.sqrt(0.045)] * 3)
    assert (one.value, one.low, one.high) == difference(6, 10, 5, 10)


def test_a_difference_of_differences_of_counts_has_the_images_of_all_four() -> None:
    """Beside networks that are never right it is the difference itself, and its variance over images adds up."""
    own, base, n, never = (400, 420, 390), (300, 290, 310), 1000, (0, 0, 0)
    alone = accuracy_difference(own, [n] * 3, base, [n] * 3)
    for four, sign in (
        ((own, base, never, never), 1),
        ((never, never, own, base), -1),
        ((base, never, own, never), -1),
    ):
        found = accuracy_contrast(four, n)
        limits = sorted((sign * found.difference.low, sign * found.difference.high))
        assert limits == pytest.approx([alone.difference.low, alone.difference.high])
        assert (sign * found.centre, found.p, found.seeds) == pytest.approx((alone.centre, alone.p, 3))
        assert found.difference.wide and found.test == "t over seeds and images"


def test_a_difference_of_differences_of_counts_is_over_seeds_alone_where_images_depend() -> None:
    four = ((400, 420, 390), (300, 290, 310), (350, 352, 349), (330, 333, 329))
    found = accuracy_contrast(four, 1000, dependent=True)
    assert found.difference.over == "seeds" and not found.errors and math.isnan(found.p)
    each = [(a - b - (c - d)) / 1000 for a, b, c, d in zip(*four, strict=True)]
    assert found.difference.value == pytest.approx(sum(each) / 3)
    one = accuracy_contrast([of[:1] for of in four], 1000)
    assert math.isnan(one.difference.low) and one.difference.value == pytest.approx(each[0])
