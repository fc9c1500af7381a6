"""`blurtrain bench blur --against copy`: the blur engine beside a copy of as many bytes, the least it can take.

A blur that reads its images once and writes its result once would be as fast as that copy.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blurtrain.bench import medians
from blurtrain.bench.blur import crops, noise
from blurtrain.blur import convolve, gaussian_blur, kernels, resized_crop_blur

Blur = Callable[[Tensor], Tensor]
SIGMA, RADIUS = 8.0, 8


def bench_bandwidth(
    device: torch.device, batch: int = 256, size: int = 224, repeats: int = 20
) -> Iterator[dict[str, Any]]:
    """Rows of {what, device, dtype, size, batch, ms, gigabytes, gigabytes_per_second, copy_ms,
    copy_gigabytes_per_second, times_a_copy, max_abs_error_255}.

    Images are [batch, 3, size, size], for the composed operator (crop, antialiased resize, flip and blur) 8/7 of that.
    gigabytes: 1e9 bytes of input read and of output written, so that a copy's rate is the device's copy bandwidth, both
    directions counted. The error is that of the first two images against the same in float64 on a processor.
    """
    side = round(size * 8 / 7)
    sigmas = torch.linspace(SIGMA, 0, batch)  # the widest first: the first two are compared with float64
    disks = torch.from_numpy(np.stack([kernels.disk(RADIUS)] * batch)).float()
    shakes = torch.from_numpy(kernels.shakes_for("train", range(batch))).float()
    geometry = crops(batch, side)

    def composed(sigma: float | Tensor) -> Blur:
        def blur(images: Tensor) -> Tensor:
            n = len(images)
            top, left, height, width, flip = (g[:n] for g in geometry)
            own = sigma if isinstance(sigma, float) else sigma[:n]  # in main memory, as in training
            result = None if images.is_floating_point() else torch.bfloat16
            return resized_crop_blur(images, top, left, height, width, size, flip, own, dtype=result, compute=result)

        return blur

    def plain(sigma: float | Tensor) -> Blur:
        return lambda images: gaussian_blur(
            images, sigma if isinstance(sigma, float) else sigma[: len(images)], finite=True
        )

    def spread(stack: Tensor, method: str = "auto") -> Blur:
        there = stack.to(device)
        return lambda images: convolve(
            images, (there if images.device == device else stack)[: len(images)], method=method
        )

    bfloat16, float32, uint8 = torch.bfloat16, torch.float32, torch.uint8
    for what, blur, source, dtypes in (
        (f"composed operator, sigma {SIGMA:g}", composed(SIGMA), side, (uint8, bfloat16, float32)),
        ("composed operator, a sigma an image", composed(sigmas), side, (uint8, bfloat16, float32)),
        (f"blur, sigma {SIGMA:g}", plain(SIGMA), size, (bfloat16, float32)),
        ("blur, a sigma an image", plain(sigmas), size, (bfloat16, float32)),
        (f"a disk of radius {RADIUS} an image, grouped", spread(disks, "spatial"), size, (float32,)),
        (f"a disk of radius {RADIUS} an image, Fourier", spread(disks, "fourier"), size, (float32,)),
        ("a camera shake an image, grouped", spread(shakes, "spatial"), size, (float32,)),
        ("a camera shake an image, Fourier", spread(shakes, "fourier"), size, (float32,)),
    ):
        for dtype in dtypes:
            images = noise(batch, source, device).to(dtype)
            shown = f"{dtype}".removeprefix("torch.") + " to bfloat16" * (dtype == uint8)
            about = {"what": what, "device": str(device), "dtype": shown, "size": size, "batch": batch}
            yield about | beside_a_copy(blur, images, device, repeats)
            del images


def beside_a_copy(blur: Blur, images: Tensor, device: torch.device, repeats: int) -> dict[str, Any]:
    """What `bench_bandwidth` says of one blur of these images [N, 3, H, W], from `ms` on."""
    result = blur(images)
    total = images.nbytes + result.nbytes
    exact = blur(images[:2].cpu().double())
    error = float((result[:2].cpu().double() - exact).abs().max())
    del result
    source = torch.empty(total // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    taken = medians({"blur": lambda: blur(images), "copy": lambda: target.copy_(source)}, device, repeats)
    return {
        "ms": round(taken["blur"], 4),
        "gigabytes": round(total / 1e9, 4),
        "gigabytes_per_second": round(total / taken["blur"] / 1e6, 1),
        "copy_ms": round(taken["copy"], 4),
        "copy_gigabytes_per_second": round(total / taken["copy"] / 1e6, 1),
        "times_a_copy": round(taken["blur"] / taken["copy"], 2),
        "max_abs_error_255": round(error, 6),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        f"{'what':40} {'dtype':18} {'ms':>9} {'GB/s':>8} {'a copy GB/s':>12} {'times a copy':>13} {'max error':>10}"
    ]
    for row in rows:
        lines.append(
            f"{row['what']:40} {row['dtype']:18} {row['ms']:>9.3f} {row['gigabytes_per_second']:>8.1f} "
            f"{row['copy_gigabytes_per_second']:>12.1f} {row['times_a_copy']:>13.2f} {row['max_abs_error_255']:>10.2g}"
        )
    return "\n".join(lines)
