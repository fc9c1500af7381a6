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

from blurtrain.blur.axis import gaussian_matrix, resize_matrix

WORKSPACE = 256 * 2**20
"""Bytes that a call may need beside its input and its output: larger batches are cut into chunks."""

Operators = tuple[Tensor, Tensor]  # of the rows [n or 1, h, H] and of the columns [n or 1, w, W]


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
        shared = [_shared_gaussian(float(sigma), n, truncate, images.device, work) for n in (height, width)]
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
        rows = resize_matrix(at, high, images.shape[-2], size, None, interpolation, _exact(work))
        columns = resize_matrix(beside, wide, images.shape[-1], size, mirrored, interpolation, _exact(work))
        own = blur
        if isinstance(sigma, Tensor) and sigma.ndim:
            own = gaussian_matrix(sigma[part].to(images.device), size, truncate, _exact(work))
        if own is not None:
            rows, columns = torch.matmul(own, rows), torch.matmul(own, columns)
        return _weights(rows, work), _weights(columns, work)

    return apply(images, operators, dtype, work, size, size)


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
    # 8-bit values around zero have twice the resolution in bfloat16, and unit-sum operators keep the offset.
    offset = 128 if images.dtype == torch.uint8 and work == torch.bfloat16 else 0
    pixels = images.to(work)
    if offset:
        pixels = pixels - offset
    if len(columns) == 1:  # one big product: every row of every image by the same matrix
        across = torch.matmul(pixels.reshape(-1, pixels.shape[-1]), columns[0].mT)
        across = across.view(*pixels.shape[:-1], columns.shape[1])
    else:
        across = torch.matmul(pixels, columns.mT[:, None])
    product = torch.matmul(rows[:, None], across)
    if offset:
        product = product + offset if result != torch.uint8 else product.round_() + offset
    return rounded(product, result)


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
    sigmas = torch.tensor([sigma], dtype=torch.float64)
    return _weights(gaussian_matrix(sigmas, side, truncate, _exact(work)), work).to(device)


def _chunk(images: Tensor, height: int, width: int, work: torch.dtype) -> int:
    """How many images at a time keep everything but input and output within WORKSPACE."""
    channels, old_height, old_width = images.shape[1:]
    values = channels * (old_height * old_width + old_height * width + height * width)
    weights = 3 * (height * (old_height + height) + width * (old_width + width))
    return max(1, int(WORKSPACE // (work.itemsize * values + _exact(work).itemsize * weights)))
