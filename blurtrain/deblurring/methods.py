"""The methods there are, each a class: what a settings file or `blurtrain evaluate --deblur` can name.

| label | method |
|---|---|
| `wiener` | least squares with a smooth prior, by the true kernel |
| `richardson-lucy` | iterations of Richardson and Lucy, by the true kernel |
| `total-variation` | least squares with few edges, by the true kernel |
| `patch-prior` | the likeliest patches, by the true kernel and a prior from a file |
| `denoiser-prior` | plug and play, by the true kernel and a denoiser that a run has trained |
| `learned` | a network that a run has trained, whatever the blur |
| `unsharp` | unsharp masking, whatever the blur |
| `wiener noise=0.01` | any of them with other options |
| `package.module:Name strength=2` | a user's own |
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from blurtrain.blur.blur import Blur
from blurtrain.deblurring.deblurring import AnyDeblurring, Deblurring, Kernel, NonBlind
from blurtrain.deblurring.of_run import OfRun
from blurtrain.errors import SettingsError
from blurtrain.files import sha256_of
from blurtrain.schema import FileName, Name, Sha256, outside_identity

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
    """The more, the sharper, and the noisier."""

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
    """Steps of the alternating direction method of multipliers."""

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`."""
        from blurtrain.deblurring.iterative import total_variation
        from blurtrain.deblurring.reflected import ReflectedBlur

        weight = self.noise**2 / self.scale
        return total_variation(ReflectedBlur(kernels, images), images, weight, self.iterations)


class PatchPrior(NonBlind):
    """The image whose patches are likeliest, by a mixture of Gaussians that was learnt from sharp photographs, and that
    explains the blurred one (EPLL of Zoran & Weiss 2011): `blurtrain deblur learn-patches` learns one."""

    unnamed: ClassVar[frozenset[str]] = frozenset({"file", "sha256"})
    type: Literal["patch-prior"] = "patch-prior"
    noise: float = Field(NOISE, gt=0, le=1)
    """Standard deviation of the noise, as a share of white; 0.01 in Vasiljevic et al. 2016."""
    stride: int = Field(4, ge=1, le=8)
    """Pixels from one patch to the next; 1: all patches, as published, which takes 16 times as long as 4."""
    file: FileName = outside_identity(...)
    """What `blurtrain deblur learn-patches` has written."""
    sha256: Sha256 | None = None
    """What `sha256sum FILE` prints; none: the file is taken as it is."""
    title: Name | None = None
    """What the label calls it."""

    @property
    def identity(self) -> dict[str, Any]:
        """See `Deblurring.identity`; of the file its content. Raises SettingsError where it is missing or another than
        `sha256`."""
        return {"deblur": self.label, "deblur_file": self._digest()}

    def _digest(self) -> str:
        if not Path(self.file).is_file():
            raise SettingsError(f"patch-prior: {self.file}: no such file; `blurtrain deblur learn-patches` writes one")
        found = sha256_of(Path(self.file))
        if self.sha256 and found != self.sha256:
            raise SettingsError(f"patch-prior: {self.file} is another file than was meant: its sha256 is {found}")
        return found[:16]

    def check(self, blurs: Sequence[Blur]) -> None:
        """See `Deblurring.check`."""
        super().check(blurs)
        self._digest()

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`. Raises SettingsError for a file that is none."""
        from blurtrain.deblurring.patches import expected_patch_log_likelihood, mixture_at
        from blurtrain.deblurring.reflected import ReflectedBlur

        if not Path(self.file).is_file():
            self._digest()
        mixture = mixture_at(self.file, Path(self.file).stat().st_mtime)
        blur, smoothness = ReflectedBlur(kernels, images), (self.noise / GRADIENT) ** 2
        return expected_patch_log_likelihood(blur, images, self.noise, mixture, self.stride, smoothness)


class Unsharp(Deblurring):
    """Unsharp masking: the image, and `amount` times what a Gaussian of `sigma` pixels takes away from it."""

    type: Literal["unsharp"] = "unsharp"
    sigma: float = Field(2.0, gt=0, le=100)
    """Pixels of the image that is deblurred."""
    amount: float = Field(1.0, gt=0, le=20)
    """1: what the Gaussian takes away is added once."""

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`."""
        from blurtrain.blur.operators import gaussian_blur

        return images + self.amount * (images - gaussian_blur(images, self.sigma))


class Learned(OfRun):
    """What a network makes of the image that a run has trained to restore blurred ones: blind to the blur."""

    of_light: ClassVar[bool] = False
    type: Literal["learned"] = "learned"

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`. Raises SettingsError for a run that is none, see `OfRun`."""
        found: Tensor = self.network(images)(images)
        return found


class DenoiserPrior(OfRun, NonBlind):
    """Plug and play (Zhang et al. 2021): the image that explains the blurred one, and that a denoiser, which a run has
    trained on noise, leaves as it is."""

    type: Literal["denoiser-prior"] = "denoiser-prior"
    noise: float = Field(NOISE, gt=0, le=1)
    """Standard deviation of the noise, as a share of white."""
    steps: int = Field(8, ge=1, le=1000)
    """How often image and denoised image are found in turn."""

    def restored(self, images: "Tensor", kernels: Sequence[Kernel]) -> "Tensor":
        """See `Deblurring.restored`. Raises SettingsError for a run that is none, see `OfRun`."""
        from blurtrain.deblurring.plug_and_play import half_quadratic_splitting
        from blurtrain.deblurring.reflected import ReflectedBlur

        blur = ReflectedBlur(kernels, images)
        return half_quadratic_splitting(blur, images, self.network(images), self.noise, self.steps)


Deblurring.kinds = {
    str(kind.model_fields["type"].default): kind
    for kind in (Wiener, RichardsonLucy, TotalVariation, PatchPrior, DenoiserPrior, Learned, Unsharp)
}
