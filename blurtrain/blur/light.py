"""sRGB values and linear light (IEC 61966-2-1). Sources of the field blur sRGB values as they are, which is the default
everywhere; in linear light, as optics does it, edges come out up to 73 of 255 brighter."""

import torch
from torch import Tensor


def linear_light(images: Tensor) -> Tensor:
    """sRGB values (float, 0..255, of any shape) as light in 0..255, of the same shape."""
    v = images / 255
    return 255 * torch.where(v <= 0.04045, v / 12.92, ((v.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def srgb(images: Tensor) -> Tensor:
    """Light (float, 0..255, of any shape) as sRGB values in 0..255, of the same shape."""
    v = images / 255
    return 255 * torch.where(v <= 0.0031308, v * 12.92, 1.055 * v.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
