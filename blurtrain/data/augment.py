"""From stored pixels to the network's input, on the device: geometry, colour, blur, normalisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur import gaussian_blur, resized_crop_blur
from blurtrain.blur.light import linear_light, srgb
from blurtrain.data.catalog import Dataset
from blurtrain.data.colour import DRAWS, colour
from blurtrain.data.draws import uniform
from blurtrain.settings import Augmentation, Blur, Settings

_ATTEMPTS = 10  # at a crop that fits into the image, before the whole image is taken (as torchvision does)
_GEOMETRY = 4 * _ATTEMPTS + 1


@dataclass(frozen=True)
class Transform:
    """What happens to uint8 images [N, 3, S, S]; all randomness is a function of (seed, epoch, sample index)."""

    augmentation: Augmentation
    resolution: int
    mean: Sequence[float]
    sd: Sequence[float]
    blur: Blur
    seed: int

    @classmethod
    def of(cls, settings: Settings, dataset: Dataset) -> "Transform":
        """The transform of a run, with normalisation as set, or as measured on the training split."""
        mean, sd = settings.data.mean or dataset.manifest["mean"], settings.data.sd or dataset.manifest["sd"]
        return cls(settings.augmentation, settings.data.resolution, mean, sd, settings.blur, settings.seed)

    def train(
        self, images: Tensor, indices: NDArray[np.integer], epoch: int, sigma: float | NDArray[np.float64]
    ) -> Tensor:
        """Random resized crop and flip, colour, blur (`sigma` in pixels of the input, one or [N]), normalisation.

        Returns float32 [N, 3, resolution, resolution]. With colour operations the crop is rounded to 8 bits first, as
        they are defined on 8-bit images; without, geometry and blur are one operator.
        """
        a = self.augmentation
        draws = uniform(self.seed, epoch, indices, _GEOMETRY + DRAWS)
        crop = [torch.from_numpy(g).to(images.device) for g in random_crops(draws[:, :_GEOMETRY], images.shape[-1], a)]
        top, left, height, width, flip = crop
        blur = sigma if isinstance(sigma, float) else torch.from_numpy(sigma)
        fused = not a.colour and not self.blur.linear_light
        crops = resized_crop_blur(
            images, top, left, height, width, self.resolution, flip, blur if fused else 0.0, a.interpolation,
            self.blur.truncate,
        )  # fmt: skip
        if fused:
            return self.normalise(crops)
        crops = colour(crops.clamp_(0, 255).round_(), draws[:, _GEOMETRY:], a.colour, a.jitter)
        return self.blurred(crops, blur)

    def resized(self, images: Tensor) -> Tensor:
        """The whole image at the network's resolution, as 8-bit values in float32: the start of every evaluation."""
        zero = torch.zeros(1, dtype=torch.long, device=images.device)  # one geometry, the same for all images
        whole = torch.full_like(zero, images.shape[-1])
        return (
            resized_crop_blur(images, zero, zero, whole, whole, self.resolution, interpolation="bilinear")
            .clamp_(0, 255)
            .round_()
        )

    def blurred(self, images: Tensor, sigma: float | Tensor) -> Tensor:
        """Images in 0..255, blurred by `sigma` (pixels of the input, one or [N]) and normalised."""
        if not self.blur.linear_light:
            return self.normalise(gaussian_blur(images, sigma, self.blur.truncate))
        return self.normalise(srgb(gaussian_blur(linear_light(images), sigma, self.blur.truncate)))

    def normalise(self, images: Tensor) -> Tensor:
        """(pixel / 255 - mean) / sd, per channel; commutes with unit-sum blur."""
        mean, sd = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (self.mean, self.sd))
        return (images - 255 * mean) * (1 / (255 * sd))


def random_crops(
    draws: NDArray[np.float64], side: int, augmentation: Augmentation
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """top, left, height, width (pixels) and flip, each [N], from uniform draws [N, 41].

    As torchvision's RandomResizedCrop: area uniform in crop_scale, aspect log-uniform in crop_ratio, up to ten tries
    until the crop fits into the image of `side`, then the largest centred crop with an allowed aspect.
    """
    scale, ratio, down, across = np.split(draws[:, :-1], 4, axis=1)
    (low, high), (narrow, wide) = augmentation.crop_scale, np.log(augmentation.crop_ratio)
    area = side * side * (low + (high - low) * scale)
    aspect = np.exp(narrow + (wide - narrow) * ratio)
    width = np.round(np.sqrt(area * aspect)).astype(np.int64)
    height = np.round(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    first = np.where(fits.any(1), fits.argmax(1), -1)
    rows = np.arange(len(draws))
    height, width = height[rows, first], width[rows, first]
    top = np.floor(down[rows, first] * (side - height + 1)).astype(np.int64)
    left = np.floor(across[rows, first] * (side - width + 1)).astype(np.int64)
    none = first < 0
    if none.any():
        aspect_of_all = float(np.clip(1.0, *augmentation.crop_ratio))
        height[none] = round(side / max(aspect_of_all, 1.0))
        width[none] = round(side * min(aspect_of_all, 1.0))
        top[none], left[none] = (side - height[none]) // 2, (side - width[none]) // 2
    return top, left, height, width, draws[:, -1] < augmentation.flip
