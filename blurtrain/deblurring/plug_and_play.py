"""Deconvolution whose prior is a denoiser: plug and play (Zhang et al. 2021, IEEE TPAMI 44, 6360: DPIR)."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from blurtrain.deblurring.reflected import ReflectedBlur

STRONGEST = 49 / 255
"""Standard deviation of the noise that the first step takes away, as a share of white, as published."""
WEIGHT = 0.23
"""lambda, as published."""
INNER = 6
"""Steps of conjugate gradients in each step, from where the last one ended, for kernels that are not even."""


def half_quadratic_splitting(
    blur: ReflectedBlur, observed: Tensor, denoiser: Callable[[Tensor], Tensor], noise: float, steps: int
) -> Tensor:
    """Images [N, C, H, W] of 0..1, found by turns: x is the least of |A x - y|^2 + lambda (noise / sigma)^2 |x - z|^2,
    and z what the denoiser makes of x.

    sigma falls in `steps` equal ratios from STRONGEST to `noise`. The published denoiser is given sigma; ours finds
    out by itself how noisy an image is. The published result is the last z, ours the x that follows from it: detail
    that a small denoiser takes away is then still in the data.
    """
    data, likely = blur.adjoint(observed), observed

    def explaining(likely: Tensor, sigma: float) -> Tensor:
        ridge = WEIGHT * (noise / sigma) ** 2
        return blur.solve(data + ridge * likely, ridge, 0.0, likely, INNER)

    for sigma in np.geomspace(max(STRONGEST, noise), noise, steps).tolist():
        likely = denoiser(explaining(likely, sigma))
    return explaining(likely, noise)
