"""Random erasing (Zhong et al. 2020), as torchvision's RandomErasing: a rectangle of an image becomes one colour."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.settings import Augmentation

_ATTEMPTS = 10  # at a rectangle that is smaller than the image, before the image stays whole (as torchvision does)
DRAWS = 2 * _ATTEMPTS + 3  # per image: one for whether, areas, aspect ratios, and two for the place


class Rectangles(NamedTuple):
    """What is erased of n images, in pixels; height and width 0: nothing."""

    top: NDArray[np.int64]  # [n]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]


def drawn(draws: NDArray[np.float64], side: int, augmentation: Augmentation) -> Rectangles:
    """A rectangle with probability `erasing` for each image of `side` pixels, from uniform numbers [n, DRAWS].

    Area uniform in erasing_area (as a share of the image's), height to width log-uniform in erasing_ratio, up to ten
    tries until both sides are less than the image's; the place is uniform over the pixels.
    """
    chance, area, ratio, place = np.split(draws, [1, 1 + _ATTEMPTS, 1 + 2 * _ATTEMPTS], axis=1)
    (least, most), (low, high) = augmentation.erasing_area, np.log(augmentation.erasing_ratio)
    areas = side * side * (least + (most - least) * area)
    ratios = np.exp(low + (high - low) * ratio)
    heights = np.round(np.sqrt(areas * ratios)).astype(np.int64)
    widths = np.round(np.sqrt(areas / ratios)).astype(np.int64)
    fits = (heights < side) & (widths < side)
    rows, first = np.arange(len(draws)), fits.argmax(1)
    erased = (chance[:, 0] < augmentation.erasing) & fits.any(1)
    height, width = (np.where(erased, lengths[rows, first], 0) for lengths in (heights, widths))
    down, across = place.T
    top = np.floor(down * (side - height + 1)).astype(np.int64)
    left = np.floor(across * (side - width + 1)).astype(np.int64)
    return Rectangles(top, left, height, width)


def erase(images: Tensor, rectangles: Rectangles, value: Tensor) -> Tensor:
    """`images` [n, C, H, W] with `value` (broadcast to them) in their rectangles; does not wait for the device."""
    edges = torch.from_numpy(np.stack(rectangles)).to(images.device, non_blocking=True)[..., None]
    top, left, height, width = edges
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    down, across = (rows >= top) & (rows < top + height), (columns >= left) & (columns < left + width)
    return torch.where(down[:, None, :, None] & across[:, None, None, :], value, images)
