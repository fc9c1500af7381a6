"""What every point-spread function of this package is: float64, square, of odd side, unit sum, read-only.

Entry [c + y, c + x] of a kernel with side 2c + 1 is the light that a point of the scene sends y rows down and x columns
to the right: the kernel is the image of a point. Applying it is a convolution; a correlation would turn those that are
not point-symmetric (camera shake, ImageNet-C's motion) by 180 degrees.
"""

import math

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 513  # pixels: a Gaussian of sigma 64 at 4 sigmas, a disk of radius 256


def unit_sum(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """`weights` divided by their sum, as an array of its own that cannot be written to (it may live in a cache)."""
    weights = weights / weights.max()  # so that neither huge nor tiny weights leave the range of floats
    kernel: NDArray[np.float64] = weights / weights.sum()
    kernel.flags.writeable = False
    return kernel


def check_number(name: str, value: float, low: float, *, open_low: bool = False) -> None:
    """Raise ValueError unless `value` is finite and >= low (> low where `open_low`)."""
    if not (math.isfinite(value) and (value > low if open_low else value >= low)):
        raise ValueError(f"{name} must be a finite number {'>' if open_low else '>='} {low:g}, not {value}")


def check_integer(name: str, value: int, low: int, high: int) -> None:
    """Raise ValueError unless `value` is a whole number in low..high (both included)."""
    if isinstance(value, bool) or int(value) != value or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number in {low}..{high}, not {value}")


def check_side(what: str, half: float) -> None:
    """Raise ValueError where a kernel reaching `half` pixels from its centre is larger than MAX_SIDE."""
    side = 2 * float(half) + 1
    if side > MAX_SIDE:
        raise ValueError(f"{what} needs a kernel of {side:g} pixels a side; at most {MAX_SIDE} are allowed")


def check_kernel(shape: tuple[int, ...], finite: bool) -> None:
    """Raise ValueError for a kernel, or a stack of them, that is of no shape to apply, or not finite."""
    if len(shape) not in (2, 3) or any(k % 2 == 0 for k in shape[-2:]):
        raise ValueError(f"kernel must be [k, k] or [N, k, k] with k odd, not {list(shape)}")
    if max(shape[-2:]) > MAX_SIDE:
        raise ValueError(f"kernel of {max(shape[-2:])} pixels a side: at most {MAX_SIDE} are supported")
    if not finite:
        raise ValueError("kernel has values that are not finite")
