"""The methods there are, each a class: what a settings file or `blurtrain evaluate --deblur` can name.

| label | method |
|---|---|
| `wiener` | least squares with a smooth prior, by the true kernel |
| `richardson-lucy` | iterations of Richardson and Lucy, by the true kernel |
| `total-variation` | least squares with few edges, by the true kernel |
| `unsharp` | unsharp masking, whatever the blur |
| `wiener noise=0.01` | any of them with other options |
| `package.module:Name strength=2` | a user's own |
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from blurtrain.deblurring.deblurring import AnyDeblurring, Deblurring, Kernel, NonBlind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AnyDeblurring", "Deblurring", "NonBlind"]

NOISE = 0.002
"""Standard deviation of the noise, as a share of white. Rounding to 8 bits alone is 1 / (255 sqrt(12)) = 0.0011."""
GRADIENT = 0.06
"""Differences of neighbouring pixels of sharp photographs, root mean square, as a share of white."""


class Wiener(NonBlind):
    """The image that minimises |A x - y|^2 / noise^2 + |gradient of x|^2 / gradient^2, where A is the blur: the Wiener
    filter for white noise and a power spectrum of 1 / f^2, with borders that reflect."""

    type: Literal["wiener"] = "wiener"
    noise: float = Field(NOISE, gt=0, le=1)
    """Standard deviation of the noise, as a share of white."""
    gradient: float = Field(GRADIENT, gt=0, le=1)
    """Standard deviation of differences of neighbouring pixels, as a share of white."""

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`."""
        from blurtrain.deblurring.reflected import ReflectedBlur

        return ReflectedBlur(kernels, images).least_squares(images, (self.noise / self.gradient) ** 2)


class RichardsonLucy(NonBlind):
    """Richardson (1972) and Lucy (1974), from the blurred image on; the noise is kept low by ending early."""

    type: Literal["richardson-lucy"] = "richardson-lucy"
    iterations: int = Field(30, ge=1, le=10_000)

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`."""
        from blurtrain.deblurring.iterative import richardson_lucy
        from blurtrain.deblurring.reflected import ReflectedBlur

        return richardson_lucy(ReflectedBlur(kernels, images), images, self.iterations)


class TotalVariation(NonBlind):
    """The image that minimises |A x - y|^2 / (2 noise^2) + (sum of absolute differences of neighbours) / scale, where
    A is the blur (Rudin, Osher & Fatemi 1992, anisotropic); each channel by itself."""

    type: Literal["total-variation"] = "total-variation"
    noise: float = Field(NOISE, gt=0, le=1)
    """Standard deviation of the noise, as a share of white."""
    scale: float = Field(0.03, gt=0, le=1)
    """Mean absolute difference of neighbouring pixels of sharp photographs, as a share of white."""
    iterations: int = Field(40, ge=1, le=10_000)

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`."""
        from blurtrain.deblurring.iterative import total_variation
        from blurtrain.deblurring.reflected import ReflectedBlur

        weight = self.noise**2 / self.scale
        return total_variation(ReflectedBlur(kernels, images), images, weight, self.iterations)


class Unsharp(Deblurring):
    """Unsharp masking: the image, and `amount` times what a Gaussian of `sigma` pixels takes away from it."""

    type: Literal["unsharp"] = "unsharp"
    sigma: float = Field(2.0, gt=0, le=100)
    """Pixels of the image that is deblurred."""
    amount: float = Field(1.0, gt=0, le=20)

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`."""
        from blurtrain.blur.operators import gaussian_blur

        return images + self.amount * (images - gaussian_blur(images, self.sigma))


Deblurring.kinds = {
    str(kind.model_fields["type"].default): kind for kind in (Wiener, RichardsonLucy, TotalVariation, Unsharp)
}
