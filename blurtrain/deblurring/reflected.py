"""A blur with reflecting borders as a linear operator: forwards, its adjoint, and least squares by it.

Images are weighed as their reflected continuation does: of each half period, pixels at the border count half, those at
corners a quarter. Adjoints and sums of squares are meant so throughout (`weight`), and borders need no other care: no
taper, and no ringing from them.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from blurtrain.blur.convolution import convolve_each, smooth_length
from blurtrain.blur.kernels import stack
from blurtrain.deblurring.cosine import Cosine, frequencies, weights
from blurtrain.errors import SettingsError

STEPS = 16
"""Of conjugate gradients, for kernels that are not even."""


class ReflectedBlur:
    """Convolution of images [N, C, H, W] (float32 or float64) by a kernel of each, borders reflecting as in
    `blurtrain.blur.convolve`.

    kernels: N point-spread functions, square, of odd sides. Where all are even along both axes, all that is done here
    is exact, in a few products of matrices; of others equations are solved by STEPS steps of preconditioned
    conjugate gradients. Raises SettingsError where images have a side of one pixel, or one of the others reaches over
    a whole image.
    """

    def __init__(self, kernels: Sequence[NDArray[np.float64]], images: Tensor):
        n, _, self.height, self.width = images.shape
        if len(kernels) != n:
            raise ValueError(f"{n} images but {len(kernels)} kernels")
        self.device, self.dtype, self.kernels = images.device, images.dtype, kernels
        one = all(kernel is kernels[0] for kernel in kernels)
        each = torch.from_numpy(np.array(kernels[0])[None] if one else np.array(stack(kernels)))
        self.radius = each.shape[-1] // 2
        if min(self.height, self.width) < 2:
            raise SettingsError(f"images of {self.height} x {self.width} pixels are too small to be deblurred")
        self.cosine = Cosine(self.height, self.width, self.device, self.dtype)
        self.weight = (weights(self.height)[:, None] * weights(self.width)).to(self.device, self.dtype)
        down, across = ((2 - 2 * torch.cos(frequencies(side))) for side in (self.height, self.width))
        self.roughness = (down[:, None] + across).to(self.device, self.dtype)
        """What each coefficient adds to the sum of squared differences of neighbours."""
        self.is_even: bool
        self.is_even, gain = (
            _gain_of_one(each.numpy().tobytes(), each.shape[-1], self.height, self.width)
            if one
            else _gain(each, self.height, self.width)
        )
        self.gain = gain.to(self.device, self.dtype)
        """What each coefficient is multiplied by [N or 1, 1, H, W]; where kernels are not even: root mean square over
        both diagonal directions."""
        if self.is_even:
            return
        if self.radius >= min(self.height, self.width):
            raise SettingsError(
                f"a kernel that reaches over {self.radius} pixels is too large to deblur images of {self.height} x "
                f"{self.width} by"
            )
        self.size = [smooth_length(side + 2 * self.radius) for side in (self.height, self.width)]
        self.spectrum = torch.fft.rfft2(each.to(self.device, self.dtype), s=self.size)[:, None]

    def apply(self, images: Tensor) -> Tensor:
        """The images [N, C, H, W] blurred; same shape."""
        if self.device.type == "cpu" and self.dtype == torch.float32:
            return convolve_each(images.expand(len(self.kernels), -1, -1, -1), self.kernels)
        if self.is_even:
            return self.cosine.back(self.cosine.forward(images).mul_(self.gain))
        down, across = 2 * self.radius, 2 * self.radius
        padded = functional.pad(images, (self.radius,) * 4, mode="reflect")
        blurred = torch.fft.irfft2(torch.fft.rfft2(padded, s=self.size) * self.spectrum, s=self.size)
        return blurred[..., down : down + self.height, across : across + self.width]

    def adjoint(self, images: Tensor) -> Tensor:
        """The adjoint of `apply`, of images [N, C, H, W] weighed by `weight`."""
        if self.is_even:
            return self.apply(images)
        return self._transposed(images * self.weight).div_(self.weight)

    def _transposed(self, images: Tensor) -> Tensor:
        r, (height, width) = self.radius, (self.height, self.width)
        placed = images.new_zeros(*images.shape[:2], *self.size)
        placed[..., 2 * r : 2 * r + height, 2 * r : 2 * r + width] = images
        spread = torch.fft.irfft2(torch.fft.rfft2(placed) * self.spectrum.conj(), s=self.size)
        spread = spread[..., : height + 2 * r, : width + 2 * r]
        for axis, side in ((2, height), (3, width)):  # what fell beyond a border is folded back
            inside = spread.narrow(axis, r, side).clone()
            if r:
                inside.narrow(axis, 1, r).add_(spread.narrow(axis, 0, r).flip(axis))
                inside.narrow(axis, side - 1 - r, r).add_(spread.narrow(axis, r + side, r).flip(axis))
            spread = inside
        return spread

    def least_squares(self, observed: Tensor, smoothness: float) -> Tensor:
        """The x [N, C, H, W] that minimises |A x - observed|^2 + smoothness |gradient of x|^2."""
        if self.is_even:
            factor = self.gain / (self.gain**2).add_(smoothness * self.roughness)
            return self.cosine.back(self.cosine.forward(observed).mul_(factor))
        return self.solve(self.adjoint(observed), 0.0, smoothness, observed)

    def solve(
        self, target: Tensor, ridge: float, smoothness: float, start: Tensor | None = None, steps: int = STEPS
    ) -> Tensor:
        """x [N, C, H, W] with (A* A + ridge + smoothness L) x = target, where A is `apply`, A* its adjoint, and L the
        gradient's own operator: <x, L x> is the sum of squared differences of neighbours.

        start, steps: where kernels are not even, from where and how many steps are taken.
        """
        divisor = (self.gain**2).add_(ridge + smoothness * self.roughness)

        def by_cosines(images: Tensor) -> Tensor:
            return self.cosine.back(self.cosine.forward(images).div_(divisor))

        if self.is_even:
            return by_cosines(target)

        def operator(images: Tensor) -> Tensor:
            smoothed = ridge * images + smoothness * laplacian(images) if smoothness else ridge * images
            return self._transposed(self.weight * self.apply(images)).add_(self.weight * smoothed)

        found = by_cosines(target) if start is None else start.clone()
        residual = self.weight * target - operator(found)
        preconditioned = by_cosines(residual / self.weight)
        direction, product = preconditioned, _dot(residual, preconditioned)
        for _ in range(steps):
            image = operator(direction)
            # Where nothing is left to be done, both are 0.
            length = product / _dot(direction, image).clamp(min=torch.finfo(self.dtype).tiny)
            found = found + length * direction
            residual = residual - length * image
            preconditioned = by_cosines(residual / self.weight)
            before, product = product, _dot(residual, preconditioned)
            direction = preconditioned + product / before.clamp(min=torch.finfo(self.dtype).tiny) * direction
        return found


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _gain_of_one(kernel: bytes, side: int, height: int, width: int) -> tuple[bool, Tensor]:
    return _gain(torch.frombuffer(bytearray(kernel), dtype=torch.float64).view(1, side, side), height, width)


def _gain(kernels: Tensor, height: int, width: int) -> tuple[bool, Tensor]:
    """Whether kernels [n, k, k] (float64) are even along both axes, and their `ReflectedBlur.gain`."""
    radius = kernels.shape[-1] // 2
    angles = [frequencies(side)[:, None] * torch.arange(-radius, radius + 1) for side in (height, width)]
    (down, down_odd), (across, across_odd) = ((torch.cos(angle), torch.sin(angle)) for angle in angles)
    even = down @ kernels @ across.T
    scale = float(kernels.abs().max())
    if all(bool((kernels - kernels.flip(axis)).abs().max() <= 1e-9 * scale) for axis in (1, 2)):
        return True, even[:, None]
    odd = (down_odd @ kernels @ across_odd.T, down_odd @ kernels @ across.T, down @ kernels @ across_odd.T)
    return False, (even**2 + sum(part**2 for part in odd)).sqrt()[:, None]


def laplacian(images: Tensor) -> Tensor:
    """Minus the discrete Laplacian of images [N, C, H, W] with reflecting borders: 4 x less the four neighbours."""
    padded = functional.pad(images, (1,) * 4, mode="reflect")
    around = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] + padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return 4 * images - around


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """By image [N, 1, 1, 1]."""
    return (one * other).sum((1, 2, 3), keepdim=True)
