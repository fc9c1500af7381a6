"""Effective receptive fields: which pixels a unit does depend on, and how much.

A gradient of 1 is propagated back from the unit in the middle of a layer, and the absolute values of what arrives at
each pixel are averaged over images (Luo, Li, Urtasun & Zemel, NeurIPS 2016).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

SHARE = 1 - 0.9545
"""Of the largest value: what is above it counts as inside, as within two standard deviations of a Gaussian."""


def gradient_maps(
    module: nn.Module, batches: Iterable[Tensor], layers: Sequence[str]
) -> tuple[NDArray[np.float64], int]:
    """[layers, H, W]: mean over images of |dy/dx|, summed over the channels of the image; and how many images have a
    gradient that is NaN or infinite (these are left out).

    y: what the layer gives, before anything is made of it, at its middle unit (row h // 2, column w // 2), summed over
    its channels. batches: normalised images [N, C, H, W]. module: in evaluation mode.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, __: object, outcome: Tensor) -> None:
            # At once, as a ReLU that works in place would change it.
            seen[name] = outcome[..., outcome.shape[-2] // 2, outcome.shape[-1] // 2].sum()

        return module.get_submodule(name).register_forward_hook(hook)

    hooks = [keep(name) for name in layers]
    total: Tensor | None = None
    images = bad = 0
    try:
        with torch.enable_grad():
            for batch in batches:
                shown = batch.detach().clone().requires_grad_()
                module(shown)
                ends = [seen.pop(name) for name in layers]
                found = [
                    torch.autograd.grad(end, shown, retain_graph=end is not ends[-1], allow_unused=True)[0]
                    for end in ends
                ]
                maps = torch.stack([torch.zeros_like(shown) if one is None else one for one in found], 1)
                maps = maps.abs().sum(2).double()  # [images, layers, H, W]
                finite = torch.isfinite(maps).flatten(1).all(1)
                bad += int((~finite).sum())
                images += int(finite.sum())
                part = maps[finite].sum(0)
                total = part if total is None else total + part
    finally:
        for handle in hooks:
            handle.remove()
    if total is None or not images:
        return np.full((len(layers), 1, 1), np.nan), bad
    return (total / images).cpu().numpy(), bad


def area_side(field: NDArray[np.float64]) -> float:
    """Side in pixels of a square of as many pixels as have more than SHARE of the largest value [H, W]."""
    largest = field.max()
    return math.sqrt(np.count_nonzero(field > SHARE * largest)) if largest > 0 else math.nan


def gaussian_fit(field: NDArray[np.float64], centre: tuple[float, float]) -> tuple[float, float]:
    """Sigma in pixels of the Gaussian around `centre` (row, column) that comes nearest to `field` [H, W] by least
    squares, its height being free, and R^2 of the fit; NaN where the field is zero."""
    if not field.max() > 0:
        return math.nan, math.nan
    scaled = field / field.max()
    squares = [(np.arange(side) - middle) ** 2 for side, middle in zip(field.shape, centre, strict=True)]
    total = float(((scaled - scaled.mean()) ** 2).sum())

    def missed(log_sigma: float) -> float:
        down, across = (np.exp(-d / (2 * math.exp(2 * log_sigma))) for d in squares)
        return -float((down @ scaled @ across) ** 2 / ((down @ down) * (across @ across)))

    grid = np.linspace(math.log(0.3), math.log(4 * max(field.shape)), 60)
    best = int(np.argmin([missed(x) for x in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(missed, bounds=around, method="bounded", options={"xatol": 1e-7})
    unexplained = float((scaled**2).sum()) + found.fun
    return math.exp(found.x), 1 - unexplained / total if total else math.nan
