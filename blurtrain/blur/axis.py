"""Operators along one image axis, as matrices: crop, antialiased resize, flip, and convolution with reflecting borders.

All are float64 at heart: positions and taps are computed so, and only the finished matrix is rounded to `dtype`.
"""

import contextlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.device import any_order

LARGEST_RADIUS = 10_000
"""Pixels from the centre of a Gaussian to its last tap, at most."""
OVERSAMPLED = 2.0
"""Least sigma, in steps of a grid, of a Gaussian for `local_refinement`."""
TAPS = 8
"""Values of a grid that `local_refinement` takes for each pixel."""
# Support of the resampling filters, in source pixels at scale 1 (as in PIL and torchvision, antialiased).
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


def gaussian_matrix(
    sigma: Tensor,
    side: int,
    truncate: float = 4.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Tensor:
    """Gaussian blur along an axis of `side` pixels: matrices [N, side, side] for `sigma` [N] (pixels, >= 0).

    They are made on `device`; if `sigma` is on the CPU, without waiting for that.

    Raises ValueError for a sigma that is negative, not finite, or too large (LARGEST_RADIUS).
    """
    return taps_matrix(gaussian_taps(sigma, truncate).to(device or sigma.device, non_blocking=True), side, dtype)


def gaussian_taps(sigma: Tensor, truncate: float = 4.0) -> Tensor:
    """Sampled Gaussians of unit sum, float64 [N, 2 r + 1] with r the radius of the widest, for `sigma` [N] (pixels)."""
    sigma = sigma.to(torch.float64)
    check_sigmas(sigma, truncate)
    radius = torch.floor(truncate * sigma + 0.5)  # SciPy's convention, see kernels.gaussian_radius
    widest = int(radius.max()) if len(sigma) else 0
    offsets = torch.arange(-widest, widest + 1, device=sigma.device)
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-9)[:, None]) ** 2) * (offsets.abs() <= radius[:, None])
    return taps / taps.sum(1, keepdim=True)


def check_sigma(sigma: float, truncate: float) -> None:
    """Raise ValueError for what is no sigma of a Gaussian, or one too large."""
    if not 0 <= sigma < math.inf:
        raise ValueError("sigma must be a finite number of pixels >= 0")
    if not truncate > 0 or sigma * truncate > LARGEST_RADIUS:
        raise ValueError(f"a Gaussian must be cut at more than 0 and at most {LARGEST_RADIUS} pixels from its centre")


def check_sigmas(sigma: Tensor, truncate: float) -> None:
    """Raise ValueError as `check_sigma` does, for each of `sigma` [N]."""
    if not bool((torch.isfinite(sigma) & (sigma >= 0)).all()):
        raise ValueError("sigma must be a finite number of pixels >= 0")
    check_sigma(float(sigma.max() if len(sigma) else 0), truncate)


def taps_matrix(taps: Tensor, side: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Convolution along an axis with `taps` [N, K] (K odd, the middle one at distance 0), as matrices [N, side, side].

    The border reflects without repeating the edge pixel (torch "reflect", SciPy "mirror"), also where the kernel is
    wider than the image.
    """
    if side == 1:
        return taps.sum(1)[:, None, None].to(dtype)
    # A reflected row repeats with this period, so taps that meet the same pixel are added up once ...
    radius, period = taps.shape[1] // 2, 2 * (side - 1)
    # (a convolution meets pixel i - k at tap k, that is, distance d = j - i at tap -d)
    distance = torch.arange(radius, -radius - 1, -1, device=taps.device) % period
    folded = torch.zeros(len(taps), period, dtype=torch.float64, device=taps.device)
    with any_order() if len(distance) <= period else contextlib.nullcontext():
        folded = folded.index_add(1, distance, taps.to(torch.float64)).to(dtype)
    # ... and pixel j is met at distance j - i and, by reflection, at -j - i (the two border pixels only once).
    steps = torch.arange(2 * side - 1, device=taps.device)
    direct = folded[:, (steps - (side - 1)) % period].unfold(1, side, 1).flip(1)
    mirrored = folded[:, (-steps) % period].unfold(1, side, 1)
    inner = torch.arange(side, device=taps.device) % (side - 1) != 0
    return torch.addcmul(direct, mirrored, inner.to(dtype))


def check_crops(start: Tensor, length: Tensor, side: int) -> None:
    """Raise ValueError for a crop of `length` [N] pixels from `start` [N] on that is not inside an axis of `side`
    pixels."""
    if bool(((start < 0) | (length < 1) | (start + length > side)).any()):
        raise ValueError(f"a crop reaches outside the image of {side} pixels")


def resize_taps(
    start: Tensor, length: Tensor, side: int, size: int, flip: Tensor | None = None, interpolation: str = "bicubic"
) -> tuple[Tensor, Tensor]:
    """Crop `length` pixels from `start`, resize them to `size` with antialiasing, and flip, along an axis of `side`.

    start, length: integer tensors [N]; flip: bool [N]. Returns which pixels each pixel of the result is made of (int64
    [N, size, K]) and with which weights (float64), as torchvision's antialiased `resized_crop` does (filters of PIL:
    bicubic with a = -0.5).
    """
    target = torch.arange(size, device=start.device)
    if flip is not None:
        target = torch.where(flip[:, None], size - 1 - target, target)
    place, weight = resampled_at(target.expand(len(start), size), length, size, side / size, interpolation)
    return start[:, None, None] + place, weight


def resampled_at(
    target: Tensor, length: Tensor, size: int | Tensor, most: float, interpolation: str
) -> tuple[Tensor, Tensor]:
    """Pixels `target` [N, P] of an axis of `length` [N] pixels that is resized to `size` ([N], or the same for all)
    with antialiasing. `most`: no axis shrinks by more. Returns places [N, P, K] and weights, as `resize_taps`."""
    length = length[:, None, None]
    scale = length.to(torch.float64) / (size[:, None, None] if isinstance(size, Tensor) else size)
    stretch = scale.clamp(min=1.0)  # antialiasing: the filter widens where pixels are lost
    support = _SUPPORT[interpolation] * stretch
    centre = scale * (target[:, :, None] + 0.5)
    first = torch.floor(centre - support + 0.5).clamp(min=0)
    last = torch.minimum(torch.floor(centre + support + 0.5), length)
    tap = first + torch.arange(tap_count(most, interpolation), device=target.device)
    weight = _filter((tap - centre + 0.5).abs() / stretch, interpolation) * (tap < last)
    return tap.long().minimum(length - 1), weight / weight.sum(2, keepdim=True)


def tap_count(most: float, interpolation: str) -> int:
    """How many pixels one of the result is made of, where no axis shrinks by more than `most`."""
    return 2 * math.ceil(_SUPPORT[interpolation] * max(1, most)) + 1


def matrix_of(taps: tuple[Tensor, Tensor], side: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """What `resize_taps` gives, as matrices [N, size, side]."""
    place, weight = taps
    matrix = torch.zeros(*place.shape[:2], side, dtype=dtype, device=place.device)
    with any_order():  # several taps meet one pixel only beyond a border, where they weigh nothing
        return matrix.scatter_add_(2, place, weight.to(dtype))


def grid(side: int, step: int) -> Tensor:
    """Every `step`-th pixel (or one nearer) along an axis of `side` pixels, from the first to the last: int64
    [pixels]."""
    return torch.linspace(0, side - 1, math.ceil((side - 1) / step) + 1).round().long()


def local_refinement(side: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """From the pixels of `grid` to all, for what a Gaussian of OVERSAMPLED steps or more has blurred.

    For each pixel the first of TAPS neighbouring values of the grid, [side], and their weights, [side, TAPS], of unit
    sum: least squares over all images that have been blurred so. A Gaussian cut at 4 sigmas loses at most 1e-4 of the
    largest value by it. Raises ValueError for a grid of fewer than TAPS values.
    """
    at = grid(side, step).numpy()
    if len(at) < TAPS:
        raise ValueError(f"a grid of {len(at)} values, of which {TAPS} are to be taken")
    blur = gaussian_matrix(torch.tensor([OVERSAMPLED * step]), side, truncate=8.0)[0].numpy()
    before = np.searchsorted(at, np.arange(side), side="right") - 1
    first = np.clip(before - (TAPS // 2 - 1), 0, len(at) - TAPS)
    known = blur[at[first[:, None] + np.arange(TAPS)]]  # [side, TAPS, side]
    # Singular values that the pseudo-inverse leaves out are of what the blur leaves nothing of.
    weights = np.stack([blur[y] @ np.linalg.pinv(known[y], rcond=1e-7) for y in range(side)])
    return first, weights / weights.sum(1, keepdims=True)


def _filter(distance: Tensor, interpolation: str) -> Tensor:
    if interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    d, a = distance, -0.5  # Keys 1981
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
