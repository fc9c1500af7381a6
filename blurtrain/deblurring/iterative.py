"""Deconvolution by iterations: Richardson-Lucy, and total variation."""

import torch
from torch import Tensor

from blurtrain.deblurring.reflected import ReflectedBlur

LEAST = 1e-6
"""What light a pixel has at least, as a share of white, before it is divided by."""
INNER = 3
"""Steps of conjugate gradients in each iteration, from where the last one ended, for kernels that are not even."""


def richardson_lucy(blur: ReflectedBlur, observed: Tensor, iterations: int) -> Tensor:
    """`iterations` steps of Richardson (1972) and Lucy (1974) from the observed images [N, C, H, W] on (1: white)."""
    given = observed.clamp(min=LEAST)
    found = given
    evenly = blur.adjoint(torch.ones_like(given[:, :1]))
    for _ in range(iterations):
        ratio = given / blur.apply(found).clamp_(min=LEAST)
        # Resampled kernels have small negative taps, by which a correction could become negative.
        found = found * blur.adjoint(ratio).div_(evenly).clamp_(min=0)
    return found


def total_variation(blur: ReflectedBlur, observed: Tensor, weight: float, iterations: int) -> Tensor:
    """The x [N, C, H, W] that minimises |A x - observed|^2 / 2 + weight * (sum of absolute differences of neighbours),
    nearly.

    By `iterations` steps of the alternating direction method of multipliers (Boyd et al. 2011), from the least squares
    with a smooth prior. Each channel by itself; the variation is the anisotropic one, whose differences, weighed as
    `blurtrain.deblurring.reflected` says, are shrunk one by one.
    """
    # Differences above this are kept in the first step; a tenth of that and ten times it end at much the same speed.
    threshold = 0.02
    penalty = weight / threshold
    data = blur.adjoint(observed)
    found = blur.least_squares(observed, penalty)
    split = [torch.zeros_like(part) for part in differences(found)]
    dual = [torch.zeros_like(part) for part in split]
    for _ in range(iterations):
        for own, multiplier, change in zip(split, dual, differences(found), strict=True):
            multiplier.add_(change)
            own.copy_(multiplier).sub_(multiplier.clamp(-threshold, threshold))
            multiplier.sub_(own)
        wanted = [own - multiplier for own, multiplier in zip(split, dual, strict=True)]
        found = blur.solve(data + penalty * _joined(*wanted), 0.0, penalty, found, INNER)
    return found


def differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """Of neighbours below each other [N, C, H - 1, W] and beside each other [N, C, H, W - 1]."""
    return images.diff(dim=2), images.diff(dim=3)


def _joined(down: Tensor, across: Tensor) -> Tensor:
    """The adjoint of `differences`, where images are weighed: pixels at the border count half, so that what they are
    given by their one neighbour counts twice."""
    found = torch.zeros(*down.shape[:2], down.shape[2] + 1, down.shape[3], dtype=down.dtype, device=down.device)
    for axis, part in ((2, down), (3, across)):
        n = part.shape[axis]
        own = torch.zeros_like(found)
        own.narrow(axis, 1, n).add_(part)
        own.narrow(axis, 0, n).sub_(part)
        own.select(axis, 0).mul_(2)
        own.select(axis, n).mul_(2)
        found += own
    return found
