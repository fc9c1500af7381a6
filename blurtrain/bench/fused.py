"""The fused kernel (`blurtrain.blur.fused`) beside the plain operators, and beside a copy of as many bytes.

Reading the input and writing the result once takes as long as that copy: the goal is at most twice that.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from blurtrain.bench import synchronise
from blurtrain.bench.bandwidth import SIGMA, beside_a_copy
from blurtrain.bench.blur import crops, noise
from blurtrain.blur import fused, resized_crop_blur
from blurtrain.blur.fused import Tiling, normalised_crop_blur

KERNELS = ("tables", "operators", "product")


def bench_fused(
    device: torch.device, batch: int = 256, size: int = 224, repeats: int = 20, others: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows as of `bench_bandwidth`, and {tiling, device_ms, device_times_a_copy, tables_ms, operators_ms, product_ms,
    from_plain_255}; none where the kernel cannot be had.

    Of random crops of uint8 images of 8/7 `size`, channels last in memory as the loaders bring them. ms: a call with
    all that the processor does for it; device_ms: the kernels alone, None where torch's profiler cannot see them.
    from_plain_255: largest distance from the plain operators in the same arithmetic, on the same device. others: in
    bfloat16 and sigma 8 also by the tilings that are not the one in use.
    """
    if fused.unavailable(device, torch.bfloat16):
        return
    side = round(size * 8 / 7)
    images = noise(batch, side, device).contiguous(memory_format=torch.channels_last)
    varied = torch.linspace(SIGMA, 0, batch)
    levels: tuple[tuple[str, float | Tensor], ...] = (
        (f"sigma {SIGMA:g}", SIGMA), ("sigma 0", 0.0), ("sigma 32", 32.0), ("a sigma an image", varied),
    )  # fmt: skip
    for what, sigma in levels:
        for dtype in (torch.bfloat16, torch.float32):
            yield _row(f"fused, {what}", images, sigma, size, dtype, repeats, None)
    used = fused.tiling_of(torch.bfloat16, fused.capability(device))
    for tiling in fused.TILINGS if others else ():
        if tiling != used:
            yield _row(f"fused, sigma {SIGMA:g}, other tiling", images, SIGMA, size, torch.bfloat16, repeats, tiling)


def _row(
    what: str, images: Tensor, sigma: float | Tensor, size: int, dtype: torch.dtype, repeats: int, tiling: Tiling | None
) -> dict[str, Any]:
    device, geometry = images.device, crops(len(images), images.shape[-1])

    def blur(some: Tensor) -> Tensor:
        top, left, height, width, flip = (g[: len(some)] for g in geometry)
        own = sigma[: len(some)] if isinstance(sigma, Tensor) else sigma
        if some.is_floating_point():  # what it is compared with
            return resized_crop_blur(some, top, left, height, width, size, flip, own)
        return normalised_crop_blur(some, top, left, height, width, size, flip, own, dtype=dtype, tiling=tiling)

    name = f"{dtype}".removeprefix("torch.")
    about: dict[str, Any] = {
        "what": what,
        "device": str(device),
        "dtype": f"uint8 to {name}",
        "size": size,
        "batch": len(images),
    }
    row = about | beside_a_copy(blur, images, device, repeats)
    top, left, height, width, flip = geometry
    plain = resized_crop_blur(images, top, left, height, width, size, flip, sigma, compute=dtype)
    row["from_plain_255"] = round(float((blur(images).float() - plain).abs().max()), 6)
    del plain
    used = tiling or fused.tiling_of(dtype, fused.capability(device))
    shape = f"{used.height}x{used.width} by {used.rows}x{used.columns}, {used.warps} warps"
    row["tiling"] = shape + (f", {used.registers} registers" if used.registers else "")
    alone = _on_the_device(blur, images, repeats)
    total = round(sum(alone.values()), 4) if alone else None
    row |= {"device_ms": total, "device_times_a_copy": round(total / row["copy_ms"], 2) if total else None}
    return row | {f"{kernel}_ms": round(alone[kernel], 4) if alone else None for kernel in KERNELS}


def _on_the_device(blur: Any, images: Tensor, repeats: int) -> dict[str, float]:
    """Milliseconds a call that each kernel takes, without what the processor does in between."""
    if images.device.type != "cuda":
        return {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            blur(images)
        synchronise(images.device)
    seen = {event.key: event.self_device_time_total / 1000 / repeats for event in profile.key_averages()}
    found = {kernel: sum(ms for key, ms in seen.items() if key.startswith(kernel)) for kernel in KERNELS}
    return found if all(found.values()) else {}
