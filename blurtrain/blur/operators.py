"""Geometry and blur as one linear operator per image axis, and how it is applied.

Crop, antialiased resize, flip and Gaussian blur with reflecting borders are separable and linear. Each is a matrix per
axis (`blurtrain.blur.axis`), so their product is one too, and `out = R_i X C_i^T` does all of them at once for image i,
with its own crop and its own sigma, at a cost that does not depend on sigma.

Images are [N, C, H, W]. Results have the dtype of the images, float32 for uint8; with `dtype=torch.uint8` they are
rounded to 8 bits. Arithmetic is in float32 (float64 for float64 images), in bfloat16 for bfloat16 images, or as
`compute` says. Against float64: at most 1e-3 of 255 in float32; in bfloat16 at most 1 of 255 from sigma 3 up and 2
below, with constants preserved; float16 images are computed in float32 and rounded once.
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from blurtrain.blur.axis import gaussian_matrix, matrix_of, resize_taps, taps_matrix
from blurtrain.blur.kernels import box_taps, gaussian_radius
from blurtrain.blur.product import (
    Band,
    Operators,
    apply,
    arithmetic_dtype,
    exact_dtype,
    result_dtype,
    rounded,
    rounded_weights,
)

NO_BOX = (1.0, 1.0)


def gaussian_blur(
    images: Tensor,
    sigma: float | Tensor,
    truncate: float = 4.0,
    *,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
) -> Tensor:
    """Gaussian blur with reflecting borders.

    sigma: pixels, one number or a tensor [N]; kernels are cut at `truncate` sigmas. Differentiable in the images.
    Sigma 0 may give back the images themselves. Raises ValueError for images that are not 4-D, or a sigma that is
    negative, not finite, too large, or not one an image.
    """
    return _blurred(images, sigma, NO_BOX, truncate, dtype, compute)


def box_blur(
    images: Tensor,
    down: float = 1.0,
    across: float = 1.0,
    *,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
) -> Tensor:
    """Blur by boxes of `down` pixels along the columns and `across` along the rows (1: none), reflecting borders.

    Even lengths have two half taps at their ends, see `kernels.box_taps`. Raises ValueError for a length below 1.
    """
    return _blurred(images, 0.0, (down, across), 4.0, dtype, compute)


def resized_crop_blur(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: int | tuple[int, int],
    flip: Tensor | None = None,
    sigma: float | Tensor = 0.0,
    interpolation: str = "bicubic",
    truncate: float = 4.0,
    *,
    box: tuple[float, float] = NO_BOX,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
) -> Tensor:
    """Crop, antialiased resize to `size`, horizontal flip, and Gaussian (and box) blur, in one operator.

    top, left, height, width (pixels, integer) and flip (bool): tensors [N] (or [1]: one geometry for all images);
    size: side, or height and width, of the result; sigma: its pixels, a number or [N]; box: as in `box_blur`. Returns
    [N, C, *size]. Values may overshoot by the lobes of the bicubic filter; clamp where a protocol has 8-bit images, or
    ask for dtype=torch.uint8. Raises ValueError for a crop outside the image or a bad sigma.
    """
    work = arithmetic_dtype(images, compute)
    exact, device = exact_dtype(work), images.device
    sides = (size, size) if isinstance(size, int) else size
    geometry = tuple(g.to(device) for g in (top, left, height, width))
    flip = None if flip is None else flip.to(device)
    if {len(g) for g in (*geometry, *(() if flip is None else (flip,)))} not in ({1}, {len(images)}):
        raise ValueError(
            f"top, left, height, width and flip must have one entry each, or one for each of {len(images)} images"
        )
    _check_sigma(images, sigma)
    blurs = (isinstance(sigma, Tensor) and sigma.ndim > 0) or float(sigma) != 0 or box != NO_BOX

    def taps(part: slice) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        part = part if len(geometry[0]) > 1 else slice(None)
        at, beside, high, wide = (g[part] for g in geometry)
        mirrored = None if flip is None else flip[part]
        return (
            resize_taps(at, high, images.shape[-2], sides[0], None, interpolation),
            resize_taps(beside, wide, images.shape[-1], sides[1], mirrored, interpolation),
        )

    if _by_taps(images):
        resized = _tapped(images, exact, *taps(slice(None)))
        return rounded(_blurred(resized, sigma, box, truncate, None, work), result_dtype(images, dtype))

    def operators(part: slice) -> Operators:
        matrices = []
        for axis, (length, side, axis_taps) in enumerate(zip(images.shape[-2:], sides, taps(part), strict=True)):
            matrix = matrix_of(axis_taps, length, exact)
            if blurs:
                own = sigma[part] if isinstance(sigma, Tensor) and sigma.ndim else sigma
                matrix = torch.matmul(_matrices(own, box[axis], side, truncate, device, exact), matrix)
            matrices.append(rounded_weights(matrix, work))
        return matrices[0], matrices[1]

    return apply(images, operators, dtype, work, *sides)


def _by_taps(images: Tensor) -> bool:
    """A processor is bound by arithmetic: it is quicker with the few taps of the resize, and the blur after that."""
    return images.device.type == "cpu"


def _tapped(images: Tensor, work: torch.dtype, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Geometry image by image: weighted sums of the few pixels (place, weight) that each pixel is made of."""
    results = []
    shape = (len(images), images.shape[1], rows[0].shape[1], columns[0].shape[1])
    out = None if images.requires_grad else torch.empty(shape, dtype=work, device=images.device)
    for k, image in enumerate(images):
        (row, row_weight), (column, column_weight) = (
            (place[k % len(place)], weight[k % len(weight)].to(work)) for place, weight in (rows, columns)
        )
        lines = image.to(work).permute(1, 0, 2).flatten(1)  # [H, C W]
        lines = embedding_bag(row, lines, per_sample_weights=row_weight, mode="sum")
        lines = lines.view(len(row), len(image), -1).permute(2, 1, 0).flatten(1)  # [W, C h]
        lines = embedding_bag(column, lines, per_sample_weights=column_weight, mode="sum")
        result = lines.view(len(column), len(image), len(row)).permute(1, 2, 0)
        if out is None:
            results.append(result)
        else:
            out[k] = result
    return torch.stack(results) if out is None else out


def _blurred(
    images: Tensor,
    sigma: float | Tensor,
    box: tuple[float, float],
    truncate: float,
    dtype: torch.dtype | None,
    compute: torch.dtype | None,
) -> Tensor:
    work = arithmetic_dtype(images, compute)
    height, width = images.shape[-2:]
    _check_sigma(images, sigma)
    if not isinstance(sigma, Tensor) or sigma.ndim == 0:
        sigma = float(sigma)
        rows = _shared(sigma, box[0], height, truncate, images.device, work)
        columns = _shared(sigma, box[1], width, truncate, images.device, work)
        if sigma == 0 and box == NO_BOX:
            return rounded(images, result_dtype(images, dtype))
        return apply(images, lambda _: (rows, columns), dtype, work)
    exact = exact_dtype(work)

    def operators(part: slice) -> Operators:
        rows, columns = (
            _matrices(sigma[part], length, side, truncate, images.device, exact)
            for length, side in zip(box, (height, width), strict=True)
        )
        return rounded_weights(rows, work), rounded_weights(columns, work)

    def square(part: slice) -> Operators:
        both = rounded_weights(_matrices(sigma[part], box[0], height, truncate, images.device, exact), work)
        return both, both

    return apply(images, square if (box[0], height) == (box[1], width) else operators, dtype, work)


def _check_sigma(images: Tensor, sigma: float | Tensor) -> None:
    if isinstance(sigma, Tensor) and sigma.ndim and len(sigma) != len(images):
        raise ValueError(f"{len(images)} images but {len(sigma)} sigmas")


def _matrices(
    sigma: float | Tensor, box: float, side: int, truncate: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Gaussian, then box, along an axis of `side` pixels: [n, side, side] for n sigmas, [1, side, side] for one."""
    sigmas = torch.as_tensor(sigma, dtype=torch.float64, device=device).reshape(-1)
    blur = gaussian_matrix(sigmas, side, truncate, dtype)
    if box == 1:
        return blur
    taps = torch.from_numpy(box_taps(box).copy()).to(device)
    return torch.matmul(taps_matrix(taps[None], side, dtype), blur)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve later gradients too, wherever it is first asked for
def _shared(
    sigma: float, box: float, side: int, truncate: float, device: torch.device, work: torch.dtype
) -> Tensor | Band:
    """One blur for all images: [1, side, side], or as a band where that saves the greater part of the arithmetic.

    Processors are bound by arithmetic here, and most weights of a small sigma are zero. Accelerators are not.
    """
    matrix = rounded_weights(_matrices(sigma, box, side, truncate, device, exact_dtype(work)), work)
    block, radius = (32 if work == torch.bfloat16 else 56), gaussian_radius(sigma, truncate) + math.ceil((box - 1) / 2)
    if device.type != "cpu" or block + 2 * radius > 0.7 * side:
        return matrix
    starts = range(0, side, block)
    spans = [(max(0, a - radius), min(side, a + block + radius)) for a in starts]
    return tuple(
        (first, last, matrix[0, a : a + block, first:last].contiguous())
        for a, (first, last) in zip(starts, spans, strict=True)
    )
