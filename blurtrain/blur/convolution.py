"""Blur by any kernel, separable or not, the same for all images or another for each."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from blurtrain.blur.arithmetic import in_float32, in_own_arithmetic
from blurtrain.blur.cores import image_by_image
from blurtrain.blur.kernels import stack
from blurtrain.blur.point_spread import check_kernel
from blurtrain.blur.product import CACHED, check_images, result_dtype, rounded, workspace
from blurtrain.blur.taps import MOST_SWEEPS, available, gather, reflected, taps_of


@in_own_arithmetic
def convolve(
    images: Tensor, kernel: Tensor | NDArray[np.floating], *, dtype: torch.dtype | None = None, method: str = "auto"
) -> Tensor:
    """Convolve images [N, C, H, W] with a kernel [k, k] or with kernels [N, k, k], with reflecting borders.

    Kernels (k odd, at most MAX_SIDE; tensors or NumPy arrays) are point-spread functions: each pixel is spread out as
    the kernel looks, so it is a true convolution. The border reflects without repeating the edge pixel, also where the
    kernel is wider than the image. Arithmetic is in float32 (float64 for float64 images), at most 1e-3 of 255 from
    exact; the result has the dtype of the images, float32 for uint8, or `dtype` (uint8 is rounded). Differentiable in
    the images and in the kernels. `method`: "spatial" (grouped convolution), "fourier", "taps" (image by image, see
    `blurtrain.blur.taps`: on a processor with Numba, without gradients), or whichever is faster.
    Raises ValueError for kernels of another shape or number, or that are not finite.
    """
    check_images(images)
    work = torch.float64 if images.dtype == torch.float64 else torch.float32
    # Kernels of `blurtrain.blur.kernels` are read-only arrays, of which torch wants a copy.
    given = torch.tensor(kernel) if isinstance(kernel, np.ndarray) else kernel
    kernels = given.to(images.device, work, non_blocking=True)
    if kernels.ndim == 3 and len(kernels) != len(images):
        raise ValueError(f"{len(images)} images but {len(kernels)} kernels")
    check_kernel(tuple(kernels.shape), bool(torch.isfinite(given).all()))  # where given: a GPU need not be waited for
    taken = _takes_taps(images) and not given.requires_grad
    if method == "taps" and not taken:
        raise ValueError("method taps is for images on a processor, in other than float64, without gradients, by Numba")
    if taken and method in ("taps", "auto"):
        exact = given.double().numpy(force=True)
        each = list(exact) if exact.ndim == 3 else [exact] * len(images)
        out = torch.empty(images.shape, dtype=result_dtype(images, dtype))
        image_by_image(lambda k: convolve_one(images[k], each[k], out[k], method), len(images))
        return out
    n, channels, height, width = images.shape
    down, across = (k // 2 for k in kernels.shape[-2:])
    function = _METHODS[method if method != "auto" else _faster(max(kernels.shape[-2:]), images)]
    padded = channels * (height + 2 * down) * (width + 2 * across)
    step = workspace(images.device) // (5 * padded * work.itemsize)
    if function is _fourier and images.device.type == "cpu":
        step = min(step, CACHED // padded)
    step = max(1, step)
    places = [torch.tensor(reflected(side, r)).to(images.device) for side, r in ((height, down), (width, across))]
    parts = []
    for start in range(0, n, step):
        part = slice(start, start + step)
        pixels = images[part].to(work)
        if down < height and across < width:
            pixels = functional.pad(pixels, (across, across, down, down), mode="reflect")
        else:  # torch pads by less than the image only
            pixels = pixels[:, :, places[0]][:, :, :, places[1]]
        blurred = function(pixels, kernels[part] if kernels.ndim == 3 else kernels[None], height, width)
        parts.append(rounded(blurred, result_dtype(images, dtype)))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def convolve_each(images: Tensor, kernels: Sequence[NDArray[np.float64]]) -> Tensor:
    """`convolve` each image [C, H, W] with its own kernel, of whichever side; same shape and dtype as the images.

    On a processor each on one core: what becomes of an image does not depend on the others, or on how many cores.
    Raises ValueError where there are not as many kernels as images.
    """
    if len(kernels) != len(images):
        raise ValueError(f"{len(images)} images but {len(kernels)} kernels")
    if images.device.type != "cpu" or images.requires_grad:
        return convolve(images, stack(kernels), dtype=images.dtype) if len(kernels) else images
    out = torch.empty_like(images, memory_format=torch.contiguous_format)
    image_by_image(lambda k: convolve_one(images[k], kernels[k], out[k]), len(images))
    return out


def _takes_taps(images: Tensor) -> bool:
    return images.device.type == "cpu" and images.dtype != torch.float64 and not images.requires_grad and available()


def convolve_one(
    image: Tensor,
    kernel: NDArray[np.floating],
    out: Tensor,
    method: str = "auto",
    normal: tuple[Tensor, Tensor] | None = None,
) -> None:
    """`convolve` for one image [C, H, W] on a processor, into `out` of any dtype, by a thread that has one core.

    normal: what is taken off the result, and what the rest is multiplied by, [C, 1, 1].
    """
    if _takes_taps(image):
        taps = taps_of(kernel)
        blurred = out if out.dtype == torch.float32 and out.is_contiguous() else torch.empty(image.shape)
        pixels = image if image.dtype == torch.float32 else image.float()
        if (method == "taps" or taps.sweeps <= MOST_SWEEPS) and gather(pixels, taps, blurred, normal):
            if blurred is not out:
                out.copy_(rounded(blurred, out.dtype))
            return
    method = _faster(max(kernel.shape), image)
    out.copy_(convolve(image[None], kernel, dtype=out.dtype, method=method)[0])
    if normal:
        out.sub_(normal[0]).mul_(normal[1])


def _spatial(padded: Tensor, kernels: Tensor, height: int, width: int) -> Tensor:
    n, channels = padded.shape[:2]
    weights = kernels.flip(1, 2)[:, None]  # conv2d correlates
    # One group a channel, also where all share one kernel: many times faster than a batch of one-channel images.
    weights = weights.expand(n, -1, -1, -1).repeat_interleave(channels, 0)
    blurred = padded.flatten(0, 1)[None]
    if padded.device.type == "cuda":  # TF32, which is on by default there, errs by a tenth of 255
        with in_float32(torch.backends.cudnn.conv, default="tf32"), _deterministic():
            blurred = functional.conv2d(blurred, weights, groups=n * channels)
    else:
        blurred = functional.conv2d(blurred, weights, groups=n * channels)
    return blurred.view(n, channels, height, width)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _fourier(padded: Tensor, kernels: Tensor, height: int, width: int) -> Tensor:
    whole = padded.isfinite()
    if padded.device.type == "cpu" and not bool(whole.all()):  # a transform would spread it over the whole image
        given = padded.where(whole, torch.zeros_like(padded))
        reached = _fourier((~whole).to(padded.dtype), (kernels != 0).to(padded.dtype), height, width) > 0.5
        return _fourier(given, kernels, height, width).masked_fill(reached, torch.nan)
    # Circular convolution wraps only into the padding, which is cut off, so no further padding is needed.
    size = [smooth_length(side) for side in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernels, s=size)[:, None]
    down, across = kernels.shape[1] - 1, kernels.shape[2] - 1
    return torch.fft.irfft2(spectrum, s=size)[..., down : down + height, across : across + width]


def smooth_length(n: int) -> int:
    """The least multiple of 4, at least n, without prime factors above 11: lengths that transforms are fast at."""
    n = -(-n // 4) * 4
    while True:
        rest = n
        for factor in (2, 3, 5, 7, 11):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 4


def _faster(side: int, images: Tensor) -> str:
    """By measurement (`blurtrain bench blur`), but not at run time: a choice that varied would vary the results."""
    return "spatial" if side <= (13 if max(images.shape[-2:]) >= 48 else 21) else "fourier"


_METHODS: dict[str, Callable[[Tensor, Tensor, int, int], Tensor]] = {"spatial": _spatial, "fourier": _fourier}
