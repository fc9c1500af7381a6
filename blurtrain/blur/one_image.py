"""Crop, resize, flip and blur of one image on one core of a processor, without gradients.

What `blurtrain.blur.operators` does by products of matrices, in loops over pixels that take the taps alone
(`blurtrain.blur.compiled_axes`). Wide blurs in bfloat16, whose result is smooth, are computed on every few rows, and
interpolated between: the error is far below what bfloat16 rounds away, and no processor needs instructions for it.
"""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.axis import OVERSAMPLED, TAPS, grid, local_refinement, matrix_of, resize_taps
from blurtrain.blur.kernels import box_taps, gaussian_taps
from blurtrain.blur.product import channels_first_product
from blurtrain.blur.shared import NO_BOX, blur_operators
from blurtrain.blur.taps import reflected

Affine = tuple[Tensor, Tensor]  # shift and factor of each channel, [C, 1, 1]
COARSEST = 8  # rows between those that are computed where blur is wide; more would save nothing
MOST_TAPS = 0.4
"""Of the side: reach of a kernel (over the rows between those computed) above which a product of matrices is faster."""
_Weights = tuple[NDArray[np.int64], NDArray[np.float32]]
_Grid = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def crop_image(
    image: Tensor,
    place: tuple[int, int, int, int, bool],
    sigma: float,
    interpolation: str,
    truncate: float,
    box: tuple[float, float],
    work: torch.dtype,
    out: Tensor,
    affine: Affine | None = None,
) -> None:
    """`resized_crop_blur` for one image [C, H, W], unchecked, into `out` [C, h, w] of any dtype.

    place: top, left, height, width, flip. work: bfloat16, or another for float32. affine: the shift and factor
    [C, 1, 1] that come last.
    """
    top, left, height, width, flip = place
    rows = _resizing(height, out.shape[1], False, interpolation)
    columns = _resizing(width, out.shape[2], flip, interpolation)
    if sigma or box != NO_BOX:
        shown = torch.empty(out.shape)
        _resize(image, (top, left), rows, columns, None, shown)
        blur_image(shown, sigma, truncate, work, out, affine, box)
        return
    kept = _kept(out)
    _resize(image, (top, left), rows, columns, affine, kept)
    if kept is not out:
        out.copy_(kept)


def _resize(
    image: Tensor, place: tuple[int, int], rows: _Weights, columns: _Weights, affine: Affine | None, out: Tensor
) -> None:
    from blurtrain.blur.compiled_axes import resize

    shift, factor = (part.numpy().reshape(-1) for part in affine or _as_it_is(len(image)))
    rows, columns = (rows[0] + place[0], rows[1]), (columns[0] + place[1], columns[1])
    for lines, channels, some in _lines(image):
        resize(lines, channels, rows, columns, (factor[some], shift[some]), _of_its_kind(out[some]))


def blur_image(
    image: Tensor,
    sigma: float,
    truncate: float,
    work: torch.dtype,
    out: Tensor,
    affine: Affine | None = None,
    box: tuple[float, float] = NO_BOX,
) -> None:
    """Gaussian (and box) blur of one image [C, H, W], uint8 or of floats, unchecked, into `out` of any dtype."""
    from blurtrain.blur.compiled_axes import blur

    sides = (image.shape[1], image.shape[2])
    down, across = (_taps(sigma, truncate, length) for length in box)
    step = _step(sigma, truncate, sides, work)
    if max(len(down) / sides[0], len(across) / sides[1]) > MOST_TAPS * step:
        return _by_product(image, sigma, truncate, box, out, affine)
    kept = _kept(out)
    shift, factor = affine or _as_it_is(len(image))
    blur(
        _array(image),
        (down, reflected(sides[0], len(down) - 1)),
        (across, reflected(sides[1], len(across) - 1)),
        _rows(sides[0], step),
        (factor.numpy().reshape(-1), shift.numpy().reshape(-1)),
        _of_its_kind(kept),
    )
    if kept is not out:
        out.copy_(kept)


def _kept(out: Tensor) -> Tensor:
    """`out`, or memory beside it where loops cannot write to it."""
    written = out.dtype in (torch.float32, torch.uint8, torch.bfloat16) and out.is_contiguous()
    return out if written else torch.empty(out.shape)


def _by_product(
    image: Tensor, sigma: float, truncate: float, box: tuple[float, float], out: Tensor, affine: Affine | None
) -> None:
    sides = (image.shape[1], image.shape[2])
    operators = blur_operators(sigma, box, sides, truncate, image.device, torch.float32)
    blurred = channels_first_product(image[None].float(), *operators)[0]
    if affine:
        blurred = torch.addcmul(affine[0], blurred, affine[1])
    out.copy_(blurred.round().clamp(0, 255) if out.dtype == torch.uint8 else blurred)


def _step(sigma: float, truncate: float, sides: tuple[int, int], work: torch.dtype) -> int:
    """How many rows apart what a Gaussian leaves is computed; 1: all of them.

    In bfloat16 only: the edge of a kernel that is cut leaves ripples of more than float32 promises.
    """
    if work != torch.bfloat16 or truncate < 4:
        return 1
    return max(1, min(COARSEST, int(sigma / OVERSAMPLED), sides[0] // (2 * TAPS)))


def _lines(image: Tensor) -> list[tuple[NDArray[Any], int, slice]]:
    """An image [C, H, W] as lines of pixels whose channels lie beside each other, with their number; or each channel
    as an image of its own. And which channels they are."""
    channels, height, width = image.shape
    if image.stride(0) == 1 and channels > 1:
        return [(_array(image.permute(1, 2, 0)).reshape(height, width * channels), channels, slice(None))]
    planes = _array(image)
    return [(planes[c], 1, slice(c, c + 1)) for c in range(channels)]


def _array(image: Tensor) -> NDArray[Any]:
    """Contiguous, of bytes or floats."""
    known = image if image.dtype in (torch.uint8, torch.float32) else image.float()
    return known.contiguous().numpy()


_NONE = (np.empty(0, np.float32), np.empty(0, np.uint8), np.empty(0, np.uint16))


def _of_its_kind(out: Tensor) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint16]]:
    """The values of `out` as `compiled_axes.blur` takes them."""
    floats, whole, halves = _NONE
    if out.dtype == torch.float32:
        return out.view(-1).numpy(), whole, halves
    if out.dtype == torch.uint8:
        return floats, out.view(-1).numpy(), halves
    return floats, whole, out.view(-1).view(torch.uint16).numpy()


@functools.lru_cache(maxsize=2048)
def _resizing(length: int, size: int, flip: bool, interpolation: str) -> _Weights:
    """For each of `size` pixels the first pixel of a crop of `length` that it is made of, and the weights of that and
    of the next ones."""
    whole = torch.tensor([length])
    taps = resize_taps(0 * whole, whole, length, size, torch.tensor([flip]), interpolation)
    matrix = matrix_of(taps, length)[0].numpy()
    met = matrix != 0
    first, last = met.argmax(1), length - met[:, ::-1].argmax(1)
    most = int((last - first).max())
    first = np.minimum(first, length - most)
    return first, np.take_along_axis(matrix, first[:, None] + np.arange(most), 1).astype(np.float32)


@functools.lru_cache(maxsize=512)
def _taps(sigma: float, truncate: float, length: float) -> NDArray[np.float32]:
    """Weights of the middle pixel, and of each pixel 1, 2, ... away from it: a Gaussian, then a box of `length`."""
    taps = np.convolve(gaussian_taps(sigma, truncate), box_taps(length))
    return taps[len(taps) // 2 :].astype(np.float32)


@functools.lru_cache(maxsize=64)
def _rows(side: int, step: int) -> _Grid:
    """Rows to compute, and how the others are interpolated: see `compiled_axes.blur`."""
    if step == 1:
        return np.arange(side), np.arange(0), np.empty((0, TAPS), np.float32)
    first, weights = local_refinement(side, step)
    return grid(side, step).numpy(), first, weights.astype(np.float32)


@functools.cache
def _as_it_is(channels: int) -> Affine:
    return torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)
