"""The blurs there are, each a class: what a settings file, a curriculum, an evaluation or `RandomBlur` can name.

| label | blur |
|---|---|
| `sharp` | none |
| `gaussian-8` | sigma 8 |
| `disk-4`, `disk-4-antialiased` | defocus of radius 4 |
| `box-8`, `box-8-90`, `box-8-random` | linear motion over 8 pixels: horizontal, vertical, at any angle |
| `box-8-90-plain` | the same, of 8 equal taps |
| `shake` | camera shake, a kernel of each image's own |
| `defocus-3`, `motion-3`, `zoom-3`, `glass-3`, `imagenet-c-gaussian-3` | ImageNet-C at severity 3 |
| `defocus-3-published` and so on | the same to the byte as published, at 224 px |
| `lowpass-8`, `highpass-8`, `bandpass-4-8` | frequencies below, above or between so many cycles per image |
| `highpass-8-2-grey` | the same by a filter of order 2 (the default), with a grey mean |
| `noise-10` | no blur, but white noise of standard deviation 10: for denoisers |
| `myopia-2`, `myopia-2-30-4-0.5` | 2 dioptres; over 30 degrees of sight, a pupil of 4 mm, half a metre away |
| `aberration-coma-0.5`, `aberration-coma-0.5-random` | a lens's coma of half a wave; turned at random |
| `depth-focus-2`, `depth-focus-2-1.8-50` | focused at 2 metres, at f/1.8 and 50 mm; other distances are disks |
| `parallax-20`, `parallax-20-90` | the camera moves by 20 mm sideways, upwards: more blur for what is near |
| `rotation-10` | the camera rolls by 10 degrees |
| `dirty-lens-8` | smears that blur by a disk of radius 8, and glare |
| `sight-2`, `sight-2-true-false` | what a child of 2 months sees; without the loss of colour |
| `file-NAME` | a kernel from a file |
| `package.module:Name-radius=3` | a user's own |
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blurtrain.blur import kernels
from blurtrain.blur.bands import BandPass, HighPass, LowPass
from blurtrain.blur.blur import REFERENCE, AnyBlur, Blur, KernelBlur, draws_of
from blurtrain.blur.camera import DirtyLens, Rotation
from blurtrain.blur.depths import DepthFocus, Parallax
from blurtrain.blur.imagenet_c import (
    ImageNetCDefocus,
    ImageNetCGaussian,
    ImageNetCGlass,
    ImageNetCMotion,
    ImageNetCZoom,
)
from blurtrain.blur.lenses import Aberration, Myopia
from blurtrain.blur.sight import Sight
from blurtrain.errors import SettingsError
from blurtrain.schema import FileName, Name, Sha256, added_later, outside_identity

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["REFERENCE", "AnyBlur", "Blur", "KernelBlur"]

_Indices = Sequence[int] | NDArray[np.integer]


class Sharp(Blur):
    """No blur."""

    kernel: Literal["sharp"] = "sharp"
    at: Literal[224] = 224

    def reach(self, resolution: int, truncate: float) -> int:
        """See `Blur.reach`."""
        return 0

    def blurred(self, images: "Tensor", indices: _Indices, **_: Any) -> "Tensor":
        """The images themselves."""
        return images


class Gaussian(Blur):
    """Gaussian of `sigma` pixels, cut where the settings say (`blur.truncate`)."""

    label_fields: ClassVar[tuple[str, ...]] = ("sigma",)
    kernel: Literal["gaussian"] = "gaussian"
    sigma: float = Field(gt=0, le=1000)
    """In pixels of images of resolution `at`."""

    def reach(self, resolution: int, truncate: float) -> int:
        """See `Blur.reach`."""
        return kernels.gaussian_radius(self.sigma * resolution / self.at, truncate)

    def has_kernel(self) -> bool:
        """See `Blur.has_kernel`."""
        return True

    def kernels(self, indices: _Indices, *, resolution: int, truncate: float = 4.0) -> list[NDArray[np.float64]]:
        """See `Blur.kernels`."""
        try:
            return [kernels.gaussian(self.sigma * resolution / self.at, truncate)] * len(indices)
        except ValueError as error:
            raise SettingsError(f"blur {self.label}: {error}") from None

    def blurred(
        self, images: "Tensor", indices: _Indices, *, resolution: int, truncate: float = 4.0, **_: Any
    ) -> "Tensor":
        """See `Blur.blurred`."""
        from blurtrain.blur.operators import gaussian_blur

        return gaussian_blur(images, self.sigma * resolution / self.at, truncate)


class Disk(KernelBlur):
    """Defocus: a uniform disk, hard as in Vasiljevic et al. 2016 (D2..D8), or weighted by the area that it covers."""

    label_fields: ClassVar[tuple[str, ...]] = ("radius", "edge")
    kernel: Literal["disk"] = "disk"
    radius: float = Field(gt=0, le=256)
    """In pixels of images of resolution `at`."""
    edge: Literal["hard", "antialiased"] = "hard"
    """hard: a pixel is in the disk or not, by its centre; antialiased: by the area that is covered."""

    def point_spread(self, index: int, **_: Any) -> NDArray[np.float64]:
        """See `blurtrain.blur.kernels.disk`."""
        return kernels.disk(self.radius, self.edge == "antialiased")


class Box(KernelBlur):
    """Linear motion over `length` pixels, one pixel wide, along `angle` degrees: 0 horizontal, 90 vertical,
    counter-clockwise; random: uniform in 0..180, of each image's own."""

    label_fields: ClassVar[tuple[str, ...]] = ("length", "angle", "taps")
    kernel: Literal["box"] = "box"
    length: float = Field(ge=1, le=512)
    """In pixels of images of resolution `at`."""
    angle: Annotated[float, Field(ge=0, lt=180)] | Literal["random"] = 0.0
    """Degrees, counter-clockwise from horizontal; random: of each image's own."""
    taps: Literal["centred", "plain"] = added_later("centred")
    """centred: an even length has half a tap at either end, and moves nothing; plain: `length` equal taps, of which an
    even number moves the image by half a pixel, to the right or down. Plain ones are horizontal or vertical, and whole
    pixels long at `at`."""

    @model_validator(mode="after")
    def _plain_on_an_axis(self) -> Self:
        if self.taps == "plain" and (self.angle not in (0, 90) or self.length != int(self.length)):
            raise ValueError(
                f"taps=plain goes with a whole length at angle 0 or 90, not with length {self.length:g} at angle "
                f"{self.angle}; taps=centred takes any"
            )
        return self

    def largest(self) -> int:
        """See `KernelBlur.largest`; that of a random angle is widest where it is horizontal."""
        return len(kernels.box(self.length, 0.0 if self.angle == "random" else self.angle))

    def point_spread(self, index: int, *, seed: int = 0, epoch: int = 0, training: bool = False) -> NDArray[np.float64]:
        """See `blurtrain.blur.kernels.box`."""
        if self.angle != "random":
            return kernels.box(self.length, self.angle, self.taps == "plain")
        return kernels.box(self.length, 180 * float(draws_of(_BOX_ANGLES, index, seed, epoch, training).random()))


class Shake(KernelBlur):
    """Camera shake, a kernel of each image's own: one of 10,000 in training, drawn anew each epoch, and one of 100
    others in evaluation, always the same (Vasiljevic et al. 2016; `blurtrain.blur.shake`)."""

    kernel: Literal["shake"] = "shake"

    def largest(self) -> int:
        """See `KernelBlur.largest`."""
        return kernels.SHAKE_MAX_SIDE

    def point_spread(self, index: int, *, seed: int = 0, epoch: int = 0, training: bool = False) -> NDArray[np.float64]:
        """See `blurtrain.blur.kernels.shake_for`."""
        return kernels.shake_for("train", index, seed, epoch) if training else kernels.shake_for("test", index)


class KernelFile(KernelBlur):
    """A kernel of the user's own from a file (`blurtrain.blur.kernels.from_file`). Its content is known by `sha256`, or
    vouched for by `title`; where the file lies does not matter."""

    label_name: ClassVar[str] = "file"
    kernel: Literal["file"] = "file"
    file: FileName = outside_identity(...)
    """Where the kernel lies: .npy, .txt, .csv, .png, .tif or .tiff."""
    sha256: Sha256 | None = None
    """What `sha256sum FILE` prints; None: the file is taken as it is."""
    title: Name | None = None
    """What the label calls it; None: by the first digits of `sha256`."""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.sha256 is None and self.title is None:
            raise ValueError("give sha256, which is what `sha256sum FILE` prints, or else a title")
        return self

    def _words(self) -> list[str]:
        return [self.title or (self.sha256 or "")[:12]]

    def point_spread(self, index: int, **_: Any) -> NDArray[np.float64]:
        """The kernel as read; raises SettingsError for a file that is missing, no kernel, or another than `sha256`."""
        try:
            return _read(self.file, self.sha256)
        except ValueError as error:
            raise SettingsError(f"blur {self.label}: {error}") from None


@functools.lru_cache(maxsize=64)
def _read(file: str, sha256: str | None) -> NDArray[np.float64]:
    kernel = kernels.from_file(file)
    if sha256 and (found := hashlib.sha256(Path(file).read_bytes()).hexdigest()) != sha256:
        raise ValueError(f"{file} is another file than was meant: its sha256 is {found}")
    return kernel


class Noise(Blur):
    """No blur, but white Gaussian noise of standard deviation `sd`, of pixels in 0..255, another in each channel: what
    a denoiser is trained on. It is drawn on the processor, for the pixels that are there, whatever their size."""

    label_fields: ClassVar[tuple[str, ...]] = ("sd",)
    kernel: Literal["noise"] = "noise"
    at: Literal[224] = 224
    sd: float = Field(gt=0, le=255)
    """Standard deviation, of pixels in 0..255."""

    def reach(self, resolution: int, truncate: float) -> int:
        """See `Blur.reach`."""
        return 0

    def blurred(
        self, images: "Tensor", indices: _Indices, *, seed: int = 0, epoch: int = 0, training: bool = False, **_: Any
    ) -> "Tensor":
        """See `Blur.blurred`."""
        import torch

        drawn = np.empty(images.shape, np.float32)
        for own, index in zip(drawn, indices, strict=True):
            draws_of(_NOISE, int(index), seed, epoch, training).standard_normal(dtype=np.float32, out=own)
        return images + self.sd * torch.from_numpy(drawn).to(images.device, images.dtype)


_BOX_ANGLES, _NOISE = 3, 5  # apart from what else is drawn of a seed and an index, see corruptions, random_blur

Blur.kinds = {
    str(kind.model_fields["kernel"].default): kind
    for kind in (
        Sharp,
        Gaussian,
        Disk,
        Box,
        Shake,
        KernelFile,
        Noise,
        ImageNetCGaussian,
        ImageNetCDefocus,
        ImageNetCMotion,
        ImageNetCZoom,
        ImageNetCGlass,
        Myopia,
        Aberration,
        DepthFocus,
        Parallax,
        Rotation,
        DirtyLens,
        Sight,
        LowPass,
        HighPass,
        BandPass,
    )
}
