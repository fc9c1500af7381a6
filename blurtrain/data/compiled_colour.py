"""Loops that Numba compiles: the colour operations of `blurtrain.data.colour` on one image, on one core.

Most of them give each value of a channel another, whatever is around it: they are tables of 256 values, of which
several in a row are composed into one, and meet the pixels once. What a histogram says of such a table, it says without
the pixels.
"""

import numpy as np
from numpy.typing import NDArray

from blurtrain.compiling import compiled

_U = np.uintp
_WHOLE = np.float32(12582912)  # 1.5 * 2^23: a float that is added to it is rounded to a whole number, half to even


@compiled
def colour(
    image: NDArray[np.float32], order: NDArray[np.int64], strengths: NDArray[np.float32], levels: NDArray[np.uint8]
) -> None:
    """Change `image` [3, n], values about 0..255, to 8-bit values, after the operations `order` (places in OPERATIONS).

    strengths: of the first four operations. levels: memory for [3, n] values.
    """
    pixels = image.shape[1]
    flat, kept = image.reshape(-1), levels.reshape(-1)
    for i in range(3 * pixels):
        kept[_U(i)] = np.uint8(np.int32(_nearest(flat[_U(i)])))
    tables, counts = np.empty((3, 256), np.uint8), np.empty((3, 256), np.int64)
    _start(tables)
    pending, counted = False, False
    for which in order:
        if which in (2, 3):
            if pending:
                _apply(levels, tables)
                _start(tables)
                pending = False
            if which == 2:
                _saturate(levels, strengths[2])
            else:
                _turn(levels, strengths[3])
            counted = False
            continue
        if which in (4, 6) and not counted:
            _count(levels, counts)
            counted = True
        if which == 0:
            _brighten(tables, strengths[0])
        elif which == 1:
            _contrast(tables, _mean(levels, tables), strengths[1])
        elif which == 4:
            _equalise(tables, counts, pixels)
        elif which == 5:
            _posterise(tables)
        else:
            _stretch(tables, counts)
        pending = True
    for c in range(3):
        start = _U(c * pixels)
        if pending:
            table = tables[c].astype(np.float32)
            for i in range(pixels):
                flat[start + _U(i)] = table[kept[start + _U(i)]]
        else:
            for i in range(pixels):
                flat[start + _U(i)] = kept[start + _U(i)]


@compiled
def _nearest(value: np.float32) -> np.float32:
    """The nearest whole number in 0..255, of two as near the even one."""
    return (min(max(value, np.float32(0)), np.float32(255)) + _WHOLE) - _WHOLE


@compiled
def _start(tables: NDArray[np.uint8]) -> None:
    for c in range(3):
        for v in range(256):
            tables[c, v] = v


@compiled
def _apply(levels: NDArray[np.uint8], tables: NDArray[np.uint8]) -> None:
    flat, pixels = levels.reshape(-1), levels.shape[1]
    for c in range(3):
        start, table = _U(c * pixels), tables[c]
        for i in range(pixels):
            flat[start + _U(i)] = table[flat[start + _U(i)]]


@compiled
def _count(levels: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    """How many pixels of each channel have each value; into four tables in turn, so that none waits for the last."""
    flat, pixels = levels.reshape(-1), levels.shape[1]
    some = np.empty(4 * 256, np.int32)
    for c in range(3):
        some[:] = 0
        start, whole = _U(c * pixels), pixels // 4 * 4
        for i in range(0, whole, 4):
            at = start + _U(i)
            some[_U(flat[at])] += 1
            some[_U(256) + _U(flat[at + _U(1)])] += 1
            some[_U(512) + _U(flat[at + _U(2)])] += 1
            some[_U(768) + _U(flat[at + _U(3)])] += 1
        for i in range(whole, pixels):
            some[_U(flat[start + _U(i)])] += 1
        for v in range(256):
            counts[c, v] = np.int64(some[v]) + some[256 + v] + some[512 + v] + some[768 + v]


@compiled
def _brighten(tables: NDArray[np.uint8], factor: np.float32) -> None:
    for c in range(3):
        for v in range(256):
            tables[c, v] = np.uint8(np.int32(_nearest(tables[c, v] * factor)))


@compiled
def _contrast(tables: NDArray[np.uint8], mean: np.float32, factor: np.float32) -> None:
    for c in range(3):
        for v in range(256):
            tables[c, v] = np.uint8(np.int32(_nearest(_between(mean, np.float32(tables[c, v]), factor))))


@compiled
def _posterise(tables: NDArray[np.uint8]) -> None:
    for c in range(3):
        for v in range(256):
            tables[c, v] &= 0xF0


@compiled
def _equalise(tables: NDArray[np.uint8], counts: NDArray[np.int64], pixels: int) -> None:
    for c in range(3):
        now = np.zeros(256, np.int64)  # the histogram, as the table has changed it
        for v in range(256):
            now[tables[c, v]] += counts[c, v]
        brightest = 255
        while now[brightest] == 0:
            brightest -= 1
        step = (pixels - now[brightest]) // 255
        if step == 0:
            continue
        spread, below = np.empty(256, np.uint8), step // 2
        for v in range(256):
            spread[v] = min(below // step, 255)
            below += now[v]
        for v in range(256):
            tables[c, v] = spread[tables[c, v]]


@compiled
def _stretch(tables: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    for c in range(3):
        low, high = np.int64(255), np.int64(0)
        for v in range(256):
            if counts[c, v]:
                level = np.int64(tables[c, v])
                low, high = min(low, level), max(high, level)
        if low == high:
            continue
        factor = (np.float32(1) / np.float32(high - low)) * np.float32(255)  # in the order in which torch has it
        for v in range(256):
            tables[c, v] = np.uint8(np.int32(_nearest(np.float32(tables[c, v] - low) * factor)))


@compiled
def _between(start: np.float32, end: np.float32, weight: np.float32) -> np.float32:
    """`start` at weight 0, `end` at 1, and on beyond it: as torch.lerp computes it for weights of 1/2 and more."""
    return end - (end - start) * (np.float32(1) - weight)


@compiled
def _luma(red: np.float32, green: np.float32, blue: np.float32) -> np.float32:
    return np.float32(np.int32((np.float32(0.2989) * red + np.float32(0.587) * green) + np.float32(0.114) * blue))


@compiled
def _mean(levels: NDArray[np.uint8], tables: NDArray[np.uint8]) -> np.float32:
    """Mean luma of what the tables make of the pixels."""
    flat, pixels = levels.reshape(-1), levels.shape[1]
    red, green, blue = tables[0].astype(np.float32), tables[1].astype(np.float32), tables[2].astype(np.float32)
    total = np.int64(0)
    for i in range(pixels):
        r, g, b = _U(i), _U(i + pixels), _U(i + 2 * pixels)
        total += np.int64(_luma(red[flat[r]], green[flat[g]], blue[flat[b]]))
    return np.float32(total / pixels)


@compiled
def _saturate(levels: NDArray[np.uint8], factor: np.float32) -> None:
    flat, pixels = levels.reshape(-1), levels.shape[1]
    for i in range(pixels):
        r, g, b = _U(i), _U(i) + _U(pixels), _U(i) + _U(2 * pixels)
        red, green, blue = np.float32(flat[r]), np.float32(flat[g]), np.float32(flat[b])
        grey = _luma(red, green, blue)
        flat[r] = np.uint8(np.int32(_nearest(_between(grey, red, factor))))
        flat[g] = np.uint8(np.int32(_nearest(_between(grey, green, factor))))
        flat[b] = np.uint8(np.int32(_nearest(_between(grey, blue, factor))))


@compiled
def _turn(levels: NDArray[np.uint8], turn: np.float32) -> None:
    """See `blurtrain.data.colour.hexcone`."""
    flat, pixels = levels.reshape(-1), levels.shape[1]
    ahead = np.empty(3, np.float32)  # of red, green, blue
    for c in range(3):
        ahead[c] = np.float32(6) * turn - np.float32(2 * c)
        ahead[c] -= np.float32(6) * np.ceil((ahead[c] + np.float32(2)) / np.float32(6))
        ahead[c] += np.float32(3)
    ahead_red, ahead_green, ahead_blue = ahead[0], ahead[1], ahead[2]
    for i in range(pixels):
        r, g, b = _U(i), _U(i) + _U(pixels), _U(i) + _U(2 * pixels)
        red, green, blue = np.float32(flat[r]), np.float32(flat[g]), np.float32(flat[b])
        value = max(max(red, green), blue)
        chroma = value - min(min(red, green), blue)
        last = (red - green) + np.float32(4) * chroma
        middle = (blue - red) + np.float32(2) * chroma
        sixth = last if green != value else middle
        sixth = sixth if red != value else green - blue
        sixth = sixth / max(chroma, np.float32(1))
        flat[r] = np.uint8(np.int32(_nearest(value - chroma * _away(sixth + ahead_red))))
        flat[g] = np.uint8(np.int32(_nearest(value - chroma * _away(sixth + ahead_green))))
        flat[b] = np.uint8(np.int32(_nearest(value - chroma * _away(sixth + ahead_blue))))


@compiled
def _away(sixths: np.float32) -> np.float32:
    return min(max(abs(abs(sixths) - np.float32(3)) - np.float32(1), np.float32(0)), np.float32(1))
