"""The blurs of ImageNet-C as classes; see `blurtrain.blur.corruptions` for what they do, and `as_published`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blurtrain.blur import kernels
from blurtrain.blur.blur import REFERENCE, Blur, KernelBlur, stream
from blurtrain.errors import SettingsError
from blurtrain.schema import added_later

if TYPE_CHECKING:
    from torch import Tensor

_Indices = Sequence[int] | NDArray[np.integer]
Severity = Annotated[int, Field(ge=1, le=5)]


class ImageNetC(Blur):
    """What they have in common: a severity, and the form in which it is taken."""

    label_fields: ClassVar[tuple[str, ...]] = ("severity", "form")
    family: ClassVar[str]
    """What it is called in `blurtrain.blur.as_published`."""
    severity: Severity
    """That of ImageNet-C: 1 the weakest, 5 the strongest."""
    form: Literal["exact", "published"] = added_later("exact")
    """exact: the kernel or operation that is meant, at any resolution, in floats, borders reflecting; published: to the
    byte as the authors' program stores images, JPEG and all, of 224 x 224 pixels only, and not differentiable."""

    @model_validator(mode="after")
    def _published_at_its_size(self) -> Self:
        if self.form == "published" and self.at != REFERENCE:
            raise ValueError(f"form=published is made of images of {REFERENCE} px: leave out @{self.at}")
        return self

    def check(self, resolution: int) -> None:
        """Raise SettingsError for another resolution than 224, where whole pixels of such images are meant."""
        if self.form == "published" and resolution != REFERENCE:
            raise SettingsError(
                f"blur {self.label}: is made of images of {REFERENCE} px, not of {resolution}; take that resolution, "
                f"or {self.label.removesuffix('-published')}"
            )
        super().check(resolution)

    def reach(self, resolution: int, truncate: float) -> int | None:
        """See `Blur.reach`: in a JPEG counts where a pixel is."""
        return None if self.form == "published" else super().reach(resolution, truncate)

    def is_convolution(self) -> bool:
        """See `KernelBlur.is_convolution`."""
        return self.form == "exact"

    def blurred(
        self,
        images: "Tensor",
        indices: _Indices,
        *,
        resolution: int,
        seed: int = 0,
        epoch: int = 0,
        training: bool = False,
        truncate: float = 4.0,
    ) -> "Tensor":
        """See `Blur.blurred`."""
        if self.form == "published":
            from blurtrain.blur.as_published import published

            self.check(resolution)
            numbers = [int(index) for index in indices]
            return published(images, self.family, self.severity, stream(seed, epoch, training), numbers)
        draws: dict[str, Any] = {"seed": seed, "epoch": epoch, "training": training, "truncate": truncate}
        return self.exactly(images, indices, resolution=resolution, **draws)

    def exactly(self, images: "Tensor", indices: _Indices, *, resolution: int, **draws: Any) -> "Tensor":
        """`blurred` in the exact form: that of a kernel, where it has one."""
        return super().blurred(images, indices, resolution=resolution, **draws)


class ImageNetCGaussian(ImageNetC):
    """Gaussian of ImageNet-C: sigma 1, 2, 3, 4, 6, cut at 4 sigmas."""

    family: ClassVar[str] = "gaussian"
    kernel: Literal["imagenet-c-gaussian"] = "imagenet-c-gaussian"

    def reach(self, resolution: int, truncate: float) -> int | None:
        """See `Blur.reach`."""
        from blurtrain.blur.corruptions import GAUSSIAN

        if self.form == "published":
            return None
        return kernels.gaussian_radius(GAUSSIAN[self.severity - 1] * resolution / self.at)

    def exactly(self, images: "Tensor", indices: _Indices, *, resolution: int, **_: Any) -> "Tensor":
        """See `ImageNetC.exactly`."""
        from blurtrain.blur.corruptions import GAUSSIAN
        from blurtrain.blur.operators import gaussian_blur

        return gaussian_blur(images, GAUSSIAN[self.severity - 1] * resolution / self.at)


class ImageNetCDefocus(ImageNetC, KernelBlur):
    """Defocus of ImageNet-C (`blurtrain.blur.corruptions.defocus`)."""

    label_name: ClassVar[str] = "defocus"
    family: ClassVar[str] = "defocus"
    kernel: Literal["imagenet-c-defocus"] = "imagenet-c-defocus"

    def point_spread(self, index: int, **_: Any) -> NDArray[np.float64]:
        """See `blurtrain.blur.corruptions.defocus`."""
        from blurtrain.blur.corruptions import defocus

        return defocus(self.severity)


class ImageNetCMotion(ImageNetC, KernelBlur):
    """Motion of ImageNet-C at an angle of each image's own (`blurtrain.blur.corruptions.motion`)."""

    label_name: ClassVar[str] = "motion"
    family: ClassVar[str] = "motion"
    kernel: Literal["imagenet-c-motion"] = "imagenet-c-motion"

    def largest(self) -> int:
        """See `KernelBlur.largest`: one-sided, as long as all its taps in a row."""
        from blurtrain.blur.corruptions import MOTION

        return 4 * MOTION[self.severity - 1][0] + 1

    def point_spread(self, index: int, *, seed: int = 0, epoch: int = 0, training: bool = False) -> NDArray[np.float64]:
        """See `blurtrain.blur.corruptions.motion`."""
        from blurtrain.blur.corruptions import motion, motion_angle

        return motion(self.severity, motion_angle(stream(seed, epoch, training), index))


class ImageNetCZoom(ImageNetC):
    """Zoom of ImageNet-C, which is the same at every resolution (`blurtrain.blur.corruptions.zoom`)."""

    label_name: ClassVar[str] = "zoom"
    family: ClassVar[str] = "zoom"
    kernel: Literal["imagenet-c-zoom"] = "imagenet-c-zoom"
    at: Literal[224] = 224

    def exactly(self, images: "Tensor", indices: _Indices, **_: Any) -> "Tensor":
        """See `ImageNetC.exactly`."""
        from blurtrain.blur.corruptions import zoom

        return zoom(images, self.severity)


class ImageNetCGlass(ImageNetC):
    """Frosted glass of ImageNet-C, which moves whole pixels about: for images of `at` pixels only
    (`blurtrain.blur.corruptions.glass`)."""

    label_name: ClassVar[str] = "glass"
    family: ClassVar[str] = "glass"
    kernel: Literal["imagenet-c-glass"] = "imagenet-c-glass"

    def check(self, resolution: int) -> None:
        """Raise SettingsError for another resolution than `at`."""
        super().check(resolution)
        if resolution != self.at:
            raise SettingsError(
                f"blur {self.label}: moves whole pixels of images of {self.at}, so it has no counterpart at "
                f"{resolution}; take that resolution, or another blur"
            )

    def exactly(
        self,
        images: "Tensor",
        indices: _Indices,
        *,
        resolution: int,
        seed: int = 0,
        epoch: int = 0,
        training: bool = False,
        **_: Any,
    ) -> "Tensor":
        """See `ImageNetC.exactly`."""
        from blurtrain.blur.corruptions import glass

        self.check(resolution)
        return glass(images, self.severity, stream(seed, epoch, training), [int(index) for index in indices])
