"""Loops that Numba compiles: resize and symmetric blur of one image along its axes, on one core.

Both go down the columns first, many columns at a time, then along the rows. What is being summed stays in the nearest
caches: a blur keeps one line, a resize STRIP lines, which it turns by a quarter so that it again sums many at a time.
"""

import numpy as np
from numpy.typing import NDArray

from blurtrain.compiling import compiled, inlined

STRIP = 32
"""Lines of a resized image at a time."""
_U = np.uintp


@compiled
def resize(
    lines: NDArray,
    channels: int,
    rows: tuple[NDArray[np.int64], NDArray[np.float32]],
    columns: tuple[NDArray[np.int64], NDArray[np.float32]],
    affine: tuple[NDArray[np.float32], NDArray[np.float32]],
    out: tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint16]],
) -> None:
    """Into `out` the image `lines` [H, W * channels], whose channels lie beside each other, as [channels, h, w].

    rows, columns: for each line and column of the result the first that it is made of, [h] and [w], and the weights of
    that and the next ones, [h, K] and [w, L]; those of the rows come in ascending order. affine, out: as of `blur`.
    """
    (tops, down), (lefts, across) = rows, columns
    (factors, shifts), (floats, whole, halves) = affine, out
    height, width = len(tops), len(lefts)
    many, left = down.shape[1], lefts.min()
    long = (lefts.max() + across.shape[1] - left) * channels
    ring, held = np.empty(many * long, np.float32), np.full(many, -1)
    strip, sideways = np.zeros(STRIP * long, np.float32), np.empty(long * STRIP, np.float32)
    step = channels * STRIP  # values of a column of a strip
    tile = np.empty(width * step, np.float32)
    above, before = np.empty(many, np.int64), np.empty(across.shape[1], np.int64)
    flat = lines.reshape(-1)
    for y in range(0, height, STRIP):
        few = min(STRIP, height - y)
        for r in range(few):
            for line in range(tops[y + r], tops[y + r] + many):
                if held[line % many] != line:  # each is made a float once
                    held[line % many] = line
                    to, start = _U(line % many * long), _U(line * lines.shape[1] + left * channels)
                    for x in range(long):
                        ring[to + _U(x)] = flat[start + _U(x)]
            for k in range(many):
                above[k] = (tops[y + r] + k) % many * long
            _add(ring, above, down[y + r], strip, r * long, long)
        for x in range(long):
            to, start = _U(x * STRIP), _U(x)
            for r in range(STRIP):
                sideways[to + _U(r)] = strip[start + _U(r) * _U(long)]
        for x in range(width):
            for k in range(across.shape[1]):
                before[k] = (lefts[x] - left + k) * step
            _add(sideways, before, across[x], tile, x * step, step)
        for c in range(channels):
            _turn_back(tile, channels, c, factors[c], shifts[c], floats, whole, halves, y, few, height, width)


@compiled
def _add(
    values: NDArray[np.float32],
    places: NDArray[np.int64],
    weights: NDArray[np.float32],
    total: NDArray[np.float32],
    to: int,
    width: int,
) -> None:
    """To the place `to` of `total` the weighted sum of the `width` values from each of `places` on, four in a sweep."""
    at, k = _U(to), len(weights) % 4
    if k == 0:
        for i in range(width):
            total[at + _U(i)] = 0
    for j in range(k):
        a, p = _U(places[j]), weights[j]
        if j == 0:
            for i in range(width):
                total[at + _U(i)] = p * values[a + _U(i)]
        else:
            for i in range(width):
                total[at + _U(i)] += p * values[a + _U(i)]
    while k < len(weights):
        a, b, c, d = _U(places[k]), _U(places[k + 1]), _U(places[k + 2]), _U(places[k + 3])
        p, q, r, s = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for i in range(width):
            x = _U(i)
            total[at + x] += (p * values[a + x] + q * values[b + x]) + (r * values[c + x] + s * values[d + x])
        k += 4


@compiled
def _turn_back(
    tile: NDArray[np.float32],
    channels: int,
    c: int,
    factor: np.float32,
    shift: np.float32,
    floats: NDArray[np.float32],
    whole: NDArray[np.uint8],
    halves: NDArray[np.uint16],
    y: int,
    few: int,
    height: int,
    width: int,
) -> None:
    """Channel c of the tile [w, channels, STRIP] as lines y ... y + few of the result; see `_keep`."""
    step, bits = _U(width), tile.view(np.uint32)
    for x in range(width):
        to, start = _U((c * height + y) * width + x), _U((x * channels + c) * STRIP)
        if factor != 1 or shift != 0:
            for r in range(STRIP):
                tile[start + _U(r)] = tile[start + _U(r)] * factor + shift
        if len(floats):
            if few == STRIP:  # a number that is known beforehand is quicker
                for r in range(STRIP):
                    floats[to + _U(r) * step] = tile[start + _U(r)]
            else:
                for r in range(few):
                    floats[to + _U(r) * step] = tile[start + _U(r)]
        elif len(whole):
            for r in range(STRIP):
                tile[start + _U(r)] = min(max(tile[start + _U(r)], np.float32(0)), np.float32(255)) + np.float32(0.5)
            for r in range(few):
                whole[to + _U(r) * step] = np.uint8(np.int32(tile[start + _U(r)]))
        else:
            for r in range(few):
                halves[to + _U(r) * step] = _upper_half(bits[start + _U(r)])


@compiled
def blur(
    image: NDArray,
    down: tuple[NDArray[np.float32], NDArray[np.int64]],
    across: tuple[NDArray[np.float32], NDArray[np.int64]],
    grid: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    affine: tuple[NDArray[np.float32], NDArray[np.float32]],
    out: tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint16]],
) -> None:
    """Into `out` the `image` [C, H, W], blurred along both axes.

    down, across: weights of the middle pixel, and of each pair of pixels 1, 2, ... away from it; and which row (column)
    stands at each place of the padded image. grid: the rows that are computed; and, if not all are, for each row the
    first of those that it is made of, and their weights [H, K]. affine: of each channel what the result is multiplied
    by, and what is then added. out: as many values, as floats, or bytes, or the bits of bfloat16; two of the three are
    empty.
    """
    channels, height, width = image.shape
    # Out of their tuples once: to take them out counts references, which costs as much as some pixels.
    (taps_down, row_at), (taps_across, column_at), (factors, shifts) = down, across, affine
    (rows, first, weights), (floats, whole, halves) = grid, out
    reach_down, reach = len(taps_down) - 1, len(taps_across) - 1
    long, wide = width + 2 * reach, reach_down >= 8 and not len(weights)  # else a row takes no sweep but one or two
    plane, line = np.empty(height * width, np.float32), np.empty(2 * long, np.float32)
    total, few = np.empty(width, np.float32), np.empty(len(rows) * width if len(weights) else 0, np.float32)
    above, below = np.empty(reach_down + 2, np.int64), np.empty(reach_down + 2, np.int64)
    lefts, rights = np.empty(reach + 1, np.int64), np.empty(reach + 1, np.int64)
    lines, given = np.empty(weights.shape[1], np.int64), image.reshape(-1)
    for c in range(channels):
        start = _U(c * height * width)
        for i in range(height * width):
            plane[_U(i)] = given[start + _U(i)]
        k = 0
        while k < len(rows):
            y, many = rows[k] + reach_down, 2 if wide and k + 1 < len(rows) else 1
            for d in range(reach_down + many):
                above[d] = row_at[max(y - d, 0)] * width
                below[d] = row_at[y + d] * width
            if many == 2:  # which share what they are summed from
                _add_pairs_of_two(plane, above, below, taps_down, line, reach, reach + long, width)
            else:
                _add_pairs(plane, above[0], above, below, taps_down, line, reach, width)
            for j in range(many):
                at = j * long + reach
                for x in range(reach):
                    line[j * long + x] = line[at + column_at[x]]
                    line[at + width + x] = line[at + column_at[reach + width + x]]
                for d in range(reach + 1):
                    lefts[d] = at - d
                    rights[d] = at + d
                if len(weights):
                    _add_pairs(line, at, lefts, rights, taps_across, few, k * width, width)
                else:
                    _add_pairs(line, at, lefts, rights, taps_across, total, 0, width)
                    _keep(total, factors[c], shifts[c], floats, whole, halves, (c * height + k + j) * width)
            k += many
        for y in range(len(weights) and height):
            for k in range(weights.shape[1]):
                lines[k] = (first[y] + k) * width
            _add(few, lines, weights[y], total, 0, width)
            _keep(total, factors[c], shifts[c], floats, whole, halves, (c * height + y) * width)


@inlined
def _add_pairs(
    plane: NDArray[np.float32],
    middle: int,
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    taps: NDArray[np.float32],
    total: NDArray[np.float32],
    to: int,
    width: int,
) -> None:
    """To the place `to` of `total` the values of `plane` from `middle` on, and of the pairs of places around it, by
    their taps. Four pairs in a sweep, after what is over of them with the middle."""
    at, m, w = _U(to), _U(middle), taps[0]
    k = (len(taps) - 1) % 4
    if k == 0:
        for i in range(width):
            x = _U(i)
            total[at + x] = w * plane[m + x]
    elif k == 1:
        a, b, p = _U(before[1]), _U(after[1]), taps[1]
        for i in range(width):
            x = _U(i)
            total[at + x] = w * plane[m + x] + p * (plane[a + x] + plane[b + x])
    elif k == 2:
        a, b, p = _U(before[1]), _U(after[1]), taps[1]
        c, d, q = _U(before[2]), _U(after[2]), taps[2]
        for i in range(width):
            x = _U(i)
            total[at + x] = w * plane[m + x] + (p * (plane[a + x] + plane[b + x]) + q * (plane[c + x] + plane[d + x]))
    else:
        a, b, p = _U(before[1]), _U(after[1]), taps[1]
        c, d, q = _U(before[2]), _U(after[2]), taps[2]
        e, f, r = _U(before[3]), _U(after[3]), taps[3]
        for i in range(width):
            x = _U(i)
            total[at + x] = (w * plane[m + x] + p * (plane[a + x] + plane[b + x])) + (
                q * (plane[c + x] + plane[d + x]) + r * (plane[e + x] + plane[f + x])
            )
    k += 1
    while k < len(taps):
        a, b, p = _U(before[k]), _U(after[k]), taps[k]
        c, d, q = _U(before[k + 1]), _U(after[k + 1]), taps[k + 1]
        e, f, r = _U(before[k + 2]), _U(after[k + 2]), taps[k + 2]
        g, h, s = _U(before[k + 3]), _U(after[k + 3]), taps[k + 3]
        for i in range(width):
            x = _U(i)
            total[at + x] += (p * (plane[a + x] + plane[b + x]) + q * (plane[c + x] + plane[d + x])) + (
                r * (plane[e + x] + plane[f + x]) + s * (plane[g + x] + plane[h + x])
            )
        k += 4


@compiled
def _add_pairs_of_two(
    plane: NDArray[np.float32],
    above: NDArray[np.int64],
    below: NDArray[np.int64],
    taps: NDArray[np.float32],
    total: NDArray[np.float32],
    to: int,
    next_to: int,
    width: int,
) -> None:
    """`_add_pairs` for a row and the next one, to two places. above, below: the rows 0, 1, 2, ... away from the first
    of them; one more of them than there are taps."""
    at, next_at, w, m, n = _U(to), _U(next_to), taps[0], _U(above[0]), _U(below[1])
    for i in range(width):
        x = _U(i)
        total[at + x] = w * plane[m + x]
        total[next_at + x] = w * plane[n + x]
    k = 1
    while k + 4 <= len(taps):
        a, b, c, d, e = _U(above[k - 1]), _U(above[k]), _U(above[k + 1]), _U(above[k + 2]), _U(above[k + 3])
        f, g, h, j, t = _U(below[k]), _U(below[k + 1]), _U(below[k + 2]), _U(below[k + 3]), _U(below[k + 4])
        p, q, r, s = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
        for i in range(width):
            x = _U(i)
            total[at + x] += (p * (plane[b + x] + plane[f + x]) + q * (plane[c + x] + plane[g + x])) + (
                r * (plane[d + x] + plane[h + x]) + s * (plane[e + x] + plane[j + x])
            )
            total[next_at + x] += (p * (plane[a + x] + plane[g + x]) + q * (plane[b + x] + plane[h + x])) + (
                r * (plane[c + x] + plane[j + x]) + s * (plane[d + x] + plane[t + x])
            )
        k += 4
    while k < len(taps):
        a, b, f, g, p = _U(above[k - 1]), _U(above[k]), _U(below[k]), _U(below[k + 1]), taps[k]
        for i in range(width):
            x = _U(i)
            total[at + x] += p * (plane[b + x] + plane[f + x])
            total[next_at + x] += p * (plane[a + x] + plane[g + x])
        k += 1


@inlined
def _keep(
    total: NDArray[np.float32],
    factor: np.float32,
    shift: np.float32,
    floats: NDArray[np.float32],
    whole: NDArray[np.uint8],
    halves: NDArray[np.uint16],
    to: int,
) -> None:
    """A line, multiplied and shifted, from the place `to` on: as it is, to the nearest of 0..255, or to the nearest in
    bfloat16."""
    at = _U(to)
    if len(floats):
        for x in range(len(total)):
            floats[at + _U(x)] = total[x] * factor + shift
    elif len(whole):
        for x in range(len(total)):
            value = min(max(total[x] * factor + shift, np.float32(0)), np.float32(255))
            whole[at + _U(x)] = np.uint8(np.int32(value + np.float32(0.5)))
    else:
        for x in range(len(total)):
            total[x] = total[x] * factor + shift
        bits = total.view(np.uint32)
        for x in range(len(total)):
            halves[at + _U(x)] = _upper_half(bits[x])


@compiled
def _upper_half(bits: np.uint32) -> np.uint16:
    """A float as bfloat16, which is the upper half of its bits: the nearest, of two as near the even one."""
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
