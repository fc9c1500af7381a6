"""Random object and network scales: resize, blur, 8 bits, resize again and crop (Vasiljevic et al. 2016).

Of each image only what its crop is made of is computed: the pixels of the object scale that the second resize looks at,
and around them as many as the blur reaches, reflected at the true border of the image. Both resizes are a matrix an
axis, and where the blur is Gaussian and nothing is rounded, so is the whole.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.axis import gaussian_matrix, matrix_of, resampled_at, tap_count
from blurtrain.blur.blurs import Gaussian
from blurtrain.blur.light import linear_light, srgb
from blurtrain.blur.operators import gaussian_blur_each
from blurtrain.blur.resampling import scaled
from blurtrain.blur.taps import reflected_at
from blurtrain.errors import SettingsError
from blurtrain.settings import BlurUnits, Scaled

_ROUNDED = 1.01  # more than a side may shrink beyond its ratio, as sides are whole pixels
DRAWS = 5  # an image: object scale, network scale, top, left, flip


@dataclass(frozen=True)
class ScaledCrops:
    """How n images [H, W] are scaled and cropped; arrays [n, 2] are of rows and columns."""

    sides: NDArray[np.int64]
    """Of the stored images."""
    blurred: NDArray[np.int64]
    """At the object scale."""
    shown: NDArray[np.int64]
    """At the network scale."""
    start: NDArray[np.int64]
    """Of the crop at the network scale."""
    flip: NDArray[np.bool_]

    @classmethod
    def drawn(
        cls, draws: NDArray[np.float64], sides: NDArray[np.int64], stored: int, size: int, s: Scaled, flip: float
    ) -> Self:
        """From uniform draws [n, DRAWS], of images in a store of size `stored`. Raises SettingsError where
        an image comes out smaller than the crop."""
        objects, networks = np.asarray(s.object_scales), np.asarray(s.network_scales)
        object_scale = objects[(draws[:, 0] * len(objects)).astype(np.int64)]
        network_scale = networks[(draws[:, 1] * len(networks)).astype(np.int64)]
        blurred = np.round(sides * (object_scale / stored)[:, None]).astype(np.int64)
        shown = np.round(blurred * (network_scale / s.defined_at)[:, None]).astype(np.int64)
        if (shown < size).any():
            raise SettingsError(f"augmentation.scaled: an image has {shown.min()} pixels, less than the crop of {size}")
        start = np.floor(draws[:, 2:4] * (shown - size + 1)).astype(np.int64)
        return cls(sides, blurred, shown, start, draws[:, 4] < flip)

    def of(self, chosen: NDArray[np.integer]) -> Self:
        """Those of some of the images, by their places [k]."""
        parts = (part[chosen] for part in (self.sides, self.blurred, self.shown, self.start, self.flip))
        return type(self)(*parts)


@dataclass(frozen=True)
class ScaledCrop:
    """The two resizes and what is between them, for images of a network that sees `size` pixels."""

    settings: Scaled
    size: int
    blur: BlurUnits
    interpolation: str
    seed: int

    def __call__(
        self,
        images: Tensor,
        crops: ScaledCrops,
        indices: NDArray[np.integer],
        epoch: int,
        assignment: Assignment | None,
    ) -> Tensor:
        """uint8 images [n, 3, H, W], each in the top left corner, as float32 [n, 3, size, size] of 0..255."""
        s, margin = self.settings, self._margin(assignment)
        gaussian = assignment is None or assignment.which is None
        sigmas = np.zeros(len(images))
        if assignment is not None and gaussian:
            sigmas = scaled(assignment.sigmas, s.defined_at, self.blur.reference_resolution)
        linear = gaussian and not s.quantise and not self.blur.linear_light
        axes = [self._axis(crops, axis, images, margin) for axis in (0, 1)]
        if linear:
            return _product(images.float(), *(self._composed(*axis, sigmas, margin) for axis in axes))
        region = _product(images.float(), axes[0][0], axes[1][0])
        if self.blur.linear_light:
            region = linear_light(region.clamp_(0, 255))
        if gaussian:
            region = gaussian_blur_each(region, sigmas, self.blur.truncate) if sigmas.any() else region
        else:
            assert assignment is not None
            draws = {"seed": self.seed, "epoch": epoch, "training": True, "truncate": self.blur.truncate}
            region = assignment.applied(region, indices, resolution=s.defined_at, **draws)
        region = region[:, :, margin : region.shape[2] - margin, margin : region.shape[3] - margin]
        if self.blur.linear_light:
            region = srgb(region)
        if s.quantise:
            region = region.clamp(0, 255).round_()
        return _product(region, axes[0][1], axes[1][1])

    def _margin(self, assignment: Assignment | None) -> int:
        """Pixels around what is looked at that the blur reaches: of Gaussians by sigma the widest of these images, else
        the widest of the run."""
        s, truncate = self.settings, self.blur.truncate
        if assignment is None:
            return 0
        blurs = assignment.blurs
        if assignment.which is None and assignment.sigmas.any():
            blurs = (Gaussian(sigma=float(assignment.sigmas.max()), at=self.blur.reference_resolution),)
        reaches = [blur.reach(s.defined_at, truncate) for blur in blurs]
        if None in reaches:
            label = blurs[reaches.index(None)].label
            raise SettingsError(
                f"augmentation.scaled: blur {label} depends on the whole image, of which only the crop's part is there"
            )
        return max((reach for reach in reaches if reach is not None), default=0)

    def _axis(self, crops: ScaledCrops, axis: int, images: Tensor, margin: int) -> tuple[Tensor, Tensor]:
        """Matrices from stored pixels to those that are blurred [n, P, side], and from the blurred ones, without their
        margin, to the crop [n, size, P - 2 margin]."""
        s, device = self.settings, images.device
        most = s.defined_at / min(s.network_scales) * _ROUNDED
        stored, blurred, shown, start = (
            torch.from_numpy(np.ascontiguousarray(part[:, axis])).to(device, non_blocking=True)
            for part in (crops.sides, crops.blurred, crops.shown, crops.start)
        )
        flip = torch.from_numpy(crops.flip).to(device, non_blocking=True)
        target = torch.arange(self.size, device=device).expand(len(stored), -1)
        if axis == 1:
            target = torch.where(flip[:, None], self.size - 1 - target, target)
        place, weight = resampled_at(start[:, None] + target, blurred, shown, most, self.interpolation)
        first = place.amin((1, 2))
        seen = int(self.size * most) + tap_count(most, self.interpolation) + 1
        second = matrix_of((place - first[:, None, None], weight), seen, torch.float32)
        wanted = reflected_at(first[:, None] + torch.arange(-margin, seen + margin, device=device), blurred[:, None])
        largest = min(images.shape[2:]) / min(s.object_scales) * _ROUNDED
        given = resampled_at(wanted, stored, blurred, largest, self.interpolation)
        return matrix_of(given, images.shape[2 + axis], torch.float32), second

    def _composed(self, first: Tensor, second: Tensor, sigmas: NDArray[np.float64], margin: int) -> Tensor:
        if not sigmas.any():
            return second @ first
        n = first.shape[1]
        blurs = gaussian_matrix(torch.from_numpy(sigmas), n, self.blur.truncate, torch.float32, first.device)
        return second @ (blurs[:, margin : n - margin] @ first)


def _product(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows[:, None] @ (images @ columns.mT[:, None])
