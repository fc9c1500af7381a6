"""Geometry and blur as one linear operator per image axis, and how it is applied.

Crop, antialiased resize, flip and Gaussian blur with reflecting borders are separable and linear. Each is a matrix per
axis (`blurtrain.blur.axis`), so their product is one too, and `out = R_i X C_i^T` does all of them at once for image i,
with its own crop and its own sigma, at a cost that does not depend on sigma.

An accelerator does just that. A processor, which is bound by arithmetic, takes images one by one, each on one core, in
loops over the taps alone (`blurtrain.blur.one_image`), unless gradients are wanted, or float64.

Images are [N, C, H, W]. Results have the dtype of the images, float32 for uint8; with `dtype=torch.uint8` they are
rounded to 8 bits. Arithmetic is in float32 (float64 for float64 images), in bfloat16 for bfloat16 images, or as
`compute` says. Against float64: at most 1e-3 of 255 in float32; in bfloat16 at most 1 of 255 from sigma 3 up and 2
below, with constants preserved; float16 images are computed in float32 and rounded once.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.arithmetic import in_own_arithmetic
from blurtrain.blur.axis import check_crops, check_sigma, check_sigmas, matrix_of, resize_taps
from blurtrain.blur.cores import image_by_image
from blurtrain.blur.one_image import blur_image, crop_image
from blurtrain.blur.product import (
    SMALL,
    Operators,
    apply,
    arithmetic_dtype,
    channels_first_product,
    channels_last_product,
    exact_dtype,
    result_dtype,
    rounded,
    rounded_weights,
)
from blurtrain.blur.shared import NO_BOX, blur_matrices, blur_operators
from blurtrain.blur.taps import available

Sigma: TypeAlias = float | Sequence[float] | NDArray[np.floating] | Tensor


@in_own_arithmetic
def gaussian_blur(
    images: Tensor,
    sigma: Sigma,
    truncate: float = 4.0,
    *,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
    finite: bool = False,
) -> Tensor:
    """Gaussian blur, reflecting borders: uint8 [N, C, H, W] in 0..255 gives float32 in 0..255, floats their own dtype.

    sigma: pixels, one number, or one an image (list, array or tensor [N]); kernels are cut at `truncate` sigmas.
    Differentiable in the images. Sigma 0 may give back the images themselves. A pixel that is NaN or infinite makes
    NaN of those within its kernel's reach, and of no others; `finite` says that there are none, so that none is looked
    for (on a GPU that waits). Raises ValueError for images that are not 4-D, or a sigma that is negative, not finite,
    too large, or not one an image.
    """
    sigma = checked_sigma(images, sigma)

    def blur(pixels: Tensor, dtype: torch.dtype | None) -> Tensor:
        return _blurred(pixels, sigma, NO_BOX, truncate, dtype, compute)

    return blur(images, dtype) if finite else _contained(images, blur, dtype)


@in_own_arithmetic
def box_blur(
    images: Tensor,
    down: float = 1.0,
    across: float = 1.0,
    *,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
    finite: bool = False,
) -> Tensor:
    """Blur by boxes, reflecting borders: uint8 [N, C, H, W] in 0..255 gives float32 in 0..255, floats their own dtype.

    They are `down` pixels long along the columns and `across` along the rows (1: none). Even lengths have two half taps
    at their ends, see `kernels.box_taps`. NaN, `finite` as in `gaussian_blur`. Raises ValueError for a length below 1.
    """

    def blur(pixels: Tensor, dtype: torch.dtype | None) -> Tensor:
        return _blurred(pixels, 0.0, (down, across), 4.0, dtype, compute)

    return blur(images, dtype) if finite else _contained(images, blur, dtype)


@in_own_arithmetic
def resized_crop_blur(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: int | tuple[int, int],
    flip: Tensor | None = None,
    sigma: Sigma = 0.0,
    interpolation: str = "bicubic",
    truncate: float = 4.0,
    *,
    box: tuple[float, float] = NO_BOX,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
) -> Tensor:
    """Crop, antialiased resize to `size`, flip and blur as one operator: uint8 gives float32, floats their own dtype.

    top, left, height, width (pixels, integer) and flip (bool): tensors [N] (or [1]: one geometry for all images);
    size: side, or height and width, of the result; sigma: its pixels, a number or [N]; box: as in `box_blur`. Returns
    [N, C, *size]. Values may overshoot by the lobes of the bicubic filter; clamp where a protocol has 8-bit images, or
    ask for dtype=torch.uint8. Raises ValueError for a crop outside the image or a bad sigma.
    """
    work = arithmetic_dtype(images, compute)
    exact, device = exact_dtype(work), images.device
    sides = (size, size) if isinstance(size, int) else size
    crops = [top, left, height, width, torch.zeros_like(top, dtype=torch.bool) if flip is None else flip]
    if {len(g) for g in crops} not in ({1}, {len(images)}):
        raise ValueError(
            f"top, left, height, width and flip must have one entry each, or one for each of {len(images)} images"
        )
    sigma = checked_sigma(images, sigma)
    for start, length, side in zip(crops[:2], crops[2:4], images.shape[-2:], strict=True):
        check_crops(start, length, side)  # where they are: a GPU need not be waited for
    if by_image(images) and work != torch.float64:
        places = list(zip(*(g.tolist() for g in crops), strict=True))
        each = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1)
        check_sigmas(each, truncate)
        sigmas = each.tolist()
        out = torch.empty(*images.shape[:2], *sides, dtype=result_dtype(images, dtype))

        def crop(k: int) -> None:
            place, own = places[k % len(places)], sigmas[k % len(sigmas)]
            crop_image(images[k], place, own, interpolation, truncate, box, work, out[k])

        image_by_image(crop, len(images))
        return out
    blurs = (isinstance(sigma, Tensor) and sigma.ndim > 0) or float(sigma) != 0 or box != NO_BOX
    top, left, height, width, flip = (g.to(device, non_blocking=True) for g in crops)

    def operator(axis: int, part: slice) -> Tensor:
        own = part if len(top) > 1 else slice(None)
        start, length, mirrored = ((top, height, None), (left, width, flip[own]))[axis]
        taps = resize_taps(start[own], length[own], images.shape[2 + axis], sides[axis], mirrored, interpolation)
        matrix = matrix_of(taps, images.shape[2 + axis], exact)
        if blurs:
            some = sigma[part] if isinstance(sigma, Tensor) and sigma.ndim else sigma
            matrix = torch.matmul(blur_matrices(some, box[axis], sides[axis], truncate, device, exact), matrix)
        return rounded_weights(matrix, work)

    return apply(images, lambda part: (operator(0, part), operator(1, part)), dtype, work, sides, channels_last_product)


TINY = 48
"""Pixels a side, up to which even crops and colours take a processor less time for all images at once."""


def by_image(images: Tensor) -> bool:
    """Whether images [N, C, H, W] are treated one by one: by a processor (with Numba), if they are not tiny, and if no
    gradient is wanted, and no float64."""
    if images.device.type != "cpu" or images.requires_grad or images.dtype == torch.float64:
        return False
    return max(images.shape[-2:]) >= TINY and available()


def gaussian_blur_each(images: Tensor, sigmas: NDArray[np.float64], truncate: float = 4.0) -> Tensor:
    """`gaussian_blur` of float images [N, C, H, W], each by its own sigma.

    On a processor each on one core: what becomes of an image does not depend on the others, or on how many cores.
    """
    if images.device.type != "cpu" or images.requires_grad:
        return gaussian_blur(images, torch.from_numpy(sigmas), truncate)
    out = torch.empty_like(images, memory_format=torch.contiguous_format)

    def blur(k: int) -> None:
        out[k] = gaussian_blur(images[k][None], float(sigmas[k]), truncate)[0]

    image_by_image(blur, len(images))
    return out


def _blurred(
    images: Tensor,
    sigma: float | Tensor,
    box: tuple[float, float],
    truncate: float,
    dtype: torch.dtype | None,
    compute: torch.dtype | None,
) -> Tensor:
    work, result = arithmetic_dtype(images, compute), result_dtype(images, dtype)
    height, width = images.shape[-2:]
    if not isinstance(sigma, Tensor) or sigma.ndim == 0:
        sigma = float(sigma)
        check_sigma(sigma, truncate)
        if sigma == 0 and box == NO_BOX:
            return rounded(images, result)
    if by_image(images) and work != torch.float64 and max(height, width) >= SMALL:
        if isinstance(sigma, Tensor):
            check_sigmas(sigma, truncate)
        sigmas = [sigma] * len(images) if isinstance(sigma, float) else sigma.double().tolist()
        out = torch.empty(images.shape, dtype=result)
        # Of one sigma a few images at a time, whose channels are as good as those of one.
        few = max(1, len(images) // (4 * torch.get_num_threads())) if isinstance(sigma, float) else 1
        parts = [slice(k, k + few) for k in range(0, len(images), few)]

        def blur(k: int) -> None:
            pixels, blurred = images[parts[k]].flatten(0, 1), out[parts[k]].flatten(0, 1)
            blur_image(pixels, sigmas[parts[k].start], truncate, work, blurred, None, box)

        image_by_image(blur, len(parts))
        return out
    if isinstance(sigma, float):
        shared = blur_operators(sigma, box, (height, width), truncate, images.device, work)
        return apply(images, lambda _: shared, dtype, work, (height, width), channels_first_product)
    each = sigma

    def operator(part: slice, axis: int) -> Tensor:
        some = blur_matrices(each[part], box[axis], images.shape[2 + axis], truncate, images.device, exact_dtype(work))
        return rounded_weights(some, work)

    def operators(part: slice) -> Operators:
        rows = operator(part, 0)
        return rows, rows if (box[0], height) == (box[1], width) else operator(part, 1)

    return apply(images, operators, dtype, work, (height, width), channels_first_product)


def checked_sigma(images: Tensor, sigma: Sigma) -> float | Tensor:
    """Sigma as a number, or a tensor [N]; raises ValueError for another shape, or what is no number."""
    if isinstance(sigma, str) or not isinstance(sigma, Tensor | np.ndarray | Sequence):
        try:
            return float("none" if isinstance(sigma, str) else sigma)
        except (TypeError, ValueError):
            raise ValueError(f"sigma must be a number, or one for each image, not {sigma!r}") from None
    try:
        each = sigma if isinstance(sigma, Tensor) else torch.from_numpy(np.asarray(sigma, np.float64).copy())
    except (TypeError, ValueError):
        raise ValueError(f"sigma must be a number, or one for each image, not {sigma!r}") from None
    if each.ndim and each.shape != images.shape[:1]:
        given = f"{len(each)} sigmas" if each.ndim == 1 else f"sigmas of shape {list(each.shape)}"
        raise ValueError(f"{len(images)} images but {given}")
    return each if each.ndim else float(each)


def _contained(
    images: Tensor, blur: Callable[[Tensor, torch.dtype | None], Tensor], dtype: torch.dtype | None
) -> Tensor:
    """`blur(images, dtype)`, but pixels that are not finite reach as far as their kernels do: a product of matrices
    would multiply all others by zero, which is NaN."""
    if not images.is_floating_point() or bool((whole := images.isfinite()).all()):
        return blur(images, dtype)
    reached = blur((~whole).to(torch.float32), torch.float32) != 0
    return blur(images.where(whole, torch.zeros_like(images)), dtype).masked_fill(reached, torch.nan)
