"""How near restored images are to the sharp ones, and how long restoring takes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.evaluation.fidelity import DECIBELS, GAINED, SIMILARITY, beside_sharp, gain
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.quality import MOST_PSNR, RANGE, psnr, ssim
from blurtrain.evaluation.subject import Found, Subject

FRAME = 16
"""Pixels from the border that count as near it."""


class Deblurring(Measure):
    """Of images at 8 bits, where they are blurred and restored (at `evaluation.protocol`'s size, before they are scaled
    for the network), beside the sharp ones; the network plays no part. Means over images:

    psnr, ssim: of the image as the network is given it: restored, or blurred where `evaluation.deblur` is not asked
    for. psnr_frame, psnr_centre: PSNR within 16 pixels of the border, where ringing would show, and further inside.
    Where it is restored, also psnr_gain: by how much PSNR is higher than that of the blurred image; gained: images of
    which it is higher at all; seconds: of an image, in batches of evaluation.batch_size on this device.
    """

    name: ClassVar[str] = "deblurring"
    of_classes: ClassVar[bool] = False
    of_protocols: ClassVar[bool] = True
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "psnr": {"label": "PSNR", **DECIBELS},
        "ssim": {"label": "SSIM", **SIMILARITY},
        "psnr_frame": {"label": "PSNR near the border", **DECIBELS},
        "psnr_centre": {"label": "PSNR inside", **DECIBELS},
        "psnr_gain": {"label": "PSNR gain", **DECIBELS},
        "gained": GAINED,
        "seconds": {"label": "time an image", "unit": "s", "digits": 3, "better": "lower", "least": 0},
    }

    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        """See `Measure.measure`."""
        shown = subject.transform

        def values(sharp: Tensor, blurred: Tensor, blur: Blur, indices: NDArray[np.int64]) -> dict[str, Tensor]:
            seen, more = blurred, dict[str, Tensor]()
            if shown.deblur:
                began = _now(blurred.device)
                seen = shown.deblurred(blurred, blur, indices)
                taken = (_now(blurred.device) - began) / len(indices)
                more = gain(seen, blurred, sharp)
                more["seconds"] = torch.full_like(more["psnr_gain"], taken)
            frame, centre = _by_place(seen, sharp)
            whole = {"psnr": psnr(seen, sharp), "ssim": ssim(seen, sharp)}
            return {**whole, "psnr_frame": frame, "psnr_centre": centre, **more}

        return beside_sharp(subject, subject.deblurred(None).transform, levels, values, per_image)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _by_place(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR within FRAME pixels of the border, and further inside; of small images, of the outer and the inner half."""
    error = (images.double() - others.double()).square().mean(1)
    height, width = error.shape[1:]
    edge = min(FRAME, min(height, width) // 4)
    inside = error[:, edge : height - edge, edge : width - edge]
    frame = (error.sum((1, 2)) - inside.sum((1, 2))).clamp(min=0) / (height * width - inside[0].numel())
    each = [10 * torch.log10(RANGE**2 / part) for part in (frame, inside.mean((1, 2)))]
    return each[0].clamp(max=MOST_PSNR), each[1].clamp(max=MOST_PSNR)
