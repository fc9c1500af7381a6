"""How operators along the axes are applied to a batch of images: in which arithmetic, and in which chunks."""

from collections.abc import Callable

import torch
from torch import Tensor

WORKSPACE = 256 * 2**20
"""Bytes that a call may need beside its input and its output: larger batches are cut into chunks."""
CACHED = 1_250_000
"""Values that a processor takes at a time, so that what it has just computed is still in its caches."""

# A narrow band of weights, the same for all images, in blocks of rows: first and last pixel they meet, and the weights.
Band = tuple[tuple[int, int, Tensor], ...]
Operators = tuple[Tensor | Band, Tensor | Band]  # of the rows [n or 1, h, H] and of the columns [n or 1, w, W]


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


def arithmetic_dtype(images: Tensor, compute: torch.dtype | None) -> torch.dtype:
    """The dtype to compute in."""
    check_images(images)
    if compute is not None:
        return compute
    return images.dtype if images.dtype in (torch.bfloat16, torch.float64) else torch.float32


def exact_dtype(work: torch.dtype) -> torch.dtype:
    """What matrices are made and multiplied in before they are rounded to `work`."""
    return torch.float64 if work == torch.float64 else torch.float32


def rounded_weights(matrix: Tensor, work: torch.dtype) -> Tensor:
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


def _chunk(images: Tensor, height: int, width: int, work: torch.dtype) -> int:
    """How many images at a time keep everything but input and output within WORKSPACE."""
    channels, old_height, old_width = images.shape[1:]
    values = channels * (old_height * old_width + old_height * width + height * width)
    weights = 3 * (height * (old_height + height) + width * (old_width + width))
    most = int(WORKSPACE // (work.itemsize * values + exact_dtype(work).itemsize * weights))
    if images.device.type == "cpu":
        most = min(most, CACHED // (channels * height * width))
    return max(1, most)
