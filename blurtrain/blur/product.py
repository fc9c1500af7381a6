"""How operators along the axes are applied to images: in which arithmetic, in which order, and in which chunks."""

from collections.abc import Callable

import torch
from torch import Tensor

from blurtrain.device import any_order

WORKSPACE = {"cpu": 256 * 2**20, "cuda": 2**30}
"""Bytes that a call may need beside its input and its output: larger batches are cut into chunks. A GPU waits for what
launches its kernels, once a chunk."""
CACHED = 1_250_000
"""Values that a processor takes at a time, so that what it has just computed is still in its caches."""
SMALL = 96
"""Pixels a side, up to which a processor is busier with the number of operations than with their size."""
Operators = tuple[Tensor, Tensor]  # of the rows [n or 1, h, H] and of the columns [n or 1, w, W]


def apply(
    images: Tensor,
    operators: Callable[[slice], Operators],
    dtype: torch.dtype | None,
    work: torch.dtype,
    sides: tuple[int, int],
    product: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """`rows X columns^T` for every channel of images [N, C, H, W], chunk by chunk.

    `operators` gives them for a slice of the batch; `sides` are height and width of the result; `product` is how.
    """
    result, step = result_dtype(images, dtype), _chunk(images, *sides, work)

    def part(some: slice) -> Tensor:
        pixels, offset = centred(images[some], work)
        return shifted(product(pixels, *operators(some)), offset, result)

    n = len(images)
    parts = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    if len(parts) == 1 or images.requires_grad:
        return torch.cat([part(some) for some in parts]) if len(parts) > 1 else part(parts[0])
    out = torch.empty(n, images.shape[1], *sides, dtype=result, device=images.device)
    for some in parts:
        out[some] = part(some)
    return out


def workspace(device: torch.device) -> int:
    """WORKSPACE on `device`."""
    return WORKSPACE.get(device.type, WORKSPACE["cpu"])


def centred(images: Tensor, work: torch.dtype) -> tuple[Tensor, int]:
    """`images` in `work`, and what was taken off them: of 8-bit values in bfloat16 128, for then they have twice the
    resolution, and unit-sum operators keep the offset."""
    if images.dtype != torch.uint8 or work != torch.bfloat16:
        return images.to(work), 0
    return (images ^ 128).view(torch.int8).to(work), 128  # comes and goes with the highest bit


def shifted(pixels: Tensor, offset: int, result: torch.dtype) -> Tensor:
    """The values that `centred` has taken `offset` off, as `result`, of the same shape."""
    if not offset:
        return rounded(pixels, result)
    if result == torch.uint8:
        return pixels.round_().clamp_(-128, 127).to(torch.int8).view(torch.uint8) ^ 128
    return (pixels.float() + offset).to(result)


def channels_first_product(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`rows X columns^T` for images [N, C, H, W] whose channels are apart in memory."""
    if len(columns) > 1:
        return torch.matmul(rows[:, None], torch.matmul(pixels, columns.mT[:, None]))
    along = torch.matmul(pixels.reshape(-1, pixels.shape[-1]), columns[0].mT)  # one big product
    return torch.matmul(rows[:, None], along.view(*pixels.shape[:-1], columns.shape[1]))


def channels_last_product(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`rows X columns^T` for images [N, C, H, W] whose channels lie beside each other.

    They are taken as they are: the axis to contract comes first, and what it becomes is last, so that the other axis is
    first now: [H, W, C], [W, C, h], [C, h, w].
    """
    lines = images.permute(0, 2, 3, 1)
    for axis in (rows, columns):
        lines = _contracted(lines, axis)
    return lines


def _contracted(lines: Tensor, axis: Tensor) -> Tensor:
    """[N, K, A, B] by [N or 1, size, K]: [N, A, B, size]."""
    flat, shape = lines.flatten(2), lines.shape
    return torch.bmm(flat.mT, axis.mT.expand(shape[0], -1, -1)).view(shape[0], shape[2], shape[3], -1)


def rounded(values: Tensor, result: torch.dtype) -> Tensor:
    """`values`, of any shape, as `result`; to the nearest of 0..255 for uint8."""
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
    """The dtype to compute in; raises ValueError as `check_images` does."""
    check_images(images)
    if compute == torch.bfloat16 and images.device.type == "cpu" and max(images.shape[-2:]) < SMALL:
        return torch.float32  # is quicker there
    if compute is not None:
        return compute
    return images.dtype if images.dtype in (torch.bfloat16, torch.float64) else torch.float32


def exact_dtype(work: torch.dtype) -> torch.dtype:
    """What matrices are made and multiplied in before they are rounded to `work`."""
    return torch.float64 if work == torch.float64 else torch.float32


def rounded_weights(matrix: Tensor, work: torch.dtype) -> Tensor:
    """`matrix` [..., size, K] rounded to `work` so that its rows still add up to one: else a constant image would
    change."""
    if work in (torch.float32, torch.float64):
        return matrix.to(work)
    rounded = matrix.to(work)
    # What rounding lost goes to the largest weights, one after the other, as each can take it only coarsely.
    places = matrix.topk(min(4, matrix.shape[-1]), dim=-1).indices
    for k in range(places.shape[-1]):
        place = places[..., k : k + 1]
        lost = 1 - rounded.float().sum(-1, keepdim=True)
        with any_order():  # each place once
            rounded.scatter_(-1, place, (rounded.gather(-1, place).float() + lost).to(work))
    return rounded


def _chunk(images: Tensor, height: int, width: int, work: torch.dtype) -> int:
    """How many images at a time keep everything but input and output within WORKSPACE."""
    channels, old_height, old_width = images.shape[1:]
    values = channels * (old_height * old_width + old_height * width + height * width)
    weights = 3 * (height * (old_height + height) + width * (old_width + width))
    most = int(workspace(images.device) // (work.itemsize * values + exact_dtype(work).itemsize * weights))
    if images.device.type == "cpu":
        most = min(most, CACHED // (channels * height * width))
    return max(1, most)
