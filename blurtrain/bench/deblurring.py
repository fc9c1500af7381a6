"""`blurtrain bench deblurring`: a batch of blurred images restored in one call, beside scikit-image image by image.

scikit-image takes the borders of what it is given for periodic (Wiener) or dark (Richardson-Lucy). So it is called on
the blurred image alone, and on that with its mirror images around, by which it knows what ours does: borders reflect.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
THEIRS = 4
"""Images that scikit-image is given, one after the other; its time is that of one of them, times the batch."""
MARGIN = 32
"""Pixels of mirror images that are put around an image where borders are taken for dark."""
PRIOR = (0.002 / 0.06) ** 2
"""The weight of scikit-image's smooth prior: as our default, but of a Laplacian, which is its own."""


def bench_deblurring(
    device: torch.device, batch: int = 64, size: int = 224, repeats: int = 3, levels: Sequence[str] = LEVELS
) -> Iterator[dict[str, Any]]:
    """Rows of {method, blur, device, batch, size, ours_ms, plain_ms, reflected_ms, times_plain, times_reflected,
    psnr_blurred, psnr_ours, psnr_plain, psnr_reflected}: milliseconds of the whole batch; `times_...`: how many times
    as long scikit-image takes, called on each channel by itself; PSNR of THEIRS images. Raises BlurtrainError where it
    is not installed.
    """
    if importlib.util.find_spec("skimage") is None:
        raise BlurtrainError("bench deblurring: scikit-image is not installed; pip install scikit-image")
    torch.set_num_threads(len(cores()))
    # Noise that was smoothed is not white, as photographs are not.
    sharp = (gaussian_blur(noise(batch, size, device).float(), 2.0) - 128).mul_(4).add_(128).clamp_(0, 255).round_()
    indices = list(range(batch))
    for label in levels:
        blur = Blur.parse(label)
        given = blur.blurred(sharp, indices, resolution=size).clamp(0, 255).round()
        spreads = blur.kernels(indices, resolution=size)
        pictures = given[:THEIRS].double().cpu().numpy() / 255
        for name in ("wiener", f"richardson-lucy iterations={ITERATIONS}"):
            method: Deblurring = Deblurring.model_validate(name)
            functions: dict[str, Callable[[], Any]] = {
                "ours": partial(method.deblurred, given, blur, indices, resolution=size),
                "plain": partial(_theirs, name, pictures, spreads, reflected=False),
                "reflected": partial(_theirs, name, pictures, spreads, reflected=True),
            }
            taken = medians(functions, device, repeats, enough=20)
            taken |= {who: taken[who] * batch / len(pictures) for who in ("plain", "reflected")}
            restored = {who: torch.as_tensor(function()).to(device) for who, function in functions.items()}
            yield {
                "method": method.label,
                "blur": label,
                "device": str(device),
                "batch": batch,
                "size": size,
                **{f"{who}_ms": round(ms, 1) for who, ms in taken.items()},
                **{f"times_{who}": round(taken[who] / taken["ours"], 2) for who in ("plain", "reflected")},
                "psnr_blurred": _mean(given, sharp),
                **{f"psnr_{who}": _mean(images, sharp) for who, images in restored.items()},
            }


def _theirs(
    name: str, pictures: NDArray[np.float64], spreads: Sequence[NDArray[np.float64]], *, reflected: bool
) -> NDArray[np.float64]:
    """What scikit-image makes of each channel of pictures [n, 3, H, W] of 0..1; in 0..255."""
    from skimage import restoration

    periodic, size = name == "wiener", pictures.shape[-1]
    before, after = (0, size - 2) if periodic else (MARGIN, MARGIN)
    before, after = (before, after) if reflected else (0, 0)
    found = np.empty_like(pictures)
    for picture, spread, out in zip(pictures, spreads, found, strict=False):
        for k, channel in enumerate(picture):
            wide = np.pad(channel, (before, after), mode="reflect")
            if periodic:
                restored = restoration.wiener(wide, spread, PRIOR)
            else:
                restored = restoration.richardson_lucy(wide, spread, ITERATIONS)
            out[k] = restored[before : before + size, before : before + size]
    return 255 * found


def _mean(images: Tensor, others: Tensor) -> float:
    """PSNR at 8 bits, of the first THEIRS images."""
    return round(float(psnr(images[:THEIRS].clamp(0, 255).round(), others[:THEIRS]).mean()), 2)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [
        f"{'':43} {'ms of all':>10}  {'scikit-image, times as long':>28}   {'PSNR':>6}",
        f"{'method':30} {'blur':12} {'ours':>10}  {'plain':>13} {'reflected':>14}   {'blurred':>7} {'ours':>6} "
        f"{'plain':>6} {'reflected':>9}",
    ]
    for row in rows:
        lines.append(
            f"{row['method']:30} {row['blur']:12} {row['ours_ms']:10.1f}  {row['times_plain']:13.2f} "
            f"{row['times_reflected']:14.2f}   {row['psnr_blurred']:7.2f} {row['psnr_ours']:6.2f} "
            f"{row['psnr_plain']:6.2f} {row['psnr_reflected']:9.2f}"
        )
    if rows:
        lines.append(f"{rows[0]['batch']} images of {rows[0]['size']} x {rows[0]['size']} px, on {rows[0]['device']}")
    return "\n".join(lines)
