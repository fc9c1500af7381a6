"""Images as thumbnails, by which they are compared, and as perceptual hashes of 64 bits, by which they are found.

The hash is of the signs of an image's lowest frequencies (a DCT of its grey thumbnail; the mean is left out), each
against their median: recompressing, resizing, a little cropping, brightness and contrast change few of its bits.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Pixels of a thumbnail."""
BITS = 64
EVEN = 2.0
"""Standard deviation, in levels of 255, of a grey thumbnail below which an image shows nothing to compare."""
GREY = 2.0
"""Mean difference, in levels, of the colours of a pixel below which an image is grey."""
PROMISING = 0.4
"""Correlation of two whole thumbnails below which no cut makes them alike."""

Thumbnails = NDArray[np.uint8]
"""[n, SIDE, SIDE, 3]."""


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[SIDE, SIDE, 3], each pixel a mean over its part of the pixels [H, W, 3], whatever their aspect."""
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX))


def _lowest() -> tuple[NDArray[np.float32], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of the DCT-II, and which of their products are the BITS lowest frequencies but for the mean."""
    count = 10
    k, x = np.arange(count), np.arange(SIDE)
    rows = np.cos(np.pi * np.outer(k, 2 * x + 1) / (2 * SIDE)).astype(np.float32)
    order = np.argsort(np.add.outer(k**2, k**2).ravel(), kind="stable")[1 : BITS + 1]
    return rows, (order // count, order % count)


_ROWS, _CHOSEN = _lowest()
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def hashes(thumbnails: Thumbnails) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """[n] each: the hash of each thumbnail, and whether it shows anything to compare (see EVEN)."""
    grey = thumbnails.astype(np.float32) @ _LUMA
    lowest = (_ROWS @ grey @ _ROWS.T)[:, *_CHOSEN]
    bits = lowest > np.median(lowest, 1, keepdims=True)
    return np.ascontiguousarray(np.packbits(bits, 1)).view(np.uint64)[:, 0], grey.std((1, 2)) >= EVEN


def similarity(one: Thumbnails, other: Thumbnails, enough: float = np.inf) -> NDArray[np.float64]:
    """[n]: correlation, -1 to 1, of the pixels of each pair of thumbnails: 1 where one is the other, whatever its
    brightness and contrast. The largest of those of the whole of one with each of WINDOWS of the other; where one has
    no colours, those of the other do not count. enough: where the wholes correlate so, windows are not looked at."""
    first, second = one.astype(np.float32), other.astype(np.float32)
    colourless = _colourless(first) | _colourless(second)
    for images in (first, second):
        images[colourless] = (images[colourless] @ _LUMA)[..., None]
    best = np.einsum("ij,ij->i", _standardised(first), _standardised(second))
    worth = np.flatnonzero((best >= PROMISING) & (best < enough))
    for cut, whole in ((first[worth], second[worth]), (second[worth], first[worth])):
        target = _standardised(whole)
        for window in WINDOWS:
            best[worth] = np.maximum(best[worth], np.einsum("ij,ij->i", _standardised(_cut(cut, window)), target))
    return best.astype(np.float64)


WINDOWS = [(top * cut, left * cut, 1 - cut) for cut in (0.03, 0.06, 0.1) for top in (0, 0.5, 1) for left in (0, 0.5, 1)]
"""Parts of an image that another may be: top and left, in its height and width, and the share of both."""


def _colourless(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    red, green, blue = np.moveaxis(images, 3, 0)
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return (largest - smallest).mean((1, 2)) < GREY


def _cut(images: NDArray[np.float32], window: tuple[float, float, float]) -> NDArray[np.float32]:
    """A window of each image, at the size of the whole."""
    top, left, share = window
    down, across = _bilinear(top, share), _bilinear(left, share)
    lines = np.tensordot(images, down, (1, 1))  # [n, column, colour, line]
    return np.tensordot(lines, across, (1, 1)).transpose(0, 2, 3, 1)


def _bilinear(start: float, share: float) -> NDArray[np.float32]:
    """Weights [SIDE, SIDE] by which a part of a line is interpolated to its whole length."""
    at = np.clip((np.arange(SIDE) + 0.5) * share + start * SIDE - 0.5, 0, SIDE - 1)
    before = np.minimum(np.floor(at).astype(np.int64), SIDE - 2)
    weights = np.zeros((SIDE, SIDE), np.float32)
    weights[np.arange(SIDE), before] = 1 - (at - before)
    weights[np.arange(SIDE), before + 1] = at - before
    return weights


def _standardised(images: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = images.reshape(len(images), 3 * SIDE * SIDE)
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
