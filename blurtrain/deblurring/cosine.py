"""The cosine transform in which a blur with reflecting borders is a product, as matrices.

An image whose borders reflect about the centres of its outermost pixels goes on as a function of period 2 (n - 1) that
is even about both of them. Its Fourier transform is the cosine transform of the first kind (DCT-I): of n values
x_j the coefficients are X_k = sum_j w_j cos(pi k j / (n - 1)) x_j, with w = 1/2 at both ends and 1 between. A kernel
that is even along both axes multiplies each coefficient by a number of its own. Sides of images are seldom lengths that
fast transforms are fast at (n - 1 is often a prime), and a product of matrices is exact on every device.

Cosines of even k are even about the middle of the image, those of odd k odd: so each half of the coefficients is a
product with sums, or differences, of pixels and their mirror images, which halves the work. Even k come first
throughout.
"""

import functools
import math

import torch
from torch import Tensor

Matrices = tuple[Tensor, Tensor]
"""For even and for odd coefficients."""


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def transforms(side: int, device: torch.device, dtype: torch.dtype) -> tuple[Matrices, Matrices]:
    """To coefficients and back, of sums [m] and differences [side - m] of pixels and their mirror images, where m is
    half of the side, rounded up; side >= 2."""
    most, few = side - side // 2, side // 2
    waves = frequencies(side)
    there = torch.cos(waves[:, None] * torch.arange(side, dtype=torch.float64)) * weights(side)
    back = torch.cos(torch.arange(side, dtype=torch.float64)[:, None] * waves) * _in_order(weights(side))
    back *= 2 / (side - 1)
    forth = there[:most, :most], there[most:, :few]
    return _on(forth, device, dtype), _on((back[:most, :most], back[:few, most:]), device, dtype)


def _on(matrices: Matrices, device: torch.device, dtype: torch.dtype) -> Matrices:
    return matrices[0].to(device, dtype).contiguous(), matrices[1].to(device, dtype).contiguous()


def _in_order(values: Tensor) -> Tensor:
    return torch.cat([values[::2], values[1::2]])


def frequencies(side: int) -> Tensor:
    """Of the coefficients in their order, float64 [side], in radians a pixel: within 0 to pi."""
    return _in_order(torch.arange(side, dtype=torch.float64) * (math.pi / (side - 1)))


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
        sums, differences = _folded(images, -1)
        across = torch.cat([sums @ self.columns[0].T, differences @ self.columns[1].T], -1)
        sums, differences = _folded(across, -2)
        return torch.cat([self.rows[0] @ sums, self.rows[1] @ differences], -2)

    def back(self, coefficients: Tensor) -> Tensor:
        """To images [..., H, W]."""
        even, odd = coefficients.tensor_split([len(self.columns_back[0])], -1)
        across = _unfolded(even @ self.columns_back[0].T, odd @ self.columns_back[1].T, -1)
        even, odd = across.tensor_split([len(self.rows_back[0])], -2)
        return _unfolded(self.rows_back[0] @ even, self.rows_back[1] @ odd, -2)


def _folded(images: Tensor, axis: int) -> Matrices:
    """Sums and differences of pixels and their mirror images; one in the middle stands behind the sums as it is."""
    side = images.shape[axis]
    half = side // 2
    first, last = images.narrow(axis, 0, half), images.narrow(axis, side - half, half).flip(axis)
    sums = first + last
    return (torch.cat([sums, images.narrow(axis, half, 1)], axis) if side % 2 else sums), first - last


def _unfolded(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    """Images whose parts that are even and odd about the middle are these."""
    half = odd.shape[axis]
    first, middle = even.narrow(axis, 0, half), even.narrow(axis, half, even.shape[axis] - half)
    return torch.cat([first + odd, middle, (first - odd).flip(axis)], axis)
