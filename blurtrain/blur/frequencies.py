"""Images by spatial frequency: what is low, high, or in a band.

Frequencies are in cycles per image (of its smaller side), and radial: sqrt(down^2 + across^2). The filter is
Butterworth's, without a shift of phase:

    low(f) = 1 / (1 + (f / cutoff)^(2 order)),   high = 1 - low,   band = low(upper) - low(lower)

so it is half at the cut-off, and low, bands and high sum to the image. Order 2 falls by 24 dB an octave, and overshoots
at an edge by 3 % of it; order 4 by 7 %, the limit, which is the ideal filter, by 9 %. So a higher order separates
frequencies better, and rings more. A Gaussian does not ring, but hardly has a cut-off: where it is half at one, it
passes 6 % at twice that, and at half of it has lost 16 %.

Borders reflect, without repeating the edge pixel, as everywhere in this package: then an image is a sum of cosines, and
the transform is a product with a matrix on each side. Exact for any size, differentiable, on the images' device.
"""

import functools
import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from blurtrain.blur.arithmetic import in_own_arithmetic


@in_own_arithmetic
def filtered(images: Tensor, low: float | None, high: float | None, order: int) -> Tensor:
    """Images [N, C, H, W], of any unit, with what lies between `low` and `high` cycles per image; None: no limit.

    With `low`, the mean is gone: of each channel, over the image that is reflected. The dtype is kept, except that
    uint8 gives float32; computed in float32 (float64 for float64). ValueError for images that are not 4-D, or limits
    that are not positive and ascending.
    """
    if images.ndim != 4:
        raise ValueError(f"images must be [N, C, H, W], not of shape {tuple(images.shape)}")
    if not 0 < (low or 1e-9) < (high or math.inf):
        raise ValueError(f"low={low} and high={high} must be positive, and low less than high")
    exact = torch.float64 if images.dtype == torch.float64 else torch.float32
    height, width = images.shape[-2:]
    (rows, back), (columns, across) = (_cosines(side, exact, images.device) for side in (height, width))
    gain = _gain(height, width, low, high, order, exact, images.device)
    parts = []
    for some in images.split(64):
        spectrum = rows @ some.to(exact) @ columns.mT
        parts.append(back @ (spectrum * gain) @ across.mT)
    found = torch.cat(parts) if parts else images.to(exact)
    return found.to(images.dtype) if images.is_floating_point() else found


def response(frequency: ArrayLike, low: float | None, high: float | None, order: int) -> NDArray[np.float64]:
    """What is left of each frequency (cycles per image), as a share: an array of the same shape."""
    f = np.asarray(frequency, np.float64)
    passed = np.ones_like(f) if high is None else 1 / (1 + (f / high) ** (2 * order))
    return passed if low is None else passed - 1 / (1 + (f / low) ** (2 * order))


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _cosines(side: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """[side, side] each: from pixels to amplitudes of cosines of 0, 1/2, ... (side - 1) / 2 periods of side - 1 pixels,
    and back."""
    steps = np.arange(side)
    back = np.cos(np.pi * np.outer(steps, steps) / max(side - 1, 1)) if side > 1 else np.ones((1, 1))
    there = np.linalg.inv(back)
    return torch.from_numpy(there).to(device, dtype), torch.from_numpy(back).to(device, dtype)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _gain(
    height: int, width: int, low: float | None, high: float | None, order: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """[height, width]: what is left of each product of two cosines."""
    side = min(height, width)
    down, across = (np.arange(n) * side / (2 * max(n - 1, 1)) for n in (height, width))
    return torch.from_numpy(response(np.hypot(down[:, None], across), low, high, order)).to(device, dtype)
