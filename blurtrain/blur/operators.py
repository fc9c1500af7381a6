"""Geometry and blur as one linear operator per image axis.

Crop, antialiased resize, flip and Gaussian blur with reflecting borders are separable and linear. Each is a matrix per
axis, so their product is one too, and `out = R_i X C_i^T` does all of them at once for image i, with its own crop and
its own sigma, at a cost that does not depend on sigma.
"""

import functools
import math

import torch
from torch import Tensor

# Support and shape of the resampling filters, in source pixels at scale 1 (as in PIL and torchvision, antialiased).
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


def gaussian_matrix(sigma: Tensor, side: int, truncate: float = 4.0) -> Tensor:
    """Blur along an axis of `side` pixels, as matrices [N, side, side] in float64 for `sigma` [N] (pixels, >= 0).

    The border reflects without repeating the edge pixel (torch "reflect", SciPy "mirror"), also where the kernel is
    wider than the image. Raises ValueError for a sigma that is negative or not finite.
    """
    sigma = sigma.to(torch.float64)
    if not bool(torch.isfinite(sigma).all() and (sigma >= 0).all()):
        raise ValueError("sigma must be a finite number of pixels >= 0")
    if side == 1:
        return torch.ones(len(sigma), 1, 1, dtype=torch.float64, device=sigma.device)
    radius = torch.floor(truncate * sigma + 0.5)  # SciPy's convention, see kernels.gaussian_radius
    widest = int(radius.max()) if len(sigma) else 0
    offsets = torch.arange(-widest, widest + 1, device=sigma.device)
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-9)[:, None]) ** 2) * (offsets.abs() <= radius[:, None])
    taps = taps / taps.sum(1, keepdim=True)
    # A reflected row repeats with this period, so taps that fall on the same pixel are added up once ...
    period = 2 * (side - 1)
    folded = torch.zeros(len(sigma), period, dtype=torch.float64, device=sigma.device)
    folded.index_add_(1, offsets % period, taps)
    # ... and pixel j is met at distance i - j and, by reflection, at i + j (the two border pixels only once).
    cyclic = folded[:, torch.arange(-(side - 1), 2 * side - 1, device=sigma.device) % period]
    windows = cyclic.unfold(1, side, 1)
    matrix = windows[:, :side].flip(1).contiguous()
    matrix[:, :, 1:-1] += windows[:, side - 1 :, 1:-1]
    return matrix


def resize_matrix(
    start: Tensor, length: Tensor, side: int, size: int, flip: Tensor | None = None, interpolation: str = "bicubic"
) -> Tensor:
    """Crop `length` pixels from `start`, resize them to `size` with antialiasing, and flip, along an axis of `side`.

    start, length: integer tensors [N]; flip: bool [N]. Returns float64 [N, size, side], equal to torchvision's
    antialiased `resized_crop` (filters of PIL: bicubic with a = -0.5). Raises ValueError for a crop outside the image.
    """
    if bool(((start < 0) | (length < 1) | (start + length > side)).any()):
        raise ValueError(f"a crop reaches outside the image of {side} pixels")
    start, length = start[:, None, None], length[:, None, None]
    scale = length.to(torch.float64) / size
    stretch = scale.clamp(min=1.0)  # antialiasing: the filter widens where pixels are lost
    support = _SUPPORT[interpolation] * stretch
    target = torch.arange(size, device=start.device)
    if flip is not None:
        target = torch.where(flip[:, None], size - 1 - target, target)
    centre = scale * (target.expand(len(start), size)[:, :, None] + 0.5)
    first = torch.floor(centre - support + 0.5).clamp(min=0)
    last = torch.minimum(torch.floor(centre + support + 0.5), length)
    tap = first + torch.arange(2 * math.ceil(float(support.max())) + 1 if len(start) else 1, device=start.device)
    distance = (tap - centre + 0.5).abs() / stretch
    weight = _filter(distance, interpolation) * (tap < last)
    weight = weight / weight.sum(2, keepdim=True)
    matrix = torch.zeros(len(start), size, side, dtype=torch.float64, device=start.device)
    return matrix.scatter_add_(2, (start + tap.long()).clamp(max=side - 1), weight)


def _filter(distance: Tensor, interpolation: str) -> Tensor:
    if interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    d, a = distance, -0.5  # Keys 1981
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def apply(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`rows X columns^T` for every channel: images [N, C, H, W], rows [N or 1, h, H], columns [N or 1, w, W]."""
    dtype = images.dtype if images.is_floating_point() else torch.float32
    images, rows, columns = images.to(dtype), rows.to(dtype), columns.to(dtype)
    return torch.matmul(rows[:, None], torch.matmul(images, columns.mT[:, None]))


def gaussian_blur(images: Tensor, sigma: float | Tensor, truncate: float = 4.0) -> Tensor:
    """Gaussian blur with reflecting borders, exact to float rounding.

    images: [N, C, H, W], any unit; sigma: pixels, one number or a tensor [N], cut at `truncate` sigmas. uint8 comes
    back as float32. Raises ValueError for a bad sigma.
    """
    if isinstance(sigma, Tensor) and sigma.ndim:
        if len(sigma) != len(images):
            raise ValueError(f"{len(images)} images but {len(sigma)} sigmas")
        if len(sigma) and bool((sigma == sigma[0]).all()):
            sigma = float(sigma[0])
    if not isinstance(sigma, Tensor):
        if sigma == 0:
            return images if images.is_floating_point() else images.float()
        rows, columns = (_cached_gaussian(float(sigma), n, truncate, images.device) for n in images.shape[-2:])
    else:
        rows, columns = (gaussian_matrix(sigma.to(images.device), n, truncate) for n in images.shape[-2:])
    return apply(images, rows, columns)


@functools.lru_cache(maxsize=64)
def _cached_gaussian(sigma: float, side: int, truncate: float, device: torch.device) -> Tensor:
    return gaussian_matrix(torch.tensor([sigma], dtype=torch.float64), side, truncate).float().to(device)


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
) -> Tensor:
    """Crop, antialiased resize to size x size, horizontal flip and Gaussian blur in one operator.

    images: [N, C, H, W]; top, left, height, width (pixels) and flip: tensors [N], another geometry for every image;
    sigma: pixels of the result, a number or [N]. Returns [N, C, size, size] in the unit of the images, float32 if they
    were uint8. Values may overshoot by the lobes of the bicubic filter; clamp where a protocol has 8-bit images.
    """
    rows = resize_matrix(top, height, images.shape[-2], size, None, interpolation)
    columns = resize_matrix(left, width, images.shape[-1], size, flip, interpolation)
    sigma = torch.as_tensor(sigma, dtype=torch.float64, device=rows.device).reshape(-1)
    if bool((sigma != 0).any()):
        blur = gaussian_matrix(sigma, size, truncate)
        rows, columns = blur @ rows, blur @ columns
    return apply(images, rows.to(images.device), columns.to(images.device))
