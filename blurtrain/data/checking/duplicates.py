"""Images of one split that are those of another: byte for byte, or nearly."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.checking.images import Images, Source
from blurtrain.data.checking.near_pairs import nearest
from blurtrain.data.checking.thumbnails import Thumbnails, similarity, thumbnail
from blurtrain.data.dataset import SPLITS

MOST = 5
"""Near duplicates that are looked at of an image: its nearest."""
_COMPARED = 1024
"""Pairs whose thumbnails are compared together."""


class Duplicate(NamedTuple):
    """An image (entry) of the later split, and one of the earlier split that it is."""

    image: int
    of: int
    distance: int = 0
    """Bits of their hashes that differ."""
    similarity: float = 1.0
    """See `thumbnails.similarity`."""


def split_pairs(images: Images) -> Iterator[tuple[str, str]]:
    """Each split that is there with each before it: (test, train), ...; ("all", "all") where there are no splits."""
    if not images.has_splits:
        yield "all", "all"
        return
    for earlier, later in combinations([name for name in SPLITS if name in images.splits], 2):
        yield later, earlier


def exact(images: Images, split: str, other: str) -> list[Duplicate]:
    """Images of a split whose files are in the other too, each with the first of those; in the split itself, with the
    first of them all."""
    entries, others = images.splits[split], images.splits[other]
    order = others[np.argsort(images.content[others], kind="stable")]
    known = images.content[order]
    place = np.searchsorted(known, images.content[entries])
    same = known[np.minimum(place, len(known) - 1)] == images.content[entries]
    pairs = zip(entries[same].tolist(), order[place[same]].tolist(), strict=True)
    return [Duplicate(image, of) for image, of in pairs if image != of]


def near(
    source: Source, split: str, other: str, distance: int, alike: float, threads: int
) -> tuple[list[Duplicate], int]:
    """Images of a split that are nearly those of another: hashes differ in at most `distance` bits, and thumbnails are
    similar by at least `alike`. Each with the most similar one; not those whose files are the same.

    Also the number of pairs that the hashes brought, whose thumbnails were compared.
    """
    images = source.images
    entries, others = (of[images.looks.comparable[of]] for of in (images.splits[split], images.splits[other]))
    pairs = nearest(images.looks.hashes[entries], images.looks.hashes[others], distance, MOST, split == other, threads)
    one, two = entries[pairs.query], others[pairs.found]
    differ = images.content[one] != images.content[two]
    if split == other:
        differ &= one > two
    one, two, bits = one[differ], two[differ], pairs.distance[differ]
    alikeness = np.concatenate([np.zeros(0), *_similarities(source, one, two)])
    best: dict[int, Duplicate] = {}
    for k in np.flatnonzero(alikeness >= alike).tolist():
        found = Duplicate(int(one[k]), int(two[k]), int(bits[k]), float(alikeness[k]))
        if found.image not in best or found.similarity > best[found.image].similarity:
            best[found.image] = found
    return sorted(best.values(), key=lambda d: (-d.similarity, d.image)), len(one)


def _similarities(source: Source, one: NDArray[np.int64], two: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    """Of the pairs, some at a time: thumbnails are made again, as those of all images would fill the memory."""
    for first in range(0, len(one), _COMPARED):
        pair = np.stack([one[first : first + _COMPARED], two[first : first + _COMPARED]])
        entries, place = np.unique(pair, return_inverse=True)
        thumbnails = _thumbnails(source, entries)
        left, right = place.reshape(pair.shape)
        yield similarity(thumbnails[left], thumbnails[right])


def _thumbnails(source: Source, entries: NDArray[np.int64]) -> Thumbnails:
    parts = np.array_split(entries, -(-len(entries) // 32))
    return np.stack([thumbnail(pixels) for part in parts for pixels in source.pixels(part)])


def under_several_classes(images: Images) -> list[tuple[int, int]]:
    """Pairs of entries of one file under two classes."""
    order = np.argsort(images.content, kind="stable")
    same = images.content[order[1:]] == images.content[order[:-1]]
    other = images.label[order[1:]] != images.label[order[:-1]]
    return [(int(order[k]), int(order[k + 1])) for k in np.flatnonzero(same & other)]
