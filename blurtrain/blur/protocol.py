"""Blur that is defined at a fixed image size, whatever size the network works at (Vasiljevic et al. 2016)."""

from collections.abc import Callable

import torch
from torch import Tensor

from blurtrain.blur.operators import resized_crop_blur


def resized(images: Tensor, smaller_side: int, interpolation: str = "bicubic") -> Tensor:
    """8-bit images [N, C, H, W] so that their smaller side has `smaller_side` pixels, aspect kept, antialiased."""
    height, width = images.shape[-2:]
    scale = smaller_side / min(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    zero = torch.zeros(1, dtype=torch.long, device=images.device)
    return resized_crop_blur(
        images, zero, zero, zero + height, zero + width, size, interpolation=interpolation, dtype=torch.uint8
    )


def blurred_at(
    images: Tensor, blur: Callable[[Tensor], Tensor], scale: int | None = None, defined_at: int = 384
) -> Tensor:
    """Resize to smaller side `defined_at`, blur, round to 8 bits, and resize to smaller side `scale` if given.

    images: uint8 [N, C, H, W]; blur: uint8 images to images in 0..255, in pixels at `defined_at`, so that at scale s it
    amounts to s / defined_at of that. Returns uint8. Raises ValueError for images that are not 8-bit.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, as the protocol rounds to 8 bits, not {images.dtype}")
    seen = blur(resized(images, defined_at)).round().clamp(0, 255).to(torch.uint8)
    return seen if scale is None else resized(seen, scale)
