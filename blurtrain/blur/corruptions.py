"""The blurs of ImageNet-C at severity 1..5 (Hendrycks & Dietterich, ICLR 2019), by their published parameters.

Parameters are in pixels of 224 x 224 images, for which they were made. `gaussian`, `defocus` and `motion` are kernels;
`zoom` and `glass` are operations on batches [N, C, H, W], differentiable, on the images' device. What differs here:

- Borders reflect without repeating the edge pixel, as published for defocus; the published gaussian, glass and motion
  repeat the edge pixel. Zoom needs no border.
- Nothing is rounded: published images were cut to 8 bit (in glass also after the first blur) and saved as JPEG of
  quality 85.
- Kernels have unit sum. The published defocus brightens by 1.3 and 1.1 % at severity 4 and 5.

`blurtrain.blur.as_published` has them as they were published.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur import kernels
from blurtrain.blur.operators import gaussian_blur
from blurtrain.blur.point_spread import check_integer, check_number, unit_sum

GAUSSIAN = (1.0, 2.0, 3.0, 4.0, 6.0)  # sigma
DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius, sigma of the antialiasing
MOTION = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))  # radius, sigma
MOTION_ANGLE = 45.0  # degrees: drawn uniformly from -45..45 for every image
ZOOM = ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03))  # numpy.arange of factors
GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # sigma, largest shift, passes

_ANGLE_DRAWS, _GLASS_DRAWS = 1, 2  # apart, so that a sample's glass does not depend on its angle
_LIMIT = 2**32 - 1


def gaussian(severity: int) -> NDArray[np.float64]:
    """Gaussian kernel of sigma 1, 2, 3, 4, 6, cut at 4 sigmas. ValueError for a severity not in 1..5."""
    return kernels.gaussian(GAUSSIAN[_level(severity)])


@functools.cache
def defocus(severity: int) -> NDArray[np.float64]:
    """Disk kernel, hard (radius 3, 4, 6, 8, 10), then smoothed by a Gaussian of 3 taps (5 at radius 10).

    Smoothed on the published grid: 17 x 17 up to radius 8, else 21 x 21, reflecting at its own border (where the disks
    of radius 8 and 10 touch it). ValueError for a severity not in 1..5.
    """
    radius, sigma = DEFOCUS[_level(severity)]
    half, reach = (8, 1) if radius <= 8 else (radius, 2)
    disk = np.pad(kernels.disk(radius), half - radius)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded, side = np.pad(disk, reach, mode="reflect"), 2 * half + 1
    rows = sum(tap * padded[shift : shift + side] for shift, tap in enumerate(taps))
    return unit_sum(sum(tap * rows[:, shift : shift + side] for shift, tap in enumerate(taps)))


@functools.lru_cache(maxsize=256)
def motion(severity: int, angle: float) -> NDArray[np.float64]:
    """Motion kernel as ImageMagick makes it: half a Gaussian, from its peak at the centre along a line, one-sided.

    2 * radius + 1 taps exp(-i^2 / (2 sigma^2)), i = 0, 1, ..., at the pixels nearest to i steps along the line; a
    pixel gathers light from `angle` degrees, clockwise as seen (ImageMagick's; the others of this package turn
    counter-clockwise), so a point's trail leads the other way. Its centroid is off centre: the image shifts by a few
    pixels, as published. See `motion_angle` for the draw. ValueError for a severity not in 1..5 or an angle that is
    not finite.
    """
    radius, sigma = MOTION[_level(severity)]
    check_number("angle", angle, -math.inf)
    steps = np.arange(2 * radius + 1)
    turn = math.radians(angle)
    rows, columns = (np.ceil(steps * part - 0.5).astype(np.intp) for part in (math.sin(turn), math.cos(turn)))
    half = int(max(np.abs(rows).max(), np.abs(columns).max()))
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    np.add.at(kernel, (half - rows, half - columns), np.exp(-(steps**2) / (2 * sigma**2)))
    return unit_sum(kernel)


def motion_angle(seed: int, index: int) -> float:
    """Degrees for sample `index`, uniform in -45..45; a function of (seed, index) alone."""
    return float(MOTION_ANGLE * (2 * _draws(_ANGLE_DRAWS, seed, index).random() - 1))


def zoom_factors(severity: int) -> NDArray[np.float64]:
    """The magnifications that `zoom` averages: 12, 16, 11, 13, 11 (the first range reaches 1.11, by its rounding)."""
    return np.arange(*ZOOM[_level(severity)])


def zoom(images: Tensor, severity: int) -> Tensor:
    """The mean of the images and of magnified copies of them (linear interpolation, centred, cropped to size).

    images: [N, C, H, W], any unit. The dtype is kept, except that uint8 comes back as float32; computed in float32 (or
    float64 for float64). The image itself counts twice: once as such and once as the copy of factor 1. Sides are zoomed
    each for itself, so H and W may differ (published: square). Linear and differentiable: one matrix per axis and
    factor. ValueError for a severity not in 1..5 or images that are not 4-D.
    """
    factors = zoom_factors(severity)
    _check_images(images)
    exact = torch.float64 if images.dtype == torch.float64 else torch.float32
    total = source = images.to(exact)
    for factor in factors.tolist():
        rows, columns = (_zoom_matrix(side, factor, exact, images.device) for side in images.shape[-2:])
        total = total + rows @ (source @ columns.mT)
    mean = total / (len(factors) + 1)
    return mean.to(images.dtype) if images.is_floating_point() else mean


@functools.lru_cache(maxsize=128)
def _zoom_matrix(side: int, factor: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[side, side]: the central ceil(side / factor) pixels, spread evenly from first to last over round(that * factor)
    positions, of which the central `side` are kept; linear interpolation (as scipy.ndimage.zoom at order 1)."""
    below, above, part = zoom_taps(side, factor)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side), below), 1 - part)
    np.add.at(matrix, (np.arange(side), above), part)
    return torch.from_numpy(matrix).to(device, dtype)


def zoom_taps(side: int, factor: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Of each of `side` pixels of a magnified axis the two pixels that it lies between, and the share of the second,
    0..1: [side] each."""
    kept = math.ceil(side / factor)
    first, grown = (side - kept) // 2, round(kept * factor)
    steps = np.arange(side, dtype=np.float64) + (grown - side) // 2
    position: NDArray[np.float64] = np.asarray(steps * ((kept - 1) / max(grown - 1, 1)), np.float64)
    below: NDArray[np.intp] = np.minimum(position.astype(np.intp), max(kept - 2, 0))
    return first + below, first + np.minimum(below + 1, kept - 1), position - below


def glass(images: Tensor, severity: int, seed: int, indices: Sequence[int] | Tensor) -> Tensor:
    """Frosted glass: Gaussian blur, pixels moved about locally (see `glass_map`), the same Gaussian blur again.

    images: [N, C, H, W], any unit, uint8 comes back as float32; indices: the N sample numbers. An image's outcome is a
    function of (seed, its index, severity, its size), whatever the batch. ValueError for a severity not in 1..5, images
    that are not 4-D, or another number of indices.
    """
    sigma = GLASS[_level(severity)][0]
    _check_images(images)
    samples = [int(index) for index in indices]
    if len(samples) != len(images):
        raise ValueError(f"{len(images)} images but {len(samples)} indices")
    if not samples:
        return gaussian_blur(images, 0.0)
    height, width = images.shape[-2:]
    maps = np.stack([glass_map(height, width, severity, seed, sample) for sample in samples])
    source = torch.from_numpy(maps).to(images.device)[:, None].expand(-1, images.shape[1], -1)
    moved = gaussian_blur(images, sigma).flatten(2).gather(2, source).unflatten(2, (height, width))
    return gaussian_blur(moved, sigma)


def glass_map(height: int, width: int, severity: int, seed: int, index: int) -> NDArray[np.int64]:
    """Which pixel (row * width + column) each pixel shows behind the glass of sample `index`: int64 [height * width].

    A pass goes from the last pixel to the first and gives each the current value of a pixel up to d rows and columns
    away (offsets -d..d-1, uniform); rows and columns within d of the upper and left border, and within d - 1 of the
    others, stay. The paper speaks of a shuffle, but the published program, and so the published images, never write the
    second half of each swap (in NumPy both sides are views): values are copied, which is what is done here.
    ValueError for a severity not in 1..5, or a seed or index that is negative.
    """
    _, reach, iterations = GLASS[_level(severity)]
    draws = _draws(_GLASS_DRAWS, seed, index)
    shape = max(height - 2 * reach, 0), max(width - 2 * reach, 0)
    pixels = np.arange(height * width)
    place = pixels.reshape(height, width)[reach + 1 :, reach + 1 :][: shape[0], : shape[1]].ravel()
    shown = pixels
    for _ in range(iterations):
        offsets = np.floor(draws.random((len(place), 2)) * 2 * reach).astype(np.int64) - reach
        taken = pixels.copy()
        taken[place] += offsets[:, 0] * width + offsets[:, 1]
        # A pixel that takes from one further on takes what that one has been given already, and so on along a chain,
        # which ends at a pixel that takes an old value. Doubling the steps finds all the ends in a few rounds.
        end = np.where(taken > pixels, taken, pixels)
        while not np.array_equal(further := end[end], end):
            end = further
        shown = shown[taken[end]]
    return shown


def _draws(purpose: int, seed: int, index: int) -> np.random.Generator:
    check_integer("seed", seed, 0, _LIMIT)
    check_integer("index", index, 0, _LIMIT)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((purpose, int(seed), int(index)))))


def _level(severity: int) -> int:
    check_integer("severity", severity, 1, 5)
    return int(severity) - 1


def _check_images(images: Tensor) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must be [N, C, H, W], not of shape {tuple(images.shape)}")
