"""Blur operators that many images share: made once, and kept."""

import functools

import torch
from torch import Tensor

from blurtrain.blur.axis import gaussian_matrix, taps_matrix
from blurtrain.blur.kernels import box_taps
from blurtrain.blur.product import Operators, exact_dtype, rounded_weights

NO_BOX = (1.0, 1.0)


def blur_operators(
    sigma: float,
    box: tuple[float, float],
    sides: tuple[int, int],
    truncate: float,
    device: torch.device,
    work: torch.dtype,
) -> Operators:
    """One blur for all images of `sides`, for `product.apply`."""
    rows, columns = (_blur(sigma, *axis, truncate, device, work) for axis in zip(box, sides, strict=True))
    return rows, columns


def blur_matrices(
    sigma: float | Tensor, box: float, side: int, truncate: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Gaussian, then box, along an axis of `side` pixels: [n, side, side] for n sigmas, [1, side, side] for one."""
    sigmas = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1)
    blur = gaussian_matrix(sigmas, side, truncate, dtype, device)
    if box == 1:
        return blur
    taps = torch.from_numpy(box_taps(box).copy()).to(device, non_blocking=True)
    return torch.matmul(taps_matrix(taps[None], side, dtype), blur)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve later gradients too, wherever it is first asked for
def _blur(sigma: float, box: float, side: int, truncate: float, device: torch.device, work: torch.dtype) -> Tensor:
    return rounded_weights(blur_matrices(sigma, box, side, truncate, device, exact_dtype(work)), work)
