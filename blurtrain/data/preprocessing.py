"""How a network is shown an image: from a file of any size to its input. Needs no torch unless given its tensors."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurtrain.blur_types.mosaic import TILES, mosaic

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = 100
"""Longer side, by the smaller one, of what is resized: enlarged, a narrow image would fill the memory."""
Pixels = TypeVar("Pixels", "Tensor", NDArray[Any])


@dataclass(frozen=True)
class Preprocessing:
    """From an image of any size to the network's input."""

    resize: int
    """The image is resized to this side in pixels: both sides, or the smaller one where the aspect is kept."""
    crop: int
    """The central square of so many pixels is what the network sees; as `resize`: all of it."""
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    """Normalisation per channel, of pixels in 0..1."""
    keep_aspect: bool = False
    """Of an image whose longer side is more than 100 times the smaller one, only the central part is resized."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    view: Literal["whole", "mosaic"] = "whole"
    """mosaic: the network sees `blur_types.mosaic` of the image, of side `crop`, and the image is not resized."""

    def cropped(self, images: Pixels) -> Pixels:
        """The central square of images [N, C, H, W], rounded as torchvision's CenterCrop does."""
        top, left = (round((side - self.crop) / 2) for side in images.shape[-2:])
        return images[..., top : top + self.crop, left : left + self.crop]

    def normalised(self, images: "Tensor") -> "Tensor":
        """(pixel / 255 - mean) / sd of images [N, 3, H, W] in 0..255, in float32."""
        import torch

        mean, sd = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (self.mean, self.sd))
        return (images.float() - 255 * mean) * (1 / (255 * sd))

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """What the network sees of an RGB image: uint8 [crop, crop, 3]."""
        if self.view == "mosaic":
            return mosaic(image, self.crop // TILES)
        size = (self.resize, self.resize)
        if self.keep_aspect:  # as torchvision's Resize: the longer side is rounded down
            image = _central(image, _LONGEST * min(image.size))
            short = min(image.size)
            size = (self.resize * image.width // short, self.resize * image.height // short)
        resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[self.interpolation]
        planes = np.array(image.resize(size, resampling)).transpose(2, 0, 1)
        return self.cropped(planes).transpose(1, 2, 0)

    def input(self, image: Image.Image) -> NDArray[np.float32]:
        """`pixels` of an RGB image as `normalised` gives them, bit for bit: float32 [3, crop, crop]."""
        mean, sd = (np.array(values, np.float32).reshape(3, 1, 1) for values in (self.mean, self.sd))
        planes = np.ascontiguousarray(self.pixels(image).transpose(2, 0, 1), np.float32)
        planes -= np.float32(255) * mean
        planes *= np.float32(1) / (np.float32(255) * sd)
        return planes

    def identity(self) -> dict[str, Any]:
        """Its values, as what was measured by it is known by: without those that came later, at their defaults."""
        values = asdict(self)
        if self.view == "whole":
            del values["view"]
        return values


def _central(image: Image.Image, longest: int) -> Image.Image:
    """Without both ends, where a side is longer."""
    width, height = (min(side, longest) for side in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
