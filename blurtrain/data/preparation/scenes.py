"""Which photos show one scene: near duplicates, and theirs; looked for before anything is made of photos, or split."""

import hashlib
import os
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.checking.near_pairs import pairs_within
from blurtrain.data.checking.thumbnails import SIDE, Thumbnails, hashes, similarity, thumbnail
from blurtrain.data.decode import opened
from blurtrain.errors import DataError

NEAR, ALIKE = 14, 0.9
"""Photos are near duplicates whose hashes differ in at most NEAR bits, and whose thumbnails correlate by ALIKE or more
(as `blurtrain data check` has it)."""
_COMPARED = 256
"""Pairs whose thumbnails are compared together."""


def scenes(files: Sequence[Path]) -> list[int]:
    """Of each file, the place of the first that shows its scene. What cannot be decoded, or shows nothing, is one with
    files of the same bytes alone."""
    if not files:
        return []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # without torch, which grids are read without
        contents, looks = zip(*pool.map(_seen, files), strict=True)
    thumbnails = np.stack(looks)
    found, comparable = hashes(thumbnails)
    first: dict[bytes, int] = {}
    names = (
        look.tobytes() if shown else content for content, look, shown in zip(contents, looks, comparable, strict=True)
    )
    scene = np.array([first.setdefault(name, k) for k, name in enumerate(names)])
    distinct = np.flatnonzero((scene == np.arange(len(files))) & comparable)
    for low, high in pairs_within(found[distinct], NEAR):
        for begin in range(0, len(low), _COMPARED):
            _link(
                scene, distinct[low[begin : begin + _COMPARED]], distinct[high[begin : begin + _COMPARED]], thumbnails
            )
    return [int(k) for k in scene]


def united(count: int, *same: Iterable[tuple[Hashable, int]]) -> list[int]:
    """Of each of `count` things, the place of the first that it is one with: those that some table names alike.

    same: tables of names, each with the place of a thing that has it; a thing may have several names, or none.
    """
    first = list(range(count))

    def root(k: int) -> int:
        while first[k] != k:
            first[k] = first[first[k]]
            k = first[k]
        return k

    for table in same:
        holder: dict[Hashable, int] = {}
        for name, k in table:
            low, high = sorted((root(holder.setdefault(name, k)), root(k)))
            first[high] = low
    return [root(k) for k in range(count)]


def _link(scene: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64], thumbnails: Thumbnails) -> None:
    """Make one scene, called by its first photo, of those of each pair that is alike."""
    apart = scene[one] != scene[other]  # of a crowd, most pairs are linked by others before
    one, other = one[apart], other[apart]
    if not len(one):
        return
    alike = similarity(thumbnails[one], thumbnails[other], enough=ALIKE) >= ALIKE
    for a, b in zip(one[alike], other[alike], strict=True):
        low, high = sorted((scene[a], scene[b]))
        scene[scene == high] = low


def _seen(file: Path) -> tuple[bytes, NDArray[np.uint8]]:
    """What tells its bytes from others, and its thumbnail."""
    content = b""
    try:
        content = file.read_bytes()
        look = thumbnail(np.asarray(opened(content)))
    except (OSError, DataError):  # even, so that it is compared with none
        look = np.zeros((SIDE, SIDE, 3), np.uint8)
    return hashlib.sha256(content or str(file).encode()).digest(), look
