"""Contact sheets of what was checked: images of each split, and near duplicates side by side."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurtrain.data.checking.duplicates import Duplicate
from blurtrain.data.checking.images import Source, evenly
from blurtrain.data.contact_sheet import contact_sheet
from blurtrain.data.dataset import SPLITS

SIDE = 160
"""Pixels of a tile."""
TILES, COLUMNS = 60, 10
"""Of a sheet of a split."""
PAIRS, PAIRS_A_ROW = 40, 4
"""Of a sheet of near duplicates."""


def split_sheet(source: Source, split: str) -> bytes:
    """A PNG of whole images of a split, evenly apart by class, with class and file beneath."""
    images = source.images
    entries = images.splits[split]
    chosen = evenly(entries[np.argsort(images.label[entries], kind="stable")], TILES)
    texts = [(images.classes[images.label[k]] if images.classes else "", _file(images.paths[k])) for k in chosen]
    return contact_sheet(_tiles(source, chosen, texts), COLUMNS, SIDE)


def near_sheet(source: Source, near: Sequence[Duplicate]) -> bytes:
    """A PNG of pairs, each side by side: from the most similar to the least, of at most PAIRS evenly apart."""
    ranked = sorted(near, key=lambda one: (-one.similarity, one.image))
    pairs = [ranked[k] for k in evenly(np.arange(len(ranked)), PAIRS)]
    entries = np.array([k for pair in pairs for k in (pair.image, pair.of)], np.int64)
    texts = []
    for pair in pairs:
        for k, line in ((pair.image, f"similarity {pair.similarity:.3f}"), (pair.of, f"{pair.distance} bits differ")):
            texts.append((f"{_split(source, k)}, {line}", _class(source, k), _file(source.images.paths[k])))
    return contact_sheet(_tiles(source, entries, texts), 2 * PAIRS_A_ROW, SIDE)


def _tiles(
    source: Source, entries: NDArray[np.int64], texts: Sequence[Sequence[str]]
) -> list[tuple[NDArray[np.uint8], Sequence[str]]]:
    tiles = []
    for pixels, text in zip(source.pixels(entries), texts, strict=True):
        image = Image.fromarray(pixels)
        image.thumbnail((SIDE, SIDE))
        tiles.append((np.asarray(image), text))
    return tiles


def _class(source: Source, k: int) -> str:
    images = source.images
    return images.classes[images.label[k]] if images.classes else ""


def _split(source: Source, k: int) -> str:
    split = source.images.split[k]
    return SPLITS[split] if split >= 0 else "no split"


def _file(path: str) -> str:
    return path.rsplit("/", 1)[-1]
