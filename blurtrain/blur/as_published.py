"""The blurs of ImageNet-C as its authors' program makes and stores them: 8-bit images of 224 x 224, cut to 8 bits after
each step, and saved as JPEG.

Parameters and draws are those of `blurtrain.blur.corruptions`. What is added here, as read in the program
(github.com/hendrycks/robustness, make_imagenet_c.py) and in what it calls:

- Gaussian and glass repeat the edge pixel at the borders (scikit-image's default), as motion does (ImageMagick's).
- The defocus kernel is kept as it is in float32: at severity 4 and 5 its sum is 1.013 and 1.011.
- Decimals are cut off, as numpy.uint8 does: so a white sky may come out as 254, where a sum of weights is a last bit
  less than 1. Glass is cut after its first blur too. ImageMagick rounds to 16 bits, and cuts those to 8.
- JPEG: quality 85, chroma at half the resolution, as Pillow saves it by default.

Arithmetic is float64 (zoom: float32 sums) in the program's order, as one level less would change a whole block of the
JPEG. One image takes some milliseconds on a core; nothing is differentiable.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur import corruptions, kernels
from blurtrain.blur.cores import image_by_image
from blurtrain.blur.corruptions import DEFOCUS, GAUSSIAN, GLASS, MOTION

SIDE = 224
QUALITY = 85
Pixels = NDArray[np.uint8]
"""One image [224, 224, 3]."""


def published(images: Tensor, family: str, severity: int, seed: int, indices: Sequence[int]) -> Tensor:
    """Images [N, 3, 224, 224] in 0..255, rounded to 8 bits, as ImageNet-C would have them, on their device and in their
    dtype (float).

    family: a name in FAMILIES; seed, indices: as in `corruptions.glass` and `motion_angle`. ValueError for images of
    another shape, or a severity not in 1..5.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, SIDE, SIDE):
        raise ValueError(f"images must be [N, 3, {SIDE}, {SIDE}], not of shape {tuple(images.shape)}")
    blur = FAMILIES[family]
    pixels = images.detach().clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    out = np.empty_like(pixels)

    def one(k: int) -> None:
        out[k] = jpeg(blur(pixels[k], severity, seed, indices[k]))

    image_by_image(one, len(pixels))
    return (
        torch.from_numpy(out).permute(0, 3, 1, 2).to(images.device, images.dtype, memory_format=torch.contiguous_format)
    )


def gaussian(pixels: Pixels, severity: int, seed: int = 0, index: int = 0) -> Pixels:
    """A Gaussian blur of GAUSSIAN[severity - 1] pixels; seed and index change nothing."""
    return _cut(_smoothed(pixels / 255.0, GAUSSIAN[severity - 1]))


def glass(pixels: Pixels, severity: int, seed: int, index: int) -> Pixels:
    """A Gaussian blur, the pixels that `corruptions.glass_map` gives for image `index`, and the same blur again."""
    sigma = GLASS[severity - 1][0]
    source = corruptions.glass_map(SIDE, SIDE, severity, seed, index)
    # The first is not clipped, and need not be: weights of unit sum do not lead out of 0..1.
    moved = _cut(_smoothed(pixels / 255.0, sigma)).reshape(-1, 3)[source].reshape(pixels.shape)
    return _cut(_smoothed(moved / 255.0, sigma))


def defocus(pixels: Pixels, severity: int, seed: int = 0, index: int = 0) -> Pixels:
    """Convolution by `defocus_kernel`, the border reflected without the edge pixel; seed and index change nothing."""
    kernel = defocus_kernel(severity)
    half = len(kernel) // 2
    padded = np.pad(pixels / 255.0, ((half, half), (half, half), (0, 0)), mode="reflect")
    side = len(padded)
    # A kernel that is its own mirror image: convolution is correlation.
    spectrum = np.fft.rfft2(kernel.astype(np.float64), (side, side))[..., None]
    blurred = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * spectrum, (side, side), axes=(0, 1))
    return _cut(blurred[2 * half :, 2 * half :])


def defocus_kernel(severity: int) -> NDArray[np.float32]:
    """The disk in float32, smoothed as OpenCV does it there: sums of two mirrored pixels, fused multiply-add."""
    radius, sigma = DEFOCUS[severity - 1]
    half, reach = (8, 1) if radius <= 8 else (radius, 2)
    covered = kernels.disk(radius) > 0
    disk = np.pad(covered.astype(np.float32) / np.float32(covered.sum()), half - radius + reach, mode="constant")
    inner = disk[reach:-reach, reach:-reach]
    taps = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    taps = (taps / (taps[0] + 2 * taps[1:].sum())).astype(np.float32)
    for _ in range(2):  # rows, then columns
        padded = np.pad(inner, ((0, 0), (reach, reach)), mode="reflect")
        total = padded[:, reach:-reach] * taps[0]
        for k in range(1, reach + 1):
            ends = padded[:, reach - k : -reach - k] + padded[:, reach + k : len(padded[0]) - reach + k]
            total = (ends.astype(np.float64) * np.float64(taps[k]) + total).astype(np.float32)
        inner = total.T
    return inner


def motion(pixels: Pixels, severity: int, seed: int, index: int) -> Pixels:
    """`moved_along` the angle that is drawn for image `index`."""
    return moved_along(pixels, severity, corruptions.motion_angle(seed, index))


def moved_along(pixels: Pixels, severity: int, angle: float) -> Pixels:
    """ImageMagick's motion blur at an angle (degrees)."""
    radius, sigma = MOTION[severity - 1]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma * sigma))
    weights /= weights.sum()
    turn = np.radians(angle)
    rows, columns = (np.ceil(steps * part - 0.5).astype(int) for part in (np.sin(turn), np.cos(turn)))
    reach = 2 * radius
    deep = np.pad(pixels.astype(np.float64) * 257, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros(pixels.shape)
    for weight, down, right in zip(weights, reach + rows, reach + columns, strict=True):
        total += weight * deep[down : down + SIDE, right : right + SIDE]
    return ((total + 0.5).astype(np.int64) // 257).astype(np.uint8)


def zoom(pixels: Pixels, severity: int, seed: int = 0, index: int = 0) -> Pixels:
    """The mean of the image and its magnifications by `corruptions.zoom_factors`; seed and index change nothing."""
    source = (pixels / 255.0).astype(np.float32)
    exact = source.astype(np.float64)
    total = np.zeros_like(source)
    factors = corruptions.zoom_factors(severity)
    for factor in factors.tolist():
        below, above, part = corruptions.zoom_taps(SIDE, factor)
        lines = exact[below] * (1 - part)[:, None, None] + exact[above] * part[:, None, None]
        magnified = lines[:, below] * (1 - part)[:, None] + lines[:, above] * part[:, None]
        total += magnified.astype(np.float32)
    return _cut((source + total) / np.float32(len(factors) + 1))


FAMILIES: dict[str, Callable[[Pixels, int, int, int], Pixels]] = {
    "gaussian": gaussian,
    "defocus": defocus,
    "glass": glass,
    "motion": motion,
    "zoom": zoom,
}


def jpeg(pixels: Pixels) -> Pixels:
    """What a viewer reads of an image that was saved by Pillow with quality 85."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file))


def _smoothed(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter  # takes a while to import

    smoothed: NDArray[np.float64] = gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4.0)
    return smoothed


def _cut(image: NDArray[np.floating]) -> Pixels:
    """0..1 as 8 bits, without rounding."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)
