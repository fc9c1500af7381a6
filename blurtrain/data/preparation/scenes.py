"""Which photos show one scene: near duplicates, and theirs; looked for before anything is made of photos, or split."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.checking.near_pairs import nearest
from blurtrain.data.checking.thumbnails import SIDE, hashes, similarity, thumbnail
from blurtrain.data.decode import opened
from blurtrain.errors import DataError

NEAR, ALIKE, MOST = 14, 0.9, 5
"""Photos are near duplicates whose hashes differ in at most NEAR bits, and whose thumbnails correlate by ALIKE or more
(as `blurtrain data check` has it); of each, its MOST nearest are looked at."""


def scenes(files: Sequence[Path]) -> list[int]:
    """Of each file, the place of the first that shows its scene. What cannot be decoded is a scene by itself."""
    cores = len(os.sched_getaffinity(0))  # without torch, which grids are read without
    with ThreadPoolExecutor(cores) as pool:
        thumbnails = np.stack(list(pool.map(_thumbnail, files)))
    found, comparable = hashes(thumbnails)
    pairs = nearest(found, found, NEAR, MOST, True, cores)
    first = list(range(len(files)))

    def scene(k: int) -> int:
        while first[k] != k:
            k = first[k]
        return k

    if len(pairs.query):
        near = similarity(thumbnails[pairs.query], thumbnails[pairs.found]) >= ALIKE
        near &= comparable[pairs.query] & comparable[pairs.found]
        for one, other in zip(pairs.query[near].tolist(), pairs.found[near].tolist(), strict=True):
            low, high = sorted((scene(one), scene(other)))
            first[high] = low
    return [scene(k) for k in range(len(files))]


def _thumbnail(file: Path) -> NDArray[np.uint8]:
    try:
        return thumbnail(np.asarray(opened(file.read_bytes())))
    except (OSError, DataError):  # even, so that it is compared with none
        return np.zeros((SIDE, SIDE, 3), np.uint8)
