"""What is found by one look at the pixels of an image: its hash, its size, and how sharp it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.checking.thumbnails import hashes, thumbnail
from blurtrain.data.sharpness import sharpness

PART = 512
"""Largest side, in pixels, of the middle part of an image whose sharpness is measured."""
Pixels = NDArray[np.uint8]


class Look(NamedTuple):
    """One image, as it was looked at."""

    hash: np.uint64
    comparable: bool
    """See `thumbnails.hashes`."""
    sides: tuple[int, int]
    """Height and width."""
    sharpness: dict[str, float] | None
    """None where it was not asked for, or the image is too small."""


def look_at(images: Sequence[Pixels], measured: Sequence[bool]) -> list[Look]:
    """Of each image [height, width, 3]; its sharpness too where it is to be measured."""
    found, comparable = hashes(np.stack([thumbnail(pixels) for pixels in images]))
    return [
        Look(found[k], bool(comparable[k]), pixels.shape[:2], _sharpness(pixels) if measured[k] else None)
        for k, pixels in enumerate(images)
    ]


def _sharpness(pixels: Pixels) -> dict[str, float] | None:
    top, left = (max(0, (side - PART) // 2) for side in pixels.shape[:2])
    try:
        return sharpness(pixels[top : top + PART, left : left + PART])
    except ValueError:
        return None
