"""Point-spread functions at another scale: what a kernel that is defined on images of one size is on those of another.

Each tap is moved to its place on the new grid and spread over the pixels around by a windowed sinc (Lanczos, of 3
lobes), which keeps what a kernel does to the frequencies that both grids have; a parabola for each tap then makes the
sum, the centroid and the second moments of the kernel scale exactly. It amounts to resizing the image to the size of
the definition, convolving, and resizing back, but for what these two resamplings themselves blur: on photographs the
difference is 0.1 to 1.2 of 255 (root mean square, 512 to 128 pixels; half of what a bicubic spread leaves).
"""

import functools
import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.point_spread import check_number, check_side

_LOBES = 3
Sigma = TypeVar("Sigma", float, NDArray[np.float64])


def scaled(sigma: Sigma, resolution: int, reference_resolution: int) -> Sigma:
    """Sigma at `reference_resolution` (one, or an array) in pixels at `resolution`: the same share of the image."""
    return sigma * resolution / reference_resolution


def resampled(kernel: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """`kernel` (square, odd side, unit sum) for images `scale` times as large; itself at scale 1.

    Its side is odd; some weights are negative, as those of the sinc are. Raises ValueError where it would be
    larger than MAX_SIDE.
    """
    check_number("scale", scale, 0, open_low=True)
    if scale == 1:
        return kernel
    matrix = _spread(len(kernel), scale)
    out = matrix @ kernel @ matrix.T
    filled = np.flatnonzero((np.abs(out) > 1e-12).any(0) | (np.abs(out) > 1e-12).any(1))
    centre = len(out) // 2
    half = int(np.abs(filled - centre).max())
    out = out[centre - half : centre + half + 1, centre - half : centre + half + 1].copy()
    out.flags.writeable = False
    return out


def resampled_reach(side: int, scale: float) -> int:
    """Pixels from the centre to the edge that a kernel of `side` has at most after `resampled`."""
    return side // 2 if scale == 1 else math.ceil(side // 2 * scale + _LOBES * max(scale, 1.0))


@functools.lru_cache(maxsize=256)
def _spread(side: int, scale: float) -> NDArray[np.float64]:
    """[new side, side]: how much each tap of a row gives to each tap of the row at the new scale."""
    width = max(scale, 1.0)  # where pixels become more, the lobes are as wide as the old ones
    half = resampled_reach(side, scale)
    check_side(f"a kernel of {side} pixels a side at {scale:g} times its scale", half)
    place = np.arange(-(side // 2), side // 2 + 1) * scale
    distance = np.arange(-half, half + 1)[:, None] - place[None]
    lobes = np.sinc(distance / width) * np.sinc(distance / (_LOBES * width)) / width
    weights = np.where(np.abs(distance) < _LOBES * width, lobes, 0.0)
    powers = np.stack([np.ones_like(distance), distance, distance**2])  # [3, new, old]
    around = np.clip(1 - np.abs(distance) / (_LOBES * width), 0, None) ** 2
    moments = np.einsum("pno,qno,no->opq", powers, powers, around)
    missing = np.array([1.0, 0.0, 0.0]) - np.einsum("pno,no->op", powers, weights)
    change = np.linalg.solve(moments, missing[..., None])[..., 0]
    return weights + np.einsum("op,pno,no->no", change, powers, around)
