"""Blurs of a camera that turns, or looks through dirt."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blurtrain.blur import kernels
from blurtrain.blur.blur import Blur, draws_of
from blurtrain.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

_DIRT = 13  # apart from what else is drawn of a seed and an index
_Indices = Sequence[int] | NDArray[np.integer]


class Rotation(Blur):
    """A camera that rolls evenly by `angle` degrees about its axis during the exposure: the mean of the image turned by
    -angle / 2 .. angle / 2 about its centre, which is sharp, in steps of a pixel at most in the corners.

    Turned copies are interpolated linearly, which blurs by up to half a pixel where light falls between pixels; at 0
    there is one, the image. Borders reflect.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("angle",)
    kernel: Literal["rotation"] = "rotation"
    at: Literal[224] = 224
    angle: float = Field(ge=0, le=90)
    """Degrees, in all."""

    def blurred(self, images: "Tensor", indices: _Indices, **_: Any) -> "Tensor":
        """See `Blur.blurred`."""
        import torch
        from torch.nn.functional import grid_sample

        height, width = images.shape[-2:]
        corner = math.hypot(height, width) / 2
        steps = math.ceil(math.radians(self.angle) * corner)
        if steps == 0:
            return images
        exact = torch.float64 if images.dtype == torch.float64 else torch.float32
        pixels, total = images.to(exact), torch.zeros_like(images, dtype=exact)
        right = torch.linspace(-1, 1, width, dtype=exact, device=images.device) * ((width - 1) / 2)
        down = torch.linspace(-1, 1, height, dtype=exact, device=images.device)[:, None] * ((height - 1) / 2)
        for turn in math.radians(self.angle) * ((np.arange(steps + 1) - steps / 2) / steps):
            cosine, sine = math.cos(turn), math.sin(turn)
            places = [
                (cosine * right + sine * down) * (2 / max(width - 1, 1)),
                (cosine * down - sine * right) * (2 / max(height - 1, 1)),
            ]
            grid = torch.stack(places, -1).expand(len(images), -1, -1, -1)
            total += grid_sample(pixels, grid, "bilinear", "reflection", align_corners=True)
        return (total / (steps + 1)).to(images.dtype)


class DirtyLens(Blur):
    """A lens with smears of grease, out of focus themselves: where there is one, the image is blurred by a disk of
    `radius` pixels, and a share `veil` of the light comes scattered from all around instead (a Gaussian of `glare` of
    the image's smaller side): glare beside what is bright.

    Between clean and covered it goes smoothly, as dirt on a lens is far out of focus; that it takes light away at one
    place and scatters stray light there is the model of Gu et al. (SIGGRAPH Asia 2009), in which both are measured.
    Here no light is lost: an even image stays even. Smears are drawn for each image: `smears` of them, anywhere, of a
    width that is uniform in 0.5..1.5 times `size` of the smaller side.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("radius", "smears", "size", "veil", "glare")
    kernel: Literal["dirty-lens"] = "dirty-lens"
    radius: float = Field(gt=0, le=256)
    """Of the disk, in pixels of images of resolution `at`."""
    smears: int = Field(6, ge=0, le=100)
    """How many an image has; 0: it stays sharp."""
    size: float = Field(0.2, gt=0, le=2)
    """Mean width of a smear, as a share of the smaller side."""
    veil: float = Field(0.3, ge=0, le=1)
    """Share of the light that is scattered, behind dirt."""
    glare: float = Field(0.15, gt=0, le=1)
    """Sigma of what is scattered, as a share of the smaller side."""

    def check(self, resolution: int) -> None:
        """Raise SettingsError where the disk would be too large at this resolution."""
        try:
            self._disk(resolution)
        except ValueError as error:
            raise SettingsError(f"blur {self.label}: {error}") from None

    def cover(self, index: int, height: int, width: int, **draws: Any) -> NDArray[np.float64]:
        """[height, width]: how much of each pixel's light goes through dirt, 0..1."""
        drawn = draws_of(_DIRT, index, **draws).random((self.smears, 3))
        side = min(height, width)
        down, across = (np.arange(height) + 0.5)[:, None], (np.arange(width) + 0.5)[None]
        clean = np.ones((height, width))
        for y, x, wide in drawn:
            scale = self.size * (0.5 + wide) * side / 2
            distance = ((down - y * height) ** 2 + (across - x * width) ** 2) / scale**2
            clean *= 1 - np.exp(-(distance**2))
        return 1 - clean

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
        import torch

        from blurtrain.blur.convolution import convolve
        from blurtrain.blur.operators import gaussian_blur

        height, width = images.shape[-2:]
        draws: dict[str, Any] = {"seed": seed, "epoch": epoch, "training": training}
        dirt = np.stack([self.cover(int(index), height, width, **draws) for index in indices])[:, None]
        pixels = images if images.is_floating_point() else images.float()
        covered = torch.from_numpy(dirt).to(images.device, pixels.dtype)
        near = convolve(pixels, self._disk(resolution))
        wide = gaussian_blur(pixels, self.glare * resolution, truncate)
        smeared = (1 - self.veil) * near + self.veil * wide
        return (pixels + covered * (smeared - pixels)).to(images.dtype)

    def _disk(self, resolution: int) -> NDArray[np.float64]:
        return kernels.disk(self.radius * resolution / self.at, antialias=True)
