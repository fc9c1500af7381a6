"""Point-spread functions: 2-D float64, square, odd side, unit sum, read-only and cached.

The image of a point, see `blurtrain.blur.point_spread`. Lengths are in pixels of the image that is blurred.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.kernel_file import from_file
from blurtrain.blur.point_spread import MAX_SIDE, check_number, check_side, unit_sum
from blurtrain.blur.shake import (
    SHAKE_COUNTS,
    SHAKE_MAX_SIDE,
    SHAKE_SIZES,
    camera_shake,
    shake_for,
    shake_seed,
    shake_seeds,
    shakes_for,
)

__all__ = [
    "MAX_SIDE",
    "SHAKE_COUNTS",
    "SHAKE_MAX_SIDE",
    "SHAKE_SIZES",
    "box",
    "box_taps",
    "camera_shake",
    "disk",
    "from_file",
    "gaussian",
    "gaussian_radius",
    "gaussian_taps",
    "shake_for",
    "shake_seed",
    "shake_seeds",
    "shakes_for",
    "stack",
]


def gaussian_radius(sigma: float, truncate: float = 4.0) -> int:
    """Pixels from the centre to the last tap: `truncate` sigmas, rounded (SciPy's convention)."""
    return int(truncate * sigma + 0.5)


def gaussian_taps(sigma: float, truncate: float = 4.0) -> NDArray[np.float64]:
    """A sampled 1-D Gaussian of `2 * gaussian_radius + 1` taps and unit sum; a single 1 at sigma 0.

    sigma is in pixels. `truncate=2` gives the 33 taps at sigma 8 of the original blurry-to-clear study. Raises
    ValueError for a sigma that is negative or not finite.
    """
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma must be a number of pixels >= 0, not {sigma}")
    radius = gaussian_radius(sigma, truncate)
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    return taps / taps.sum()


@functools.lru_cache(maxsize=64)
def gaussian(sigma: float, truncate: float = 4.0) -> NDArray[np.float64]:
    """A 2-D Gaussian, the outer product of `gaussian_taps` with itself.

    sigma: pixels, >= 0 (0 gives a single 1); truncate: sigmas kept to either side, > 0. Raises ValueError out of these
    ranges or where the kernel would be larger than MAX_SIDE.
    """
    check_number("sigma", sigma, 0)
    check_number("truncate", truncate, 0, open_low=True)
    check_side(f"a Gaussian of sigma {sigma} cut at {truncate} sigmas", np.floor(truncate * sigma + 0.5))
    taps = gaussian_taps(sigma, truncate)
    return unit_sum(np.outer(taps, taps))


@functools.lru_cache(maxsize=64)
def disk(radius: float, antialias: bool = False) -> NDArray[np.float64]:
    """A uniform disk: defocus. `radius` in pixels, > 0 and at most 256.

    By default the hard disk of Vasiljevic, Chakrabarti & Shakhnarovich 2016: equal weights on all pixels whose centre
    is within `radius` (13, 49, 113 and 197 of them at radius 2, 4, 6, 8). With `antialias`, a pixel weighs the area of
    it that lies within the circle, exactly. Raises ValueError out of range.
    """
    check_number("radius", radius, 0, open_low=True)
    half = max(math.ceil(radius - 0.5), 0) if antialias else math.floor(radius)
    check_side(f"a disk of radius {radius}", half)
    if half == 0:
        return unit_sum(np.ones((1, 1)))
    distance = np.arange(half + 1, dtype=np.float64)
    quadrant = _disk_coverage(radius, half) if antialias else np.hypot.outer(distance, distance) <= radius
    lower = np.concatenate([quadrant[:, :0:-1], quadrant], axis=1)
    return unit_sum(np.concatenate([lower[:0:-1], lower]).astype(np.float64))


def _disk_coverage(radius: float, half: int) -> NDArray[np.float64]:
    """Area of the pixels 0..half by 0..half inside a circle around the centre of pixel (0, 0), in closed form.

    A pixel spans [x0, x1] by [y0, y1]. Where the circle's height sqrt(r^2 - x^2) exceeds y1 (x < full) it is covered to
    the top, from there until the height falls to y0 (x = none) it is covered up to the arc.
    """
    start = np.maximum(np.arange(half + 1) - 0.5, 0.0)  # pixels on an axis are cut in half, and count twice
    stop = np.arange(half + 1) + 0.5
    x0, x1 = start[None], stop[None]
    y0, y1 = start[:, None], stop[:, None]
    full = np.clip(np.sqrt(np.maximum(radius**2 - y1**2, 0.0)), x0, x1)
    none = np.clip(np.sqrt(np.maximum(radius**2 - y0**2, 0.0)), x0, x1)
    area = (full - x0) * (y1 - y0) + _under_arc(none, radius) - _under_arc(full, radius) - y0 * (none - full)
    area[0] *= 2
    area[:, 0] *= 2
    return np.clip((area + area.T) / 2, 0.0, 1.0)


def _under_arc(x: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Integral of sqrt(radius^2 - x^2) from 0 to x."""
    x = np.minimum(x, radius)
    # Python's square of the radius and NumPy's differ in the last bit for some radii.
    return (x * np.sqrt(np.maximum(radius**2 - x**2, 0.0)) + radius**2 * np.arcsin(x / radius)) / 2


def box_taps(length: float) -> NDArray[np.float64]:
    """A 1-D box of `length` pixels and unit sum: the part of each pixel that a centred segment of that length covers.

    So an even length L has L - 1 full taps and a half one at either end (L + 1 in all): the kernel stays centred on a
    pixel and does not shift the image. length: >= 1; raises ValueError below, or where it is longer than MAX_SIDE.
    """
    check_number("length", length, 1)
    half = math.ceil((length - 1) / 2)
    check_side(f"a box of length {length}", half)
    return np.clip(length / 2 + 0.5 - np.abs(np.arange(-half, half + 1)), 0.0, 1.0) / length


@functools.lru_cache(maxsize=256)
def box(length: float, angle: float = 0.0, plain: bool = False) -> NDArray[np.float64]:
    """Uniform linear motion over `length` pixels along `angle`, one pixel wide; point-symmetric unless plain.

    The weight of a pixel is the length that a segment, centred on the middle pixel, has inside it (exactly, not
    sampled). Along an axis this is `box_taps`, with its convention for even lengths: Vasiljevic et al. 2016 use
    horizontal and vertical boxes of 4 and 8 pixels.
    With `plain` it is `length` equal taps, as `ones(length) / length` of other programs, along an axis. Of an even
    length the tap that has none opposite lies to the right of the middle, or below it, so the image moves by half a
    pixel that way (as OpenCV's `blur` moves it).
    length: pixels, >= 1; angle: degrees, 0 horizontal, 90 vertical, counter-clockwise as the image is seen. Raises
    ValueError for other values, for a plain one that is not whole or not along an axis, or where the kernel would be
    larger than MAX_SIDE.
    """
    check_number("length", length, 1)
    check_number("angle", angle, -math.inf)
    if plain:
        return _plain_box(length, angle)
    turn = math.radians(angle % 180)
    cosine, sine = math.cos(turn), math.sin(turn)
    half = math.ceil(length / 2 * max(abs(cosine), abs(sine)) - 0.5 - 1e-12)
    check_side(f"a box of length {length}", half)
    offsets = np.arange(-half, half + 1, dtype=np.float64)
    enter_x, leave_x = _crossing(offsets[None], cosine)
    enter_y, leave_y = _crossing(-offsets[:, None], sine)  # rows run downwards
    enter = np.maximum(np.maximum(enter_x, enter_y), -length / 2)
    leave = np.minimum(np.minimum(leave_x, leave_y), length / 2)
    inside = leave - enter
    inside[inside < 1e-12] = 0.0  # pixels that are missed, or met in a corner only
    return unit_sum(inside)


def _plain_box(length: float, angle: float) -> NDArray[np.float64]:
    if length != int(length) or angle % 90:
        raise ValueError(
            f"plain taps are a whole number of pixels at angle 0 or 90, not length {length:g} at angle {angle:g}; "
            "centred taps take any"
        )
    half = int(length) // 2
    check_side(f"a box of length {length}", half)
    taps = np.ones(2 * half + 1)
    taps[: 2 * half + 1 - int(length)] = 0  # none, or the first
    kernel = np.zeros((len(taps), len(taps)))
    kernel[half] = taps
    return unit_sum(kernel.T if angle % 180 else kernel)


def _crossing(position: NDArray[np.float64], direction: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where t * direction enters and leaves position +/- 1/2, as t."""
    if direction == 0:
        met = np.where(np.abs(position) < 0.5, np.inf, -np.inf)
        return -met, met
    ends = (position - 0.5) / direction, (position + 0.5) / direction
    return np.minimum(*ends), np.maximum(*ends)


def stack(kernels: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Kernels of different sides as one array [N, k, k]: zeros around each, up to the largest side of them.

    Raises ValueError for none, or for one that is not square with an odd side.
    """
    if not len(kernels):
        raise ValueError("there are no kernels to stack")
    for kernel in kernels:
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
            raise ValueError(f"a kernel must be square with an odd side, not of shape {kernel.shape}")
    side = max(len(kernel) for kernel in kernels)
    return np.stack([np.pad(kernel, (side - len(kernel)) // 2) for kernel in kernels])
