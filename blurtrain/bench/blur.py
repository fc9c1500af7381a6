"""`blurtrain bench blur`: the blur engine against torchvision v2, kornia and OpenCV, and against float64."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from blurtrain.bench import medians
from blurtrain.blur import RandomBlur, convolve, gaussian_blur, kernels, resized_crop_blur
from blurtrain.blur.blurs import Gaussian
from blurtrain.blur.cores import image_by_image
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)

Run = Callable[[], object]
SIGMAS = (0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0)
SIZES = (32, 64, 224)
RADII = (2, 4, 6, 8, 10, 12, 16, 20)
LARGEST = 65  # side of the kernels given to torchvision at most: at 129 a single call takes many seconds


def bench_blur(
    device: torch.device, batch: int = 32, repeats: int = 5, quick: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows of {what, device, dtype, size, batch, sigma, ours_ms, torchvision_ms, kornia_ms, opencv_ms,
    max_abs_error_255}; None where a peer is not installed or cannot do it. For kernels that are no Gaussians `sigma` is
    the radius, and the two ways between which ours chooses stand beside it: grouped_ms and fourier_ms.
    """
    sizes, sigmas = ((64,), (1.0, 8.0)) if quick else (SIZES, SIGMAS)
    for size in sizes:
        for sigma in sigmas:
            yield _gaussian(device, size, batch, sigma, repeats, torch.float32)
            if device.type == "cuda":
                yield _gaussian(device, size, batch, sigma, repeats, torch.bfloat16)
            else:
                yield _eight_bit(size, batch, sigma, repeats)
    for size in sizes[-1:]:
        for sigma in (0.0, 8.0) if quick else (0.0, 2.0, 8.0):
            yield _chain(device, size, batch, sigma, repeats)
        if device.type == "cpu":
            yield _eight_bit_crops(size, batch, repeats)
        for radius in RADII[1:2] if quick else RADII:
            yield _per_image(device, size, batch, radius, repeats, "disk")
        yield _per_image(device, size, batch, 24, repeats, "camera shake")
        for many in (1, batch):
            for sigma in (2.0, 8.0):
                yield _random(device, size, many, sigma, repeats)


def _row(what: str, device: torch.device, dtype: str, size: int, batch: int, sigma: float) -> dict[str, Any]:
    peers = {"ours_ms": None, "torchvision_ms": None, "kornia_ms": None, "opencv_ms": None}
    about = {"what": what, "device": str(device), "dtype": dtype, "size": size, "batch": batch, "sigma": sigma}
    return {**about, **peers, "max_abs_error_255": None}


def _timed(row: dict[str, Any], functions: dict[str, Run], device: torch.device, repeats: int) -> dict[str, Any]:
    return {**row, **{f"{k}_ms": round(v, 3) for k, v in medians(functions, device, repeats).items()}}


def noise(batch: int, size: int, device: torch.device) -> Tensor:
    """Images uint8 [batch, 3, size, size], the same each time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, size, size), generator=generator, dtype=torch.uint8).to(device)


def _error(ours: Tensor, exact: np.ndarray) -> float:
    return round(float(np.abs(ours.double().cpu().numpy() - exact).max()), 6)


def _scipy(images: Tensor, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(images.double().cpu().numpy(), (0, 0, sigma, sigma), mode="mirror")


def _gaussian(
    device: torch.device, size: int, batch: int, sigma: float, repeats: int, dtype: torch.dtype
) -> dict[str, Any]:
    images = noise(batch, size, device).to(dtype)
    radius = kernels.gaussian_radius(sigma)
    functions: dict[str, Run] = {"ours": lambda: gaussian_blur(images, sigma)}
    if radius < size:  # beyond, neither peer can pad by reflection
        taps = 2 * radius + 1
        if taps <= LARGEST:
            from torchvision.transforms.v2.functional import gaussian_blur as torchvision_blur

            functions["torchvision"] = lambda: torchvision_blur(images, [taps, taps], [sigma, sigma])
        if (kornia := _kornia()) is not None:
            functions["kornia"] = lambda: kornia.filters.gaussian_blur2d(images, (taps, taps), (sigma, sigma))
    row = _row("gaussian", device, str(dtype).removeprefix("torch."), size, batch, sigma)
    row["max_abs_error_255"] = _error(gaussian_blur(images[:2], sigma), _scipy(images[:2], sigma))
    return _timed(row, functions, device, repeats)


def _eight_bit(size: int, batch: int, sigma: float, repeats: int) -> dict[str, Any]:
    device, images = torch.device("cpu"), noise(batch, size, torch.device("cpu"))

    def ours(part: Tensor = images) -> Tensor:
        return gaussian_blur(part, sigma, dtype=torch.uint8, compute=torch.bfloat16)

    functions: dict[str, Run] = {"ours": ours}
    if (cv2 := _opencv()) is not None:
        pictures = list(images.permute(0, 2, 3, 1).contiguous().numpy())
        border = cv2.BORDER_REFLECT_101
        functions["opencv"] = lambda: [cv2.GaussianBlur(p, (0, 0), sigma, borderType=border) for p in pictures]
    row = _row("gaussian 8-bit in and out", device, "uint8 by bfloat16", size, batch, sigma)
    row["max_abs_error_255"] = _error(ours(images[:2]), _scipy(images[:2], sigma))
    return _timed(row, functions, device, repeats)


def crops(batch: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height, width (pixels) and flip, each [batch], of random crops of images of `side` pixels, in main
    memory."""
    generator = torch.Generator().manual_seed(1)
    height, width = (torch.randint(int(0.7 * side), side + 1, (batch,), generator=generator) for _ in range(2))
    top, left = ((torch.rand(batch, generator=generator) * (side - n + 1)).long() for n in (height, width))
    return top, left, height, width, torch.rand(batch, generator=generator) < 0.5


def _chain(device: torch.device, size: int, batch: int, sigma: float, repeats: int) -> dict[str, Any]:
    """Random crop, bicubic antialiased resize, flip and blur; at sigma 0 the peer does the crop and resize alone."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    side = round(size * 8 / 7)
    images, (top, left, height, width, flip) = noise(batch, side, device).float(), crops(batch, side)
    geometry = list(zip(top.tolist(), left.tolist(), height.tolist(), width.tolist(), flip.tolist(), strict=True))

    def theirs(dtype: torch.dtype = torch.float32, n: int = batch) -> Tensor:
        crops = []
        for image, (t, l, h, w, f) in zip(images[:n].to(dtype).split(1), geometry, strict=False):  # noqa: E741
            crop = tv.resized_crop(image, t, l, h, w, [size, size], InterpolationMode.BICUBIC, antialias=True)
            crops.append(crop.flip(3) if f and sigma else crop)
        taps = 2 * kernels.gaussian_radius(sigma) + 1
        return tv.gaussian_blur(torch.cat(crops), [taps, taps], [sigma, sigma]) if sigma else torch.cat(crops)

    flips = flip if sigma else None

    def ours() -> Tensor:
        return resized_crop_blur(images, top, left, height, width, size, flips, sigma)

    row = _row("crop, resize, flip, blur", device, "float32", size, batch, sigma)
    row["max_abs_error_255"] = _error(ours()[:2], theirs(torch.float64, 2).cpu().numpy())
    return _timed(row, {"ours": ours, "torchvision": theirs}, device, repeats)


def _eight_bit_crops(size: int, batch: int, repeats: int) -> dict[str, Any]:
    """Random crop, bicubic antialiased resize and flip, of 8-bit images to 8-bit images, as they are stored: channels
    beside each other. torch's own way rounds between the axes, and stays within 8 bits; both image by image."""
    from torch.nn.functional import interpolate

    device, side = torch.device("cpu"), round(size * 8 / 7)
    images = noise(batch, side, device).contiguous(memory_format=torch.channels_last)
    crop = crops(batch, side)
    places = list(zip(*(part.tolist() for part in crop), strict=True))
    out = torch.empty(batch, 3, size, size, dtype=torch.uint8)

    def theirs() -> None:
        def one(k: int) -> None:
            t, l, h, w, f = places[k]  # noqa: E741
            image = images[k : k + 1, :, t : t + h, l : l + w]
            image = interpolate(image, (size, size), mode="bicubic", antialias=True)
            out[k] = (image.flip(3) if f else image)[0]

        image_by_image(one, batch)

    def ours() -> Tensor:
        return resized_crop_blur(images, *crop[:4], size, crop[4], dtype=torch.uint8)

    top, left, height, width, flip = (part[:2] for part in crop)
    exact = resized_crop_blur(images[:2].double(), top, left, height, width, size, flip).clamp(0, 255)
    row = _row("crop, resize, flip, 8-bit", device, "uint8", size, batch, 0.0)
    row["max_abs_error_255"] = _error(ours()[:2], exact.numpy())
    return _timed(row, {"ours": ours, "torch_8bit": theirs}, device, repeats)


def _per_image(device: torch.device, size: int, batch: int, radius: int, repeats: int, kind: str) -> dict[str, Any]:
    images = noise(batch, size, device).float()
    if kind == "disk":
        stack = np.stack([kernels.disk(radius)] * batch)
    else:
        stack = kernels.stack([kernels.camera_shake(radius, seed) for seed in range(batch)])
    spread = torch.from_numpy(np.array(stack)).to(device)
    functions: dict[str, Run] = {
        "ours": lambda: convolve(images, spread),
        "grouped": lambda: convolve(images, spread, method="spatial"),
        "fourier": lambda: convolve(images, spread, method="fourier"),
    }
    if (kornia := _kornia()) is not None and stack.shape[1] // 2 < size:
        single = spread.float()
        functions["kornia"] = lambda: kornia.filters.filter2d(images, single, border_type="reflect")
    if (cv2 := _opencv()) is not None and device.type == "cpu":
        pictures = list(images.permute(0, 2, 3, 1).contiguous().numpy())
        flipped = [np.ascontiguousarray(k[::-1, ::-1]) for k in stack]
        border = cv2.BORDER_REFLECT_101
        functions["opencv"] = lambda: [
            cv2.filter2D(p, -1, k, borderType=border) for p, k in zip(pictures, flipped, strict=True)
        ]
    exact = np.stack([ndimage.convolve(c, stack[0], mode="mirror") for c in images[0].double().cpu().numpy()])
    row = _row(f"{kind}, a kernel an image", device, "float32", size, batch, radius)
    row["max_abs_error_255"] = _error(convolve(images[:1], spread[:1])[0], exact)
    return _timed(row, functions, device, repeats)


def _random(device: torch.device, size: int, batch: int, sigma: float, repeats: int) -> dict[str, Any]:
    """As a step of somebody else's transforms: sigma uniform up to this, drawn anew in each call, for each image (by
    torchvision for all of the call). Of one image, as in the workers of a DataLoader, and of a batch."""
    from torchvision.transforms.v2 import GaussianBlur

    images = noise(batch, size, device)
    given = images[0] if batch == 1 else images
    own = RandomBlur({"schedule": "uniform", "low": 0.1, "high": sigma}, resolution=size, reference_resolution=size)
    taps = 2 * kernels.gaussian_radius(sigma) + 1
    theirs = GaussianBlur(taps, (0.1, sigma))
    functions: dict[str, Run] = {"ours": lambda: own(given), "torchvision": lambda: theirs(given)}
    if (kornia := _kornia()) is not None:
        floats = images.float() / 255  # it takes no others
        augmentation = kornia.augmentation.RandomGaussianBlur((taps, taps), (0.1, sigma), p=1.0)
        functions["kornia"] = lambda: augmentation(floats)
    row = _row("RandomBlur" if batch > 1 else "RandomBlur, one image", device, "uint8", size, batch, sigma)
    fixed = RandomBlur(Gaussian(sigma=sigma, at=size), resolution=size)(images[:2])
    row["max_abs_error_255"] = _error(fixed, _scipy(images[:2], sigma))
    return _timed(row, functions, device, repeats)


def _kornia() -> Any:
    if importlib.util.find_spec("kornia") is None:
        return None
    import kornia

    return kornia


def _opencv() -> Any:
    if importlib.util.find_spec("cv2") is None:
        return None
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    return cv2


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, each peer with how many times as long it takes."""
    lines = [
        f"{'what':36} {'dtype':18} {'size':>4} {'sigma':>5} {'ours ms':>9}   peers (times ours)            max error"
    ]
    for row in rows:
        known = {"what", "device", "dtype", "size", "batch", "sigma", "ours_ms", "max_abs_error_255"}
        peers = ", ".join(
            f"{key.removesuffix('_ms')} {value / row['ours_ms']:.2f}"
            for key, value in row.items()
            if key not in known and value is not None
        )
        error = "" if row["max_abs_error_255"] is None else f"{row['max_abs_error_255']:.2g} of 255"
        lines.append(
            f"{row['what']:36} {row['dtype']:18} {row['size']:>4} {row['sigma']:>5g} {row['ours_ms']:>9.2f}   "
            f"{peers:50} {error}"
        )
    return "\n".join(lines)
