"""Point-spread functions of a lens with one aberration, by the Fourier transform of its pupil (Goodman, Introduction to
Fourier Optics): the primary aberrations as Zernike polynomials, each with a root mean square of 1 (Noll, JOSA 1976)."""

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.point_spread import check_number, check_side, unit_sum

KEPT = 0.995
"""Share of the light, as far as the transform reaches, that a kernel has; diffraction's faint tails are left out."""

Polynomial = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
MODES: dict[str, tuple[Polynomial, float]] = {
    "defocus": (lambda r, _: math.sqrt(3) * (2 * r**2 - 1), 4 * math.sqrt(3)),
    "astigmatism": (lambda r, t: math.sqrt(6) * r**2 * np.cos(2 * t), 2 * math.sqrt(6)),
    "coma": (lambda r, t: math.sqrt(8) * (3 * r**3 - 2 * r) * np.cos(t), 7 * math.sqrt(8)),
    "trefoil": (lambda r, t: math.sqrt(8) * r**3 * np.cos(3 * t), 3 * math.sqrt(8)),
    "spherical": (lambda r, _: math.sqrt(5) * (6 * r**4 - 6 * r**2 + 1), 12 * math.sqrt(5)),
}
"""By name, the polynomial of radius (0..1) and angle, and its steepest slope."""


@functools.lru_cache(maxsize=256)
def aberrated(mode: str, waves: float, angle: float = 0.0, airy: float = 1.0) -> NDArray[np.float64]:
    """The kernel of a lens with `waves` (root mean square over the pupil, in wavelengths, 0..5) of an aberration.

    mode: one of MODES; angle: degrees by which it is turned, counter-clockwise as the image is seen (at 0 coma's tail
    leads to the right); airy: wavelength times f-number, in pixels, 0.1..4: without aberration, light falls to zero at
    1.22 of it. A ray from radius r of the pupil lands 2 * airy * d(waves)/dr pixels from the centre, so that defocus is
    nearly a disk of radius 8 sqrt(3) * waves * airy once that is many times `airy`. Light is integrated over pixels.
    Monochrome. Raises ValueError for another mode, out of range, or where the kernel would be larger than MAX_SIDE.
    """
    half = _half(mode, waves, airy)
    whole = _light(mode, waves, angle, airy)
    middle = len(whole) // 2
    return unit_sum(whole[middle - half : middle + half + 1, middle - half : middle + half + 1])


@functools.lru_cache(maxsize=256)
def _half(mode: str, waves: float, airy: float) -> int:
    """Pixels from the centre within which KEPT of the light lies: of all directions, so the same at every angle."""
    light = _light(mode, waves, 0.0, airy)
    middle = np.arange(len(light)) - len(light) // 2
    distance = np.ceil(np.hypot.outer(middle, middle) - 1e-9).astype(np.intp)
    within = np.cumsum(np.bincount(distance.ravel(), weights=light.ravel()))
    half = min(int(np.argmax(within >= KEPT * within[-1])), len(light) // 2)
    check_side(f"{waves:g} waves of {mode}", half)
    return half


def _light(mode: str, waves: float, angle: float, airy: float) -> NDArray[np.float64]:
    """[side, side], odd: the light on each pixel, as far out as the transform reaches."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode}")
    check_number("angle", angle, -math.inf)
    for name, value, low, high in (("waves", waves, 0.0, 5.0), ("airy", airy, 0.1, 4.0)):
        if not low <= value <= high:
            raise ValueError(f"{name} must be in {low:g}..{high:g}, not {value:g}")
    polynomial, slope = MODES[mode]
    fine = math.ceil(3 / airy) // 2 * 2 + 1  # samples a pixel, odd: intensity needs two for each `airy`
    across = max(64.0, 8 * waves * slope)  # samples of the pupil: a quarter of a wave from one to the next at most
    samples = 2 * math.ceil(fine * airy * across / 2)
    place = (np.arange(samples) - samples // 2) * (2 * fine * airy / samples)
    right, up = place[None], -place[:, None]  # rows run downwards
    radius = np.hypot(right, up)
    wave = waves * polynomial(radius, np.arctan2(up, right) - math.radians(angle))
    pupil = np.where(radius <= 1, np.exp(2j * np.pi * wave), 0)
    spread = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(pupil)))) ** 2
    reach = (samples // 2 - 1 - fine // 2) // fine
    first = samples // 2 - fine // 2 - fine * reach
    inside = spread[first : first + fine * (2 * reach + 1), first : first + fine * (2 * reach + 1)]
    side = 2 * reach + 1
    found: NDArray[np.float64] = inside.reshape(side, fine, side, fine).sum((1, 3))
    return found
