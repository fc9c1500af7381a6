"""The images of a prepared dataset, at the size of its training store."""

import contextlib
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from blurtrain.data.canvas import as_seen
from blurtrain.data.checking.images import Images, Looks, content_of, sampled
from blurtrain.data.checking.looks import Look, Pixels, look_at
from blurtrain.data.dataset import Dataset

_BYTES, _IMAGES = 2**24, 256
"""Pixels, and images, that a thread looks at together, at most."""


class StoredImages:
    """See `images.Source`."""

    def __init__(self, dataset: Dataset, most: int, threads: int):
        """Reads every image; measures the sharpness of `most` of each split. Raises DataError for damaged ones."""
        self._dataset = dataset
        view, rows = dataset.view, dataset.store.rows
        self._index = view["index"]
        digests = (content_of(rows[k]["sha256"], rows[k].get("part", "")) for k in self._index)
        self.images = Images(
            paths=[rows[k]["path"] for k in self._index],
            classes=dataset.classes,
            label=view["label"].astype(np.int64),
            leaf=view["leaf"].astype(np.int64),
            split=view["split"].astype(np.int64),
            content=np.fromiter(digests, np.uint64, len(self._index)),
            looks=Looks.none_of(len(self._index)),
        )
        self._look(sampled(self.images.split, most), threads)

    def _look(self, measured: NDArray[np.bool_], threads: int) -> None:
        store, n = self._dataset.store, len(self._index)
        size = min(_IMAGES, max(1, _BYTES // (3 * math.prod(store.canvas))))
        parts = [np.arange(first, min(first + size, n)) for first in range(0, n, size)]
        _ = store.extents, store.sides  # once, and not by each thread

        def look(entries: NDArray[np.int64]) -> list[Look]:
            return look_at(list(self.pixels(entries)), measured[entries].tolist())

        bar = tqdm(total=n, desc="comparing", unit="img", leave=False, disable=None)
        with ThreadPoolExecutor(threads) as pool, bar:
            for entries, looks in zip(parts, pool.map(look, parts), strict=True):
                for entry, one in zip(entries.tolist(), looks, strict=True):
                    self.images.looks.put(entry, one)
                bar.update(len(entries))

    def pixels(self, entries: NDArray[np.int64]) -> Iterator[Pixels]:
        store, places = self._dataset.store, self._index[entries]
        for canvas, sides in zip(store.read(places), store.sides[places], strict=True):
            yield as_seen(canvas, sides)

    def source_sides(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        folder = Path(self._dataset.manifest["request"]["source"])
        sides = []
        for k in entries:
            # A file that has gone, or changed into something else, since it was prepared is no fault of the dataset.
            with contextlib.suppress(Exception), Image.open(folder / self.images.paths[k]) as image:
                sides.append((image.height, image.width))
        return np.array(sides, np.int64).reshape(-1, 2)
