"""Jitter of hue, saturation and value (HSV), each image by its own gains, on the device.

As detectors of the YOLO family are trained: the hue turns, saturation and value are multiplied, and cut where they
reach their full value. Images hold 8-bit values and stay so, as in `blurtrain.data.colour`.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.data.colour import hexcone
from blurtrain.settings import Augmentation

DRAWS = 3  # per image


class Gains(NamedTuple):
    """Of n images, each [n]."""

    hue: NDArray[np.float64]
    """Turn; a full circle is 1."""
    saturation: NDArray[np.float64]
    """Factor."""
    value: NDArray[np.float64]
    """Factor."""

    def of(self, k: int) -> "Gains":
        """Those of image k alone."""
        return Gains(*(values[k : k + 1] for values in self))


def drawn(draws: NDArray[np.float64], augmentation: Augmentation) -> Gains:
    """From uniform numbers [n, DRAWS]: uniform in 0 +/- hsv_hue, 1 +/- hsv_saturation and 1 +/- hsv_value."""
    hue, saturation, value = (2 * draws - 1).T
    a = augmentation
    return Gains(a.hsv_hue * hue, 1 + a.hsv_saturation * saturation, 1 + a.hsv_value * value)


def jitter(images: Tensor, gains: Gains) -> Tensor:
    """Floats that hold 8-bit values [n, 3, H, W] after their `gains`, rounded to such values again.

    Grey stays grey: it has no hue, and no saturation to multiply.
    """
    turn, saturation, value = (
        torch.from_numpy(gain).to(images.device, images.dtype, non_blocking=True)[:, None, None, None] for gain in gains
    )
    brightest, chroma, away = hexcone(images, turn)
    saturated = (chroma / brightest.clamp(min=1)).mul_(saturation).clamp_(max=1)
    brightest = (brightest * value).clamp_(max=255)
    return torch.addcmul(brightest, brightest * saturated, away, value=-1).round_()
