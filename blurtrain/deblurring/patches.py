"""Deconvolution with a prior of patches: the expected patch log-likelihood of Zoran & Weiss (ICCV 2011)."""

import functools
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from blurtrain.deblurring.mixture import SIDE, Mixture, load_mixture
from blurtrain.deblurring.reflected import ReflectedBlur
from blurtrain.errors import SettingsError

PENALTIES = tuple(50.0 * 2**k for k in range(7))
"""beta: one over the variance that patches of the image may differ by from their likeliest ones, step by step."""


def expected_patch_log_likelihood(
    blur: ReflectedBlur, observed: Tensor, noise: float, mixture: Mixture, stride: int, smoothness: float
) -> Tensor:
    """Images [N, C, H, W] of 0..1, from the least squares with this smoothness on: by half-quadratic splitting patches
    and image are found in turn, at each of PENALTIES.

    The published sum has lambda / 2 |A x - y|^2 with lambda = 64 / noise^2, and beta / 2 for each of 64 patches that a
    pixel is part of, so that the two are in the ratio 1 / noise^2 to beta. stride: pixels from one patch to the next
    (1: as published); which ones they are changes from step to step. Raises SettingsError for images that are too small
    for patches at this stride.
    """
    if min(observed.shape[-2:]) <= SIDE + stride:
        raise SettingsError(f"images of {list(observed.shape[-2:])} pixels are too small for a prior of patches")
    data = blur.adjoint(observed)
    found = blur.least_squares(observed, smoothness)
    for step, penalty in enumerate(PENALTIES):
        likeliest = denoised(found, mixture, 1 / penalty, stride, (3 * step) % stride)
        weight = penalty * noise**2
        found = blur.solve(data + weight * likeliest, weight, 0.0, found, 6)
    return found


def denoised(images: Tensor, mixture: Mixture, variance: float, stride: int = 1, offset: int = 0) -> Tensor:
    """Images [N, C, H, W] of 0..1, denoised: each patch's mean, and what a Wiener filter by its likeliest component
    leaves of the rest; averaged over all patches that a pixel is part of. The component is chosen by the mean of the
    channels. Borders reflect."""
    n, channels, height, width = images.shape
    before, after = SIDE - 1 - offset, SIDE - 1 + stride
    padded = functional.pad(images, (before, after, before, after), mode="reflect")
    size = padded.shape[-2:]
    patches = functional.unfold(padded.reshape(n * channels, 1, *size), SIDE, stride=stride)  # [n c, 64, L]
    patches = patches.transpose(1, 2).reshape(n, channels, -1, SIDE**2)
    means = patches.mean(3, keepdim=True)
    rest = patches - means
    grey = rest.mean(1).reshape(-1, SIDE**2)
    # The noise of a mean of channels, if it were another in each, would be less; that of a blurred image is not.
    best = mixture.log_densities(grey, variance).argmax(1)
    flat = rest.transpose(0, 1).reshape(channels, -1, SIDE**2)
    filtered = torch.zeros_like(flat)
    for k, matrix in enumerate(_filters(mixture, variance).to(images)):
        own = (best == k).nonzero()[:, 0]
        filtered[:, own] = flat[:, own] @ matrix
    whole = filtered.reshape(channels, n, -1, SIDE**2).transpose(0, 1) + means
    columns = whole.reshape(n * channels, -1, SIDE**2).transpose(1, 2)
    fold = functools.partial(functional.fold, output_size=size, kernel_size=SIDE, stride=stride)
    counts = fold(torch.ones_like(columns[:1]))
    found = (fold(columns) / counts.clamp(min=1)).reshape(n, channels, *size)
    return found[..., before : before + height, before : before + width]


def _filters(mixture: Mixture, variance: float) -> Tensor:
    """Wiener filters [K, 64, 64], symmetric."""
    values, vectors = mixture.axes
    return (vectors * (values / (values + variance))[:, None, :]) @ vectors.mT


@functools.lru_cache(maxsize=4)
@torch.inference_mode(False)
def mixture_at(file: str, changed: float) -> Mixture:
    """The mixture in a file, as it was when it was last changed."""
    return load_mixture(Path(file))
