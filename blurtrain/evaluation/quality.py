"""How much of an image is lost, beside the image itself: PSNR and SSIM, of images in 0..255."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.tasks.restoration import MOST_PSNR

RANGE = 255.0
SIDE, SIGMA = 11, 1.5
"""Of the window of SSIM, a Gaussian, in pixels."""


def psnr(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [N] in dB of images [N, C, H, W]: 10 log10(255^2 / mean squared difference), over all
    pixels and channels; at most MOST_PSNR."""
    error = (images.double() - others.double()).square().mean((1, 2, 3))
    return (10 * torch.log10(RANGE**2 / error)).clamp(max=MOST_PSNR)


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity [N] of images [N, C, H, W] (Wang, Bovik, Sheikh & Simoncelli, IEEE Trans. Image Process.
    13, 600, 2004): window of 11 x 11 pixels, Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, range 255; mean over channels
    and over all places where the window lies within the image.

    Where an image is smaller than the window, this is cut to it. As scikit-image's `structural_similarity` with
    gaussian_weights, use_sample_covariance=False.
    """
    # Around the image's own mean, so that in float32 variances do not drown in squares of means.
    centre = images.mean((2, 3), keepdim=True)
    x, y = images - centre, others - centre
    pairs = torch.cat([x, y, x * x, y * y, x * y])
    mx, my, xx, yy, xy = _windowed(pairs).chunk(5)
    variances, covariance = xx - mx * mx + yy - my * my, xy - mx * my
    mx, my = mx + centre, my + centre
    first, second = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    luminance = (2 * mx * my + first) / (mx * mx + my * my + first)
    structure = (2 * covariance + second) / (variances + second)
    return (luminance * structure).double().mean((1, 2, 3))


def _windowed(images: Tensor) -> Tensor:
    """Means under the window, [N, C, H - 10, W - 10]."""
    rows, columns = (torch.from_numpy(_band(side)).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _band(side: int) -> NDArray[np.float64]:
    """[side - 10, side]: the window at each of its places."""
    width = min(SIDE, side - 1 + side % 2)
    taps = np.exp(-0.5 * ((np.arange(width) - width // 2) / SIGMA) ** 2)
    out = np.zeros((side - width + 1, side))
    for k in range(len(out)):
        out[k, k : k + width] = taps / taps.sum()
    return out
