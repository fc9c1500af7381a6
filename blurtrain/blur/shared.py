"""Operators that many images share: made once, and kept.

A processor is bound by arithmetic, so its operators leave out what need not be multiplied: zeros, as a band; and of
what a wide Gaussian leaves, which is smooth, all but every few pixels, from which a second operator interpolates the
others. An accelerator multiplies whole matrices faster than parts of them.
"""

import functools

import torch
from torch import Tensor

from blurtrain.blur.axis import NARROWEST, gaussian_matrix, grid, matrix_of, refinement, resize_taps, taps_matrix
from blurtrain.blur.kernels import box_taps
from blurtrain.blur.product import SMALL, Band, Operators, banded, exact_dtype, rounded_weights

NO_BOX = (1.0, 1.0)
CPU = torch.device("cpu")
COARSEST = 8  # pixels between those that are computed where blur is wide; more would save nothing


def stride(sigma: float, truncate: float, sides: tuple[int, int], work: torch.dtype) -> int:
    """How many pixels apart a processor computes what a Gaussian leaves; 1: all of them.

    In bfloat16 only: the error is well below its rounding, but not below what float32 promises.
    """
    if work != torch.bfloat16 or truncate < 4 or min(sides) < SMALL:
        return 1
    step = int(min(COARSEST, sigma / NARROWEST))
    return step if step > 2 else 1


def blur_operators(
    sigma: float,
    box: tuple[float, float],
    sides: tuple[int, int],
    truncate: float,
    step: int,
    device: torch.device,
    work: torch.dtype,
) -> list[Operators]:
    """One blur for all images of `sides`, for `product.apply`."""
    rows, columns = (_blur(sigma, *axis, truncate, step, device, work) for axis in zip(box, sides, strict=True))
    return [(rows, columns), *_refinements(sides, step, work)]


def crop_operators(
    height: int,
    width: int,
    flip: bool,
    sigma: float,
    box: tuple[float, float],
    sides: tuple[int, int],
    interpolation: str,
    truncate: float,
    step: int,
    work: torch.dtype,
) -> list[Operators]:
    """Resize of a crop of `height` x `width` to `sides`, horizontal flip and blur, on a processor."""
    rows = _crop(height, sides[0], False, sigma, box[0], interpolation, truncate, step, work)
    columns = _crop(width, sides[1], flip, sigma, box[1], interpolation, truncate, step, work)
    return [(rows, columns), *_refinements(sides, step, work)]


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
def _blur(
    sigma: float, box: float, side: int, truncate: float, step: int, device: torch.device, work: torch.dtype
) -> Tensor | Band:
    matrix = blur_matrices(sigma, box, side, truncate, device, exact_dtype(work))
    return _kept(matrix, step, work)


@functools.lru_cache(maxsize=512)
@torch.inference_mode(False)
def _crop(
    length: int,
    size: int,
    flip: bool,
    sigma: float,
    box: float,
    interpolation: str,
    truncate: float,
    step: int,
    work: torch.dtype,
) -> Tensor | Band:
    exact, whole = exact_dtype(work), torch.tensor([length])
    matrix = matrix_of(resize_taps(0 * whole, whole, length, size, torch.tensor([flip]), interpolation), length, exact)
    if sigma or box != 1:
        matrix = torch.matmul(blur_matrices(sigma, box, size, truncate, CPU, exact), matrix)
    return _kept(matrix, step, work)


def _kept(matrix: Tensor, step: int, work: torch.dtype) -> Tensor | Band:
    if step > 1:
        return rounded_weights(matrix[:, grid(matrix.shape[1], step)], work)
    matrix = rounded_weights(matrix, work)
    return banded(matrix) if matrix.device.type == "cpu" else matrix


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _refinements(sides: tuple[int, int], step: int, work: torch.dtype) -> list[Operators]:
    if step == 1:
        return []
    rows, columns = (rounded_weights(refinement(side, step).float()[None], work) for side in sides)
    return [(rows, columns)]
