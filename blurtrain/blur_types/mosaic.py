"""A photo as one small square image that keeps its blur: the whole of it, reduced, amid parts at its own resolution.

Reduced to the side of a network's input, a photo of 24 megapixels looks sharp whatever blur it has. So eight parts are
shown pixel by pixel around the whole view, which says what they are parts of:

    left third, top      middle third, upper half     right third, top
    left third, middle   the whole photo              right third, middle
    left third, bottom   middle third, lower half     right third, bottom

These eight cells cover the photo, its centre included, where subjects are. The mosaic of a mirrored photo is the
mirrored mosaic (but for the rounding of places in large photos), so that flipping one is as good as flipping the photo.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILES = 3
"""Along each side of a mosaic."""
WHOLE = (1, 1)
"""Row and column of the tile that shows the whole photo."""
_LOOKED_AT = 512
"""Longer side, in pixels, of what is looked at for detail, about: then it does not matter whether finer detail is
blurred, and a large photo costs little."""
_PIECE = 4096
"""Pixels of the longer side of a narrow photo that are padded at a time, at least."""
_THIRDS = ((0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0))
_CELLS = [(row, column, _THIRDS[column], _THIRDS[row]) for column in (0, 2) for row in range(TILES)] + [
    (0, 1, _THIRDS[1], (0.0, 0.5)),
    (2, 1, _THIRDS[1], (0.5, 1.0)),
]
"""Row and column of the tile, and the cell that its part is from: shares of the photo's width and height."""

Span = tuple[float, float]


def mosaic(photo: Image.Image, tile: int) -> NDArray[np.uint8]:
    """The mosaic [3 * tile, 3 * tile, 3] of a photo, upright, of any mode and size; tile: pixels, at least 8.

    The whole view is squeezed to a square (antialiased), so that all of it is seen. A part of tile x tile pixels is
    taken where its cell has most detail: the largest mean squared gradient of luma. A part larger than its cell is
    centred on it and moved into the photo; a photo smaller than a part is mirrored at its right and lower border, and
    nothing is ever enlarged but the whole view. Equal photos have equal mosaics. Raises ValueError for a smaller tile.
    """
    if tile < 8:
        raise ValueError(f"tile must be a number of pixels >= 8, not {tile}")
    photo = photo.convert("RGB")
    whole = np.asarray(photo.resize((tile, tile), Image.Resampling.BICUBIC, reducing_gap=3.0))
    result = np.empty((TILES * tile, TILES * tile, 3), np.uint8)
    result[_tile_at(*WHOLE, tile)] = whole
    detail = _Detail(photo, tile)
    for row, column, across, down in _CELLS:
        left, top = detail.richest(tile, across, down)
        part = photo.crop((left, top, min(left + tile, photo.width), min(top + tile, photo.height)))
        result[_tile_at(row, column, tile)] = np.asarray(_at_least(part, tile, tile))
    return result


def _tile_at(row: int, column: int, tile: int) -> tuple[slice, slice]:
    return slice(row * tile, (row + 1) * tile), slice(column * tile, (column + 1) * tile)


def _at_least(photo: Image.Image, width: int, height: int) -> Image.Image:
    if photo.width >= width and photo.height >= height:
        return photo
    missing = [(0, max(height - photo.height, 0)), (0, max(width - photo.width, 0)), (0, 0)]
    return Image.fromarray(np.pad(np.asarray(photo), missing, "symmetric"))


def _luma(photo: Image.Image, tile: int, step: int) -> NDArray[np.int64]:
    """Of a photo that is at least as large as a tile, or padded to that, `step` times reduced.

    A narrow photo is padded piece by piece along its longer side: padded as a whole, one of 1 x 1,000,000 pixels would
    be a hundred times as large.
    """
    if min(photo.size) >= tile:
        return np.asarray(photo.reduce(step).convert("L"), np.int64)
    width, height = (max(side, tile) for side in photo.size)
    lying = width >= height
    length = step * math.ceil(max(_PIECE, tile) / step)  # of whole steps, so that the pieces are reduced as the whole
    pieces = []
    for first in range(0, max(width, height), length):
        right, bottom = (min(first + length, width), height) if lying else (width, min(first + length, height))
        left, top = (first, 0) if lying else (0, first)
        part = photo.crop((left, top, min(right, photo.width), min(bottom, photo.height)))
        pieces.append(np.asarray(_at_least(part, right - left, bottom - top).reduce(step).convert("L"), np.int64))
    return np.concatenate(pieces, axis=1 if lying else 0)


class _Detail:
    """Where a photo, padded to a tile if it is smaller, has detail: sums of squared gradients over any rectangle."""

    def __init__(self, photo: Image.Image, tile: int) -> None:
        self.size = max(photo.width, tile), max(photo.height, tile)
        self.step = max(1, round(max(self.size) / _LOOKED_AT))
        luma = _luma(photo, tile, self.step)
        energy = np.zeros((luma.shape[0] + 1, luma.shape[1] + 1), np.int64)
        for axis, before, behind in ((0, np.s_[1:-1, 1:], np.s_[2:, 1:]), (1, np.s_[1:, 1:-1], np.s_[1:, 2:])):
            squared = np.diff(luma, axis=axis) ** 2
            energy[before] += squared
            energy[behind] += squared
        self.sums = energy.cumsum(0).cumsum(1)  # of integers: the same on every machine

    def richest(self, tile: int, across: Span, down: Span) -> tuple[int, int]:
        """Left and top, in pixels of the photo, of the part with most detail in a cell."""
        lefts, tops = (self._places(side, tile, span) for side, span in zip(self.size, (across, down), strict=True))
        window = max(1, tile // self.step)
        bottom, right = (side - 1 for side in self.sums.shape)
        x0, y0 = (np.minimum(places // self.step, side - 1) for places, side in ((lefts, right), (tops, bottom)))
        x1, y1 = np.minimum(x0 + window, right), np.minimum(y0 + window, bottom)
        s = self.sums
        sums = s[np.ix_(y1, x1)] - s[np.ix_(y0, x1)] - s[np.ix_(y1, x0)] + s[np.ix_(y0, x0)]
        row, column = np.unravel_index(int(sums.argmax()), sums.shape)
        return int(lefts[column]), int(tops[row])

    def _places(self, side: int, tile: int, span: Span) -> NDArray[np.int64]:
        """Where a part may begin along one axis."""
        first, last = round(span[0] * side), round(span[1] * side) - tile
        if last < first:
            middle = (first + last) // 2
            return np.array([min(max(middle, 0), side - tile)], np.int64)
        return np.arange(first, last + 1, self.step, dtype=np.int64)
