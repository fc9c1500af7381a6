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
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from blurtrain.blur.axis import gaussian_matrix, matrix_of, resize_taps

WORKSPACE = 256 * 2**20
"""Bytes that a call may need beside its input and its output: larger batches are cut into chunks."""
CACHED = 1_250_000
"""Values that a processor takes at a time, so that what it has just computed is still in its caches."""

# A narrow band of weights, the same for all images, in blocks of rows: first and last pixel they meet, and the weights.
Band = tuple[tuple[int, int, Tensor], ...]
Operators = tuple[Tensor | Band, Tensor | Band]  # of the rows [n or 1, h, H] and of the columns [n or 1, w, W]


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
    Raises ValueError for images that are not 4-D, or a sigma that is negative, not finite or not one an image.
    """
    work = _arithmetic(images, compute)
    height, width = images.shape[-2:]
    if not isinstance(sigma, Tensor) or sigma.ndim == 0:
        shared = [_banded_gaussian(float(sigma), n, truncate, images.device, work) for n in (height, width)]
        if float(sigma) == 0:
            return rounded(images, result_dtype(images, dtype))
        return apply(images, lambda _: (shared[0], shared[1]), dtype, work)
    if len(sigma) != len(images):
        raise ValueError(f"{len(images)} images but {len(sigma)} sigmas")
    sigma = sigma.to(images.device)

    def operators(part: slice) -> Operators:
        rows = _weights(gaussian_matrix(sigma[part], height, truncate, _exact(work)), work)
        if width == height:
            return rows, rows
        return rows, _weights(gaussian_matrix(sigma[part], width, truncate, _exact(work)), work)

    return apply(images, operators, dtype, work)


def resized_crop_blur(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: int,
    flip: Tensor | None = None,
    sigma: float | Tensor = 0.0,
    interpolation: str = "bicubic",
    truncate: float = 4.0,
    *,
    dtype: torch.dtype | None = None,
    compute: torch.dtype | None = None,
) -> Tensor:
    """Crop, antialiased resize to size x size, horizontal flip and Gaussian blur in one operator.

    top, left, height, width (pixels, integer) and flip (bool): tensors [N] (or [1]: one geometry for all images);
    sigma: pixels of the result, a number or [N]. Returns [N, C, size, size]. Values may overshoot by the lobes of the
    bicubic filter; clamp where a protocol has 8-bit images, or ask for dtype=torch.uint8. Raises ValueError for a crop
    outside the image or a bad sigma.
    """
    work = _arithmetic(images, compute)
    geometry = [g.to(images.device) for g in (top, left, height, width)]
    flip = None if flip is None else flip.to(images.device)
    if _by_taps(images):
        at, beside, high, wide = geometry
        resized = _resized(images, at, beside, high, wide, size, flip, interpolation, _exact(work))
        return rounded(gaussian_blur(resized, sigma, truncate, compute=work), result_dtype(images, dtype))
    blur: Tensor | None = None
    if not isinstance(sigma, Tensor) or sigma.ndim == 0:
        if float(sigma) != 0:
            blur = _shared_gaussian(float(sigma), size, truncate, images.device, _exact(work))
    elif len(sigma) != len(images):
        raise ValueError(f"{len(images)} images but {len(sigma)} sigmas")

    def operators(part: slice) -> Operators:
        part = part if len(geometry[0]) > 1 else slice(None)
        at, beside, high, wide = (g[part] for g in geometry)
        mirrored = None if flip is None else flip[part]
        row_taps = resize_taps(at, high, images.shape[-2], size, None, interpolation)
        column_taps = resize_taps(beside, wide, images.shape[-1], size, mirrored, interpolation)
        rows = matrix_of(row_taps, images.shape[-2], _exact(work))
        columns = matrix_of(column_taps, images.shape[-1], _exact(work))
        own = blur
        if isinstance(sigma, Tensor) and sigma.ndim:
            own = gaussian_matrix(sigma[part].to(images.device), size, truncate, _exact(work))
        if own is not None:
            rows, columns = torch.matmul(own, rows), torch.matmul(own, columns)
        return _weights(rows, work), _weights(columns, work)

    return apply(images, operators, dtype, work, size, size)


def _by_taps(images: Tensor) -> bool:
    """A processor is bound by arithmetic: it is quicker with the few taps of the resize, and the blur after that."""
    return images.device.type == "cpu"


def _resized(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: int,
    flip: Tensor | None,
    interpolation: str,
    work: torch.dtype,
) -> Tensor:
    """The geometry alone, image by image: weighted sums of the few pixels that each pixel is made of."""
    row_place, row_weight = resize_taps(top, height, images.shape[-2], size, None, interpolation)
    column_place, column_weight = resize_taps(left, width, images.shape[-1], size, flip, interpolation)
    row_weight, column_weight = row_weight.to(work), column_weight.to(work)
    results = []
    for k, image in enumerate(images):
        g = k if len(row_place) > 1 else 0
        rows = image.to(work).permute(1, 0, 2).flatten(1)  # [H, C W]
        rows = embedding_bag(row_place[g], rows, per_sample_weights=row_weight[g], mode="sum")
        columns = rows.view(size, len(image), -1).permute(2, 1, 0).flatten(1)  # [W, C size]
        columns = embedding_bag(column_place[g], columns, per_sample_weights=column_weight[g], mode="sum")
        results.append(columns.view(size, len(image), size).permute(1, 2, 0))
    return torch.stack(results)


def apply(
    images: Tensor,
    operators: Callable[[slice], Operators],
    dtype: torch.dtype | None,
    work: torch.dtype,
    height: int | None = None,
    width: int | None = None,
) -> Tensor:
    """`rows X columns^T` for every channel, chunk by chunk; `operators` gives the matrices for a slice of the batch.

    `height` x `width` is the size of the result, by default that of the images.
    """
    n, channels, old_height, old_width = images.shape
    height, width = height or old_height, width or old_width
    result = result_dtype(images, dtype)
    step = _chunk(images, height, width, work)
    if n <= step:
        return _product(images, operators(slice(0, n)), work, result)
    parts = (slice(start, min(start + step, n)) for start in range(0, n, step))
    if images.requires_grad:
        return torch.cat([_product(images[p], operators(p), work, result) for p in parts])
    out = torch.empty(n, channels, height, width, dtype=result, device=images.device)
    for p in parts:
        out[p] = _product(images[p], operators(p), work, result)
    return out


def _product(images: Tensor, operators: Operators, work: torch.dtype, result: torch.dtype) -> Tensor:
    rows, columns = operators
    if images.dtype != torch.uint8 or work != torch.bfloat16:
        return rounded(_down(rows, _along(images.to(work), columns)), result)
    # 8-bit values around zero have twice the resolution in bfloat16, and unit-sum operators keep the offset, which
    # comes and goes with the highest bit.
    product = _down(rows, _along((images ^ 128).view(torch.int8).to(work), columns))
    if result == torch.uint8:
        return product.round_().clamp_(-128, 127).to(torch.int8).view(torch.uint8) ^ 128
    return (product.float() + 128).to(result)


def _along(pixels: Tensor, columns: Tensor | Band) -> Tensor:
    """`pixels columns^T`: every row of pixels by the operator of the columns."""
    if isinstance(columns, Tensor) and len(columns) > 1:
        return torch.matmul(pixels, columns.mT[:, None])
    flat = pixels.reshape(-1, pixels.shape[-1])  # one big product
    if isinstance(columns, Tensor):
        return torch.matmul(flat, columns[0].mT).view(*pixels.shape[:-1], columns.shape[1])
    parts = [torch.matmul(flat[:, first:last], weights.mT) for first, last, weights in columns]
    return torch.cat(parts, 1).view(*pixels.shape[:-1], -1)


def _down(rows: Tensor | Band, pixels: Tensor) -> Tensor:
    """`rows pixels`: every column of pixels by the operator of the rows."""
    if isinstance(rows, Tensor):
        return torch.matmul(rows[:, None], pixels)
    return torch.cat([torch.matmul(weights, pixels[..., first:last, :]) for first, last, weights in rows], -2)


def rounded(values: Tensor, result: torch.dtype) -> Tensor:
    """`values` as `result`; to the nearest of 0..255 for uint8."""
    if result == torch.uint8 and values.dtype != torch.uint8:
        return values.round().clamp_(0, 255).to(torch.uint8)
    return values.to(result)


def result_dtype(images: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """`dtype`, by default that of the images, float32 for uint8."""
    return dtype or (images.dtype if images.is_floating_point() else torch.float32)


def check_images(images: Tensor) -> None:
    """Raise ValueError for images of another shape or kind than 4-D uint8 or float, or for none."""
    if images.ndim != 4 or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ValueError(f"images must be uint8 or float [N, C, H, W], not {images.dtype} {list(images.shape)}")
    if 0 in images.shape:
        raise ValueError(f"an empty batch of images: {list(images.shape)}")


def _arithmetic(images: Tensor, compute: torch.dtype | None) -> torch.dtype:
    """The dtype to compute in."""
    check_images(images)
    if compute is not None:
        return compute
    return images.dtype if images.dtype in (torch.bfloat16, torch.float64) else torch.float32


def _exact(work: torch.dtype) -> torch.dtype:
    """What matrices are made and multiplied in before they are rounded to `work`."""
    return torch.float64 if work == torch.float64 else torch.float32


def _weights(matrix: Tensor, work: torch.dtype) -> Tensor:
    """`matrix` rounded to `work` so that its rows still add up to one: else a constant image would change."""
    if work in (torch.float32, torch.float64):
        return matrix.to(work)
    rounded = matrix.to(work)
    # What rounding lost goes to the largest weights, one after the other, as each can take it only coarsely.
    places = matrix.topk(min(4, matrix.shape[-1]), dim=-1).indices
    for k in range(places.shape[-1]):
        place = places[..., k : k + 1]
        lost = 1 - rounded.float().sum(-1, keepdim=True)
        rounded.scatter_(-1, place, (rounded.gather(-1, place).float() + lost).to(work))
    return rounded


@functools.lru_cache(maxsize=64)
def _shared_gaussian(sigma: float, side: int, truncate: float, device: torch.device, work: torch.dtype) -> Tensor:
    """One Gaussian for all images, [1, side, side]."""
    return _weights(gaussian_matrix(torch.tensor([sigma]), side, truncate, _exact(work)), work).to(device)


@functools.lru_cache(maxsize=64)
def _banded_gaussian(
    sigma: float, side: int, truncate: float, device: torch.device, work: torch.dtype
) -> Tensor | Band:
    """One Gaussian for all images, as a band where that saves the greater part of the arithmetic.

    Processors are bound by arithmetic here, and most weights of a small sigma are zero. Accelerators are not.
    """
    matrix = _shared_gaussian(sigma, side, truncate, device, work)
    block, radius = (32 if work == torch.bfloat16 else 56), int(truncate * sigma + 0.5)
    if device.type != "cpu" or block + 2 * radius > 0.7 * side:
        return matrix
    starts = range(0, side, block)
    spans = [(max(0, a - radius), min(side, a + block + radius)) for a in starts]
    return tuple(
        (first, last, matrix[0, a : a + block, first:last].contiguous())
        for a, (first, last) in zip(starts, spans, strict=True)
    )


def _chunk(images: Tensor, height: int, width: int, work: torch.dtype) -> int:
    """How many images at a time keep everything but input and output within WORKSPACE."""
    channels, old_height, old_width = images.shape[1:]
    values = channels * (old_height * old_width + old_height * width + height * width)
    weights = 3 * (height * (old_height + height) + width * (old_width + width))
    most = int(WORKSPACE // (work.itemsize * values + _exact(work).itemsize * weights))
    if images.device.type == "cpu":
        most = min(most, CACHED // (channels * height * width))
    return max(1, most)
