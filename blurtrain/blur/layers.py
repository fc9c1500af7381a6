"""A scene of layers at different distances, each blurred by a kernel of its own, the nearer ones before the others."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.convolution import convolve

_NOTHING = 1e-6


def layered_blur(images: Tensor, layers: Tensor, kernels: Sequence[NDArray[np.float64]]) -> Tensor:
    """Images [N, C, H, W] whose pixels lie in `layers` [N, H, W] (whole numbers, 0 the farthest), blurred layer by
    layer, `kernels[k]` for layer k (as those of `blurtrain.blur.kernels`).

    Painted from the farthest layer to the nearest. A layer covers as much of a pixel as its kernel spreads of it, and
    of the nearer ones, behind which it goes on; there, out of sight, it has the mean colours of its own pixels around,
    as far as the widest kernel of it and of the nearer ones reaches. So nothing of a sharp object gets into the blurred
    background, and a blurred object covers a sharp background by halves along its outline (Barsky et al. 2003 compare
    such methods). An even image stays even; one layer alone is a convolution. Same shape and dtype. Raises ValueError
    where a layer has no kernel.
    """
    if len(layers) and not 0 <= int(layers.min()) <= int(layers.max()) < len(kernels):
        raise ValueError(f"layers must be in 0..{len(kernels) - 1}, one for each kernel")
    pixels = images.float() if not images.is_floating_point() else images
    out = pixels
    for layer, kernel in enumerate(kernels):
        own = (layers == layer)[:, None].to(pixels.dtype)
        covers = (layers >= layer)[:, None].to(pixels.dtype)
        if not bool(own.any()):
            continue
        part = covers * _continued(pixels, own, max(kernels[layer:], key=len))
        spread, share = _spread(part, kernel), _spread(covers, kernel)
        out = spread + (1 - share).clamp(0, 1) * out if layer else spread
    return out.to(images.dtype)


def _continued(pixels: Tensor, own: Tensor, kernel: NDArray[np.float64]) -> Tensor:
    """The layer's pixels; beside them, as far as `kernel` reaches, means of them around, and further on of all."""
    if len(kernel) == 1 or bool(own.all()):
        return pixels
    share = _spread(own, kernel)
    means = _spread(own * pixels, kernel) / share.clamp(min=_NOTHING)
    whole = (own * pixels).mean((2, 3), keepdim=True) / own.mean((2, 3), keepdim=True).clamp(min=_NOTHING)
    return torch.where(own > 0, pixels, torch.where(share > _NOTHING, means, whole))


def _spread(values: Tensor, kernel: NDArray[np.float64]) -> Tensor:
    return values if len(kernel) == 1 else convolve(values, kernel)
