"""The cosine transform in which a blur with reflecting borders is a product, as matrices.

An image whose borders reflect about the centres of its outermost pixels goes on as a function of period 2 (n - 1) that
is even about both of them. Its Fourier transform is the cosine transform of the first kind (DCT-I): of n values
x_j the coefficients are X_k = sum_j w_j cos(pi k j / (n - 1)) x_j, with w = 1/2 at both ends and 1 between. A kernel
that is even along both axes multiplies each coefficient by a number of its own. Sides of images are seldom lengths that
fast transforms are fast at (n - 1 is often a prime), and a product of matrices is exact on every device.
"""

import functools
import math

import torch
from torch import Tensor


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def transforms(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """To coefficients and back: matrices [side, side] that are inverses of each other; side >= 2."""
    angles = frequencies(side)[:, None] * torch.arange(side, dtype=torch.float64)
    forward = torch.cos(angles) * weights(side)
    return forward.to(device, dtype), (forward * (2 / (side - 1))).to(device, dtype)


def frequencies(side: int) -> Tensor:
    """Of the coefficients, float64 [side], in radians a pixel: from 0 to pi."""
    return torch.arange(side, dtype=torch.float64) * (math.pi / (side - 1))


def weights(side: int) -> Tensor:
    """How often each pixel occurs in a half period, float64 [side]: those at the ends count half."""
    found = torch.ones(side, dtype=torch.float64)
    found[0] = found[-1] = 0.5
    return found


class Cosine:
    """The transform of images [..., H, W] along both axes."""

    def __init__(self, height: int, width: int, device: torch.device, dtype: torch.dtype):
        self.rows, self.rows_back = transforms(height, device, dtype)
        self.columns, self.columns_back = transforms(width, device, dtype)

    def forward(self, images: Tensor) -> Tensor:
        """To coefficients [..., H, W]."""
        return self.rows @ (images @ self.columns.T)

    def back(self, coefficients: Tensor) -> Tensor:
        """To images [..., H, W]."""
        return self.rows_back @ (coefficients @ self.columns_back.T)
