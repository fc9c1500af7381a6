"""`blurtrain bench deblurring`: a batch of blurred images restored in one call, beside scikit-image image by image.

What scikit-image is given is the blurred image alone, whose borders it takes for periodic (Wiener) or dark
(Richardson-Lucy); ours knows that they reflect.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.bench import medians
from blurtrain.bench.blur import noise
from blurtrain.blur.blurs import Blur
from blurtrain.blur.operators import gaussian_blur
from blurtrain.deblurring import Deblurring
from blurtrain.device import cores
from blurtrain.errors import BlurtrainError
from blurtrain.evaluation.quality import psnr

LEVELS = ("disk-4@384", "disk-8@384", "shake@384")
ITERATIONS = 10
"""Of Richardson-Lucy, of both."""


def bench_deblurring(
    device: torch.device, batch: int = 64, size: int = 224, repeats: int = 3, levels: Sequence[str] = LEVELS
) -> Iterator[dict[str, Any]]:
    """Rows of {method, blur, device, batch, size, ours_ms, scikit_image_ms, times, psnr_blurred, psnr_ours,
    psnr_scikit_image}: milliseconds of the whole batch; `times`: how many times as long scikit-image takes, which treats
    as many images at a time as there are cores. Raises BlurtrainError where it is not installed.
    """
    if importlib.util.find_spec("skimage") is None:
        raise BlurtrainError("bench deblurring: scikit-image is not installed; pip install scikit-image")
    from skimage import restoration

    torch.set_num_threads(len(cores()))
    # Noise that was smoothed is not white, as photographs are not.
    sharp = (gaussian_blur(noise(batch, size, device).float(), 2.0) - 128).mul_(4).add_(128).clamp_(0, 255).round_()
    indices = list(range(batch))
    for label in levels:
        blur = Blur.parse(label)
        given = blur.blurred(sharp, indices, resolution=size).clamp(0, 255).round()
        spreads = blur.kernels(indices, resolution=size)
        pictures = list(given.double().cpu().numpy() / 255)
        weight = (0.002 / 0.06) ** 2  # as our defaults, but of a Laplacian prior, which is its own

        def wiener(channel: NDArray[Any], spread: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(restoration.wiener(channel, spread, weight))  # noqa: B023  (used at once)

        def lucy(channel: NDArray[Any], spread: NDArray[Any]) -> NDArray[Any]:
            return np.asarray(restoration.richardson_lucy(channel, spread, ITERATIONS))

        for name, theirs in (("wiener", wiener), (f"richardson-lucy(iterations={ITERATIONS})", lucy)):
            method: Deblurring = Deblurring.model_validate(name)

            def ours(method: Deblurring = method, blur: Blur = blur, given: Tensor = given) -> Tensor:
                return method.deblurred(given, blur, indices, resolution=size)

            def each(
                theirs: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] = theirs,
                pictures: list[NDArray[Any]] = pictures,
                spreads: list[NDArray[Any]] = spreads,
            ) -> list[NDArray[Any]]:
                def one(k: int) -> NDArray[Any]:
                    return np.stack([theirs(channel, spreads[k]) for channel in pictures[k]])

                with ThreadPoolExecutor(len(cores())) as threads:
                    return list(threads.map(one, range(len(pictures))))

            taken = medians({"ours": ours, "scikit_image": each}, device, repeats, enough=20)
            found = torch.from_numpy(np.stack(each())).mul(255).clamp(0, 255).round()
            yield {
                "method": method.label,
                "blur": label,
                "device": str(device),
                "batch": batch,
                "size": size,
                **{f"{who}_ms": round(ms, 1) for who, ms in taken.items()},
                "times": round(taken["scikit_image"] / taken["ours"], 2),
                "psnr_blurred": _mean(given, sharp),
                "psnr_ours": _mean(ours().round(), sharp),
                "psnr_scikit_image": _mean(found.to(device), sharp),
            }


def _mean(images: Tensor, others: Tensor) -> float:
    return round(float(psnr(images, others).mean()), 2)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        f"{'method':30} {'blur':12} {'ours ms':>9} {'scikit-image ms':>16} {'times':>6}   PSNR: {'blurred':>7} "
        f"{'ours':>7} {'scikit-image':>13}"
    ]
    for row in rows:
        lines.append(
            f"{row['method']:30} {row['blur']:12} {row['ours_ms']:9.1f} {row['scikit_image_ms']:16.1f} "
            f"{row['times']:6.1f}         {row['psnr_blurred']:7.2f} {row['psnr_ours']:7.2f} "
            f"{row['psnr_scikit_image']:13.2f}"
        )
    if rows:
        lines.append(f"{rows[0]['batch']} images of {rows[0]['size']} x {rows[0]['size']} px, on {rows[0]['device']}")
    return "\n".join(lines)
