"""The three Triton kernels behind `blurtrain.blur.fused`. Import it where Triton is installed only.

Geometry is a row of integers for each image, see GEOMETRY; axis 0 is that of the rows, 1 that of the columns. Positions
are fractions of integers, so that they are exact: pixel t of a crop of `length` is, for pixel j of the `size` that it
is resized to, |size (2 t + 1) - length (2 j + 1)| / (2 max(length, size)) away, in units of the stretched filter.
"""

import triton
import triton.language as tl

GEOMETRY = tl.constexpr(7)
"""Integers an image: top, left, height, width, flip, radius of the Gaussian, and the bits of its sigma (float32)."""
ALIGNED = tl.constexpr(16)
"""Bands begin at multiples of so many pixels, for loads of several at once."""


@triton.jit
def _of_axis(geometry, n, AXIS: tl.constexpr):
    """Where the crop begins, its length, and whether it is mirrored, along an axis."""
    start = tl.load(geometry + n * GEOMETRY + AXIS)
    length = tl.load(geometry + n * GEOMETRY + 2 + AXIS)
    flip = tl.load(geometry + n * GEOMETRY + 4) * AXIS
    return start, length, flip


@triton.jit
def _filtered(distance, SUPPORT: tl.constexpr):
    """The resampling filter: a triangle (support 1), or Keys' cubic with a = -0.5 (support 2)."""
    if SUPPORT == 1:
        return tl.maximum(1.0 - distance, 0.0)
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((2.5 - 0.5 * distance) * distance - 4.0) * distance + 2.0
    return tl.where(distance < 1.0, near, tl.where(distance < 2.0, far, 0.0))


@triton.jit
def tables(
    geometry, gaussians, inverse_sums, size, gaussian_pitch, size_pitch,
    AXIS: tl.constexpr, SUPPORT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program an image: what `operators` looks up.

    gaussians [N, gaussian_pitch]: taps of unit sum, those of all distances that reflection maps to one another added
    up: of distances 0 to twice the size less two. inverse_sums [N, size_pitch]: of each pixel of the resized image, one
    over the sum of its filter's weights.
    """
    n = tl.program_id(0)
    step = tl.arange(0, BLOCK)
    radius = tl.load(geometry + n * GEOMETRY + 5)
    sigma = tl.load(geometry + n * GEOMETRY + 6).to(tl.float32, bitcast=True)
    per_sigma = 1.0 / tl.maximum(sigma, 1e-9)
    summed = tl.zeros([BLOCK], tl.float32)
    for first in range(0, radius + 1, BLOCK):
        away = first + step
        scaled = away.to(tl.float32) * per_sigma
        tap = tl.where(away <= radius, tl.exp(-0.5 * scaled * scaled), 0.0)
        summed += tl.where(away == 0, tap, 2.0 * tap)
    per_sum = 1.0 / tl.sum(summed, 0)
    period = tl.maximum(2 * size - 2, 1)
    folds = radius // period + 1
    for first in range(0, period + 1, BLOCK):
        distance = first + step
        folded = tl.zeros([BLOCK], tl.float32)
        for fold in range(-folds, folds + 1):
            away = tl.abs(distance + fold * period)
            scaled = away.to(tl.float32) * per_sigma
            folded += tl.where(away <= radius, tl.exp(-0.5 * scaled * scaled), 0.0)
        tl.store(gaussians + n * gaussian_pitch + distance, folded * per_sum, mask=distance <= period)

    length = _of_axis(geometry, n, AXIS)[1]
    longest = tl.maximum(length, size)
    taps = (2 * SUPPORT * longest + size - 1) // size + 1
    for first in range(0, size, BLOCK):
        j = first + step
        centre = length * (2 * j + 1)
        begin = tl.maximum(centre + size - 2 * SUPPORT * longest, 0) // (2 * size)
        total = tl.zeros([BLOCK], tl.float32)
        for k in range(0, taps):
            t = begin + k
            distance = tl.abs(size * (2 * t + 1) - centre).to(tl.float32) / (2 * longest).to(tl.float32)
            total += tl.where(t < length, _filtered(distance, SUPPORT), 0.0)
        tl.store(inverse_sums + n * size_pitch + j, 1.0 / tl.where(j < size, total, 1.0), mask=j < size)


@triton.jit
def operators(
    geometry, gaussians, inverse_sums, matrices, bands, scales, size, tiles, gaussian_pitch, size_pitch, pitch,
    AXIS: tl.constexpr, SUPPORT: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a tile of TILE rows of the operator of an image along an axis: blur times flipped, resized crop.

    matrices [N, tiles TILE, pitch]: weights by pixel of the stored image, written only where a tile's band lies.
    bands [N, tiles, 2]: where that begins and ends. scales [N, tiles TILE]: one over the sum of the weights of a row as
    they are once rounded: with it they add up to one, so that what is constant stays so.
    """
    n = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    start, length, flip = _of_axis(geometry, n, AXIS)
    radius = tl.load(geometry + n * GEOMETRY + 5)
    longest = tl.maximum(length, size)
    row = tile * TILE + tl.arange(0, TILE)
    shown = tl.minimum(row, size - 1)
    i = tl.where(flip != 0, size - 1 - shown, shown)  # a Gaussian is symmetric: rows of it are mirrored as pixels are
    one, other = tile * TILE, tl.minimum(tile * TILE + TILE, size) - 1
    low = tl.where(flip != 0, size - 1 - other, one)
    high = tl.where(flip != 0, size - 1 - one, other)
    least, most = tl.maximum(low - radius, 0), tl.minimum(high + radius, size - 1)
    begin = tl.maximum(length * (2 * least + 1) + size - 2 * SUPPORT * longest, 0) // (2 * size)
    end = start + tl.minimum((length * (2 * most + 1) + size + 2 * SUPPORT * longest) // (2 * size), length)
    begin = (start + begin) // ALIGNED * ALIGNED
    tl.store(bands + (n * tiles + tile) * 2, begin)
    tl.store(bands + (n * tiles + tile) * 2 + 1, end)

    mirrored = (low <= radius) | (size - 1 - high <= radius)
    gaussian, inverse = gaussians + n * gaussian_pitch, inverse_sums + n * size_pitch
    at = matrices + (n * tiles * TILE + row)[:, None] * pitch
    sums = tl.zeros([TILE], tl.float32)
    for first in range(begin, end, BLOCK):
        s = first + tl.arange(0, BLOCK)
        centre = size * (2 * (s - start) + 1)
        inside = (s >= start) & (s < start + length)
        before = centre - 2 * SUPPORT * longest - length  # pixels j of the resized image that s is part of are beyond
        j = tl.where(before < 0, 0, tl.maximum(before, 0) // (2 * length) + 1)
        weights = tl.zeros([TILE, BLOCK], tl.float32)
        for _ in range(0, (2 * SUPPORT * longest + length - 1) // length + 1):
            distance = tl.abs(centre - length * (2 * j + 1)).to(tl.float32) / (2 * longest).to(tl.float32)
            met = inside & (j < size)
            part = tl.where(met, _filtered(distance, SUPPORT), 0.0) * tl.load(inverse + j, mask=met, other=0.0)
            reached = tl.load(gaussian + tl.abs(i[:, None] - j[None, :]), mask=met[None, :], other=0.0)
            weights += part[None, :] * reached
            if mirrored:  # the two border pixels are met only once
                inner = met & (j > 0) & (j < size - 1)
                reflected = tl.load(gaussian + i[:, None] + j[None, :], mask=inner[None, :], other=0.0)
                weights += part[None, :] * reflected
            j += 1
        rounded = weights.to(matrices.dtype.element_ty)
        sums += tl.sum(rounded.to(tl.float32), 1)
        tl.store(at + s[None, :], rounded)
    tl.store(scales + n * tiles * TILE + row, 1.0 / sums)


@triton.jit
def _centred(pixels, at, inside, FACTOR: tl.constexpr):
    """8-bit values less 128."""
    return (tl.load(pixels + at, mask=inside, other=128).to(tl.float32) - 128.0).to(FACTOR)


@triton.jit
def _multiplied(a, b, total):
    """total + a b, summed in float32, and not by TF32."""
    return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def _stored(out, at, inside, values, factor, shift):
    tl.store(out + at, (values * factor + shift).to(out.dtype.element_ty), mask=inside)


@triton.jit
def product(
    images, rows, columns, row_bands, column_bands, row_scales, column_scales, out,
    factor_0, factor_1, factor_2, shift_0, shift_1, shift_2,
    image_stride, channel_stride, row_stride, column_stride,
    side_h, side_w, size_h, size_w, row_tiles, column_tiles, row_pitch, column_pitch,
    TILE_H: tl.constexpr, TILE_W: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    """One program a tile of TILE_H x TILE_W pixels of the result, all three channels: rows X columns^T, normalised.

    BLOCK_W columns of the image at a time: their product with the band of `rows`, from which stays in registers, times
    those of `columns`, is added to the tile. images: uint8 with any strides; out [N, 3, size_h, size_w].
    """
    n = (tl.program_id(0) // (row_tiles * column_tiles)).to(tl.int64)
    down = tl.program_id(0) // column_tiles % row_tiles
    across = tl.program_id(0) % column_tiles
    i = down * TILE_H + tl.arange(0, TILE_H)
    j = across * TILE_W + tl.arange(0, TILE_W)
    row_band = row_bands + (n * row_tiles + down) * 2
    column_band = column_bands + (n * column_tiles + across) * 2
    top, bottom = tl.multiple_of(tl.load(row_band), ALIGNED), tl.load(row_band + 1)
    left, right = tl.multiple_of(tl.load(column_band), ALIGNED), tl.load(column_band + 1)
    row_at = rows + (n * row_tiles * TILE_H + i)[:, None] * row_pitch
    column_at = columns + (n * column_tiles * TILE_W + j)[None, :] * column_pitch
    row_scale = tl.load(row_scales + n * row_tiles * TILE_H + i)[:, None]
    column_scale = tl.load(column_scales + n * column_tiles * TILE_W + j)[None, :]
    first = images + n * image_stride
    second, third = first + channel_stride, first + 2 * channel_stride
    factor: tl.constexpr = rows.dtype.element_ty

    red = tl.zeros([TILE_H, TILE_W], tl.float32)
    green = tl.zeros([TILE_H, TILE_W], tl.float32)
    blue = tl.zeros([TILE_H, TILE_W], tl.float32)
    for begin in range(left, right, BLOCK_W):
        x = begin + tl.arange(0, BLOCK_W)
        part_0 = tl.zeros([TILE_H, BLOCK_W], tl.float32)
        part_1 = tl.zeros([TILE_H, BLOCK_W], tl.float32)
        part_2 = tl.zeros([TILE_H, BLOCK_W], tl.float32)
        for above in range(top, bottom, BLOCK_H):
            y = above + tl.arange(0, BLOCK_H)
            weights = tl.load(row_at + y[None, :])
            at = y[:, None] * row_stride + x[None, :] * column_stride
            inside = (y < side_h)[:, None] & (x < side_w)[None, :]
            part_0 = _multiplied(weights, _centred(first, at, inside, factor), part_0)
            part_1 = _multiplied(weights, _centred(second, at, inside, factor), part_1)
            part_2 = _multiplied(weights, _centred(third, at, inside, factor), part_2)
        weights = tl.load(column_at + x[:, None])
        red = _multiplied((part_0 * row_scale).to(factor), weights, red)
        green = _multiplied((part_1 * row_scale).to(factor), weights, green)
        blue = _multiplied((part_2 * row_scale).to(factor), weights, blue)

    at = i[:, None] * size_w + j[None, :]
    inside = (i < size_h)[:, None] & (j < size_w)[None, :]
    plane = size_h * size_w
    own = out + n * 3 * plane
    _stored(own, at, inside, red * column_scale, factor_0, shift_0)
    _stored(own + plane, at, inside, green * column_scale, factor_1, shift_1)
    _stored(own + 2 * plane, at, inside, blue * column_scale, factor_2, shift_2)
