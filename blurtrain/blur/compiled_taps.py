"""Loops that Numba compiles: convolution of one image on one core, by the taps of its kernel."""

import numpy as np
from numpy.typing import NDArray

from blurtrain.compiling import compiled

_PIECE = 4096  # pixels at a time: they, and what they are summed from, fit into 48 KB


@compiled
def largest_bits(values: NDArray[np.float32]) -> np.int32:
    """The largest magnitude of the values, as the bits of a float32; NaN is larger than anything else."""
    bits = values.reshape(-1).view(np.int32)
    most = np.int32(0)
    for x in range(len(bits)):
        most = max(most, bits[x] & np.int32(0x7FFFFFFF))  # integers are compared many at a time, other than floats
    return most


@compiled
def by_taps(
    image: NDArray[np.float32],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    weights: NDArray[np.float32],
    normal: tuple[NDArray[np.float32], NDArray[np.float32]],
    out: NDArray[np.float32],
) -> None:
    """Into `out` [C, H, W] the sum of `weights` times the pixels of the padded `image`, so many rows and columns on.

    places: which row and which column of the image stand at each place of the padded one. normal: of each channel what
    is taken off the sum, and what the rest is multiplied by.
    """
    height, width = out.shape[1:]
    wide, many = len(places[1]), len(weights)
    padded = np.empty((len(places[0]), wide), np.float32)
    plane, starts = padded.reshape(-1), rows * wide + columns
    some = max(1, _PIECE // wide)
    piece = np.empty(some * wide, np.float32)
    for c in range(out.shape[0]):
        _pad(image[c], places, padded)
        for top in range(0, height, some):
            few = min(some, height - top)
            total = piece[: (few - 1) * wide + width]  # whole lines at once: what lies between two is not used
            total[:] = 0
            rest = plane[top * wide :]
            t = 0
            while t + 8 <= many:
                _add_eight(rest, starts[t : t + 8], weights[t : t + 8], total)
                t += 8
            while t + 4 <= many:
                _add_four(rest, starts[t : t + 4], weights[t : t + 4], total)
                t += 4
            while t < many:
                _add(rest, starts[t], weights[t], total)
                t += 1
            _keep(piece, wide, few, normal[0][c], normal[1][c], out[c, top : top + few])


@compiled
def by_runs(
    image: NDArray[np.float32],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    rows: NDArray[np.int64],
    ends: NDArray[np.int64],
    columns: NDArray[np.int64],
    weights: NDArray[np.float32],
    scale: np.float32,
    normal: tuple[NDArray[np.float32], NDArray[np.float32]],
    out: NDArray[np.float32],
) -> None:
    """The same for runs: `weights` times the sums from their rows to their ends, in units of 1 / `scale`."""
    height, width = out.shape[1:]
    wide, many = len(places[1]), len(weights)
    sums = np.empty((len(places[0]) + 1, wide), np.int32)
    plane, starts, stops = sums.reshape(-1), rows * wide + columns, ends * wide + columns
    some = max(1, _PIECE // wide)
    piece = np.empty(some * wide, np.float32)
    for c in range(out.shape[0]):
        _run_sums(image[c], places, scale, sums)
        for top in range(0, height, some):
            few = min(some, height - top)
            total = piece[: (few - 1) * wide + width]
            total[:] = 0
            rest = plane[top * wide :]
            t = 0
            while t + 4 <= many:
                _add_four_runs(rest, starts[t : t + 4], stops[t : t + 4], weights[t : t + 4], total)
                t += 4
            while t < many:
                _add_run(rest, starts[t], stops[t], weights[t], total)
                t += 1
            _keep(piece, wide, few, normal[0][c], normal[1][c], out[c, top : top + few])


@compiled
def _pad(image: NDArray, places: tuple[NDArray, NDArray], padded: NDArray) -> None:
    rows, columns = places
    width = image.shape[1]
    left = (len(columns) - width) // 2
    right = left + width
    for y in range(len(rows)):
        given, line = image[rows[y]], padded[y]
        for x in range(left):
            line[x] = given[columns[x]]
            line[right + x] = given[columns[right + x]]
        inner = line[left:right]
        for x in range(width):
            inner[x] = given[x]


@compiled
def _run_sums(image: NDArray, places: tuple[NDArray, NDArray], scale: np.float32, sums: NDArray) -> None:
    """Running sums down the columns of the padded image, in 32 bits that may wrap around."""
    rows, columns = places
    width = image.shape[1]
    left = (len(columns) - width) // 2
    right = left + width
    sums[0] = 0
    for y in range(len(rows)):
        given, before, line = image[rows[y]], sums[y], sums[y + 1]
        for x in range(left):
            line[x] = before[x] + np.int32(scale * given[columns[x]])
            line[right + x] = before[right + x] + np.int32(scale * given[columns[right + x]])
        inner, above = line[left:right], before[left:right]
        for x in range(width):
            inner[x] = above[x] + np.int32(scale * given[x])


@compiled
def _keep(piece: NDArray, wide: int, few: int, least: np.float32, factor: np.float32, out: NDArray) -> None:
    for y in range(few):
        line, own = out[y], piece[y * wide :]
        for x in range(out.shape[1]):
            line[x] = (own[x] - least) * factor


@compiled
def _add(plane: NDArray, start: int, weight: np.float32, total: NDArray) -> None:
    a = plane[start:]
    for x in range(len(total)):
        total[x] += weight * a[x]


@compiled
def _add_four(plane: NDArray, starts: NDArray, weights: NDArray, total: NDArray) -> None:
    a, b, c, d = plane[starts[0] :], plane[starts[1] :], plane[starts[2] :], plane[starts[3] :]
    p, q, r, s = weights[0], weights[1], weights[2], weights[3]
    for x in range(len(total)):
        total[x] += (p * a[x] + q * b[x]) + (r * c[x] + s * d[x])


@compiled
def _add_eight(plane: NDArray, starts: NDArray, weights: NDArray, total: NDArray) -> None:
    a, b, c, d = plane[starts[0] :], plane[starts[1] :], plane[starts[2] :], plane[starts[3] :]
    e, f, g, h = plane[starts[4] :], plane[starts[5] :], plane[starts[6] :], plane[starts[7] :]
    p, q, r, s = weights[0], weights[1], weights[2], weights[3]
    t, u, v, w = weights[4], weights[5], weights[6], weights[7]
    for x in range(len(total)):
        total[x] += ((p * a[x] + q * b[x]) + (r * c[x] + s * d[x])) + ((t * e[x] + u * f[x]) + (v * g[x] + w * h[x]))


@compiled
def _add_run(plane: NDArray, start: int, stop: int, weight: np.float32, total: NDArray) -> None:
    a, b = plane[start:], plane[stop:]
    for x in range(len(total)):
        total[x] += weight * np.float32(np.int32(b[x] - a[x]))  # in 32 bits


@compiled
def _add_four_runs(plane: NDArray, starts: NDArray, stops: NDArray, weights: NDArray, total: NDArray) -> None:
    a, b, c, d = plane[starts[0] :], plane[starts[1] :], plane[starts[2] :], plane[starts[3] :]
    e, f, g, h = plane[stops[0] :], plane[stops[1] :], plane[stops[2] :], plane[stops[3] :]
    p, q, r, s = weights[0], weights[1], weights[2], weights[3]
    for x in range(len(total)):
        total[x] += (p * np.float32(np.int32(e[x] - a[x])) + q * np.float32(np.int32(f[x] - b[x]))) + (
            r * np.float32(np.int32(g[x] - c[x])) + s * np.float32(np.int32(h[x] - d[x]))
        )
