"""Near hashes are found without comparing all with all: the same as by comparing all with all."""

import numpy as np
import pytest
from numpy.typing import NDArray

from blurtrain.data.checking.near_pairs import MOST, nearest, pairs_within

Hashes = NDArray[np.uint64]


def drawn(count: int, seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def changed(hashes: Hashes, bits: NDArray[np.int64], seed: int) -> Hashes:
    """Each with so many bits of its own choice flipped."""
    rng = np.random.default_rng(seed)
    flips = [sum(1 << int(bit) for bit in rng.choice(64, count, replace=False)) for count in bits]
    return hashes ^ np.array(flips, np.uint64)


def all_with_all(queries: Hashes, index: Hashes, distance: int, most: int, same: bool) -> list[tuple[int, int, int]]:
    found = []
    for query, one in enumerate(queries.tolist()):
        near = [((one ^ other).bit_count(), place) for place, other in enumerate(index.tolist())]
        near = sorted(pair for pair in near if pair[0] <= distance and not (same and pair[1] == query))
        found += [(query, place, bits) for bits, place in near[:most]]
    return found


@pytest.mark.parametrize("distance", [0, 3, 4, 7, 10, MOST])
def test_finds_what_comparing_all_with_all_finds(distance: int) -> None:
    index = drawn(400, 0)
    queries = np.concatenate(
        [changed(index[:300], np.arange(300) % 20, 1), drawn(50, 2)]
    )  # more than are taken at once
    pairs = nearest(queries, index, distance, 5, same=False, threads=2)
    found = list(zip(*(column.tolist() for column in pairs), strict=True))
    assert found == all_with_all(queries, index, distance, 5, same=False)
    assert len(found) >= (distance + 1) * 15


def test_of_many_near_ones_the_nearest_are_kept() -> None:
    one = drawn(1, 3)
    index = changed(np.repeat(one, 40), np.arange(40) % 8, 4)
    pairs = nearest(one, index, 10, 3, same=False, threads=1)
    assert (pairs.found.tolist(), pairs.distance.tolist()) == ([0, 8, 16], [0, 0, 0])


def test_among_themselves_none_is_its_own_neighbour() -> None:
    hashes = drawn(300, 5)
    hashes = np.concatenate([hashes, changed(hashes[:20], np.full(20, 6), 6), hashes[:3]])
    pairs = nearest(hashes, hashes, 8, 5, same=True, threads=2)
    found = list(zip(*(column.tolist() for column in pairs), strict=True))
    assert found == all_with_all(hashes, hashes, 8, 5, same=True) and len(found) >= 46


def test_of_a_crowd_of_one_hash_the_first_others_are_found() -> None:
    crowd = np.full(50_000, 9, np.uint64)
    pairs = nearest(crowd, crowd, 10, 2, same=True, threads=1)
    assert pairs.found.tolist() == [1, 2, 0, 2, *[0, 1] * 49_998]


def test_nothing_near_or_nothing_there() -> None:
    for queries in (drawn(10, 7), drawn(0, 7)):
        assert not len(nearest(queries, drawn(10, 8), 4, 5, same=False, threads=1).query)
    with pytest.raises(ValueError, match="within 0 and 15, not 16"):
        nearest(drawn(1, 0), drawn(1, 1), 16, 1, same=False, threads=1)


def test_all_pairs_are_found_each_once() -> None:
    crowd = changed(np.repeat(drawn(1, 13), 60), np.arange(60) % 9, 14)
    for hashes in (np.concatenate([drawn(1900, 15), crowd]), crowd[:1], crowd[:0]):  # more than are compared together
        found = [
            pair for low, high in pairs_within(hashes, 9) for pair in zip(low.tolist(), high.tolist(), strict=True)
        ]
        places = all_with_all(hashes[-60:], hashes, 9, 60, same=False)
        first = len(hashes) - len(hashes[-60:])
        assert found == sorted((q + first, p) for q, p, _ in places if q + first < p) and (
            len(found) > 500 or not first
        )


@pytest.mark.long
def test_as_many_as_imagenet_has() -> None:
    train, rng = drawn(1_281_167, 9), np.random.default_rng(10)
    copied = rng.choice(len(train), 500, replace=False)
    val = np.concatenate([changed(train[copied], np.arange(500) % 15, 11), drawn(49_500, 12)])
    pairs = nearest(val, train, 14, 40, same=False, threads=2)  # by chance, some five others are as near
    found = set(zip(pairs.query.tolist(), pairs.found.tolist(), strict=True))
    assert found >= set(enumerate(copied.tolist()))
