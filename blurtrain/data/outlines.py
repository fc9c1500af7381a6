"""Masks from the outlines and run lengths that COCO's annotations have.

An outline is a list of polygons [x0, y0, x1, y1, ...], in pixels from the corner of the image; run lengths are {size:
[height, width], counts}: how many pixels, column by column, are outside, inside, outside, ...; as numbers, or packed in
a text (six bits a sign, five of them of the value, from the lowest on; from the fourth run on the difference to the
run before the last).
"""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.mask_file import VOID
from blurtrain.errors import DataError


def packed(objects: Sequence[tuple[int, str]], size: tuple[int, int]) -> bytes:
    """Objects, each the number of its class and its `segmentation` as JSON, of a photo that is annotated as one of
    `size` (width, height), as `painted` takes them."""
    outlines = ",".join(f"[{number},{outline}]" for number, outline in objects)
    return zlib.compress(f"[{list(size)},[{outlines}]]".encode())


def painted(outlines: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask [height, width] of a photo of `size` (width, height) with such objects: 0 outside all, and VOID where
    objects of several classes overlap, as which is in front is not known. Raises DataError, also where the photo is
    annotated as one of another size."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    try:
        annotated, objects = json.loads(zlib.decompress(outlines))
        if tuple(annotated) != size:
            raise DataError(f"is annotated as {annotated[0]} x {annotated[1]} pixels, and has {width} x {height}")
        for number, segmentation in objects:
            inside = region(segmentation, height, width)
            mask[inside & (mask != 0) & (mask != number)] = VOID
            mask[inside & (mask == 0)] = number
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"a segmentation that cannot be read: {error}") from None
    return mask


def region(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels [height, width] an object covers, by COCO's `segmentation` of it; raises DataError."""
    if isinstance(segmentation, list):
        inside = np.zeros((height, width), bool)
        for polygon in segmentation:
            inside |= filled(np.asarray(polygon, np.float64).reshape(-1, 2), height, width)
        return inside
    if tuple(segmentation["size"]) != (height, width):
        h, w = segmentation["size"]
        raise DataError(f"run lengths of {w} x {h} pixels for a photo of {width} x {height}")
    counts = segmentation["counts"]
    runs = np.array(unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise DataError(f"run lengths of {runs.sum()} pixels for a photo of {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def filled(corners: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels [height, width] whose centres are inside a polygon with `corners` [n, (x, y)], by the even-odd rule."""
    x0, y0 = corners.T
    x1, y1 = np.roll(corners, -1, axis=0).T
    upwards = y0 > y1
    x0, y0, x1, y1 = (np.where(upwards, b, a) for a, b in ((x0, x1), (y0, y1), (x1, x0), (y1, y0)))
    # An edge crosses the rows whose centre y + 1/2 is in [y0, y1), and there all columns to the right of it change.
    first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y1 - 0.5), 0, height).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + (rows + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    changes = np.zeros((height, width + 1), np.uint8)
    np.bitwise_xor.at(changes, (rows, columns), np.uint8(1))
    return np.bitwise_xor.accumulate(changes, axis=1)[:, :width] == 1


def unpacked(text: str) -> list[int]:
    """Run lengths from the text that COCO packs them in; raises ValueError for what is none."""
    runs: list[int] = []
    value, shift = 0, 0
    for sign in text.encode():
        if not 48 <= sign < 112:
            raise ValueError(f"{chr(sign)!r} in packed run lengths")
        value |= (sign - 48 & 31) << shift
        shift += 5
        if sign - 48 & 32:
            continue
        if sign - 48 & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("packed run lengths end too early")
    return runs
