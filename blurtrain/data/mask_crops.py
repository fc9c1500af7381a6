"""Masks after the geometry that their photos have in training: the same crops, scales, flips and warps, by nearest
neighbours, so that a class stays one, and void stays void."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.data.affine import places
from blurtrain.data.augment import Transform

_Places = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of each pixel [n, size, size] (or what becomes that), in pixels from the corner of its canvas: down and across."""


def training_masks(
    transform: Transform,
    masks: Tensor,
    indices: NDArray[np.integer],
    epoch: int,
    sides: NDArray[np.int64] | None = None,
) -> Tensor:
    """The masks that belong to `transform.train(images, indices, epoch, ..., sides)`.

    masks: uint8 [N, H, W], on the canvases of their images, as `MaskStore.read` gives them; they may be on a device.
    Returns uint8 [N, resolution, resolution]. What is erased of an image keeps its class.
    """
    if transform.augmentation.scaled:
        known = np.tile(np.array(masks.shape[1:], np.int64), (len(masks), 1)) if sides is None else sides
        return _taken(masks, *_scaled(transform, indices, epoch, known, min(masks.shape[1:])))
    return _taken(masks, *_cropped(transform, indices, epoch, masks.shape[-1]))


def _cropped(transform: Transform, indices: NDArray[np.integer], epoch: int, side: int) -> _Places:
    size = transform.resolution
    *rectangles, flip = transform.crops(indices, epoch, side)
    top, left, height, width = (part[:, None, None] for part in rectangles)
    down, across = (np.arange(size) + 0.5)[None, :, None], (np.arange(size) + 0.5)[None, None]
    if (warps := transform.warps(indices, epoch)) is not None:
        down, across = places(warps, size)
    across = np.where(flip[:, None, None], size - across, across)
    return top + down * height / size, left + across * width / size


def _scaled(
    transform: Transform, indices: NDArray[np.integer], epoch: int, sides: NDArray[np.int64], stored: int
) -> _Places:
    crops, steps = transform.scaled_crops(indices, epoch, sides, stored), np.arange(transform.resolution) + 0.5
    down, across = ((crops.start[:, [axis]] + steps) * (sides[:, [axis]] / crops.shown[:, [axis]]) for axis in (0, 1))
    down, across = down[:, :, None], np.where(crops.flip[:, None], across[:, ::-1], across)[:, None]
    portrait = (sides[:, 0] > sides[:, 1])[:, None, None]  # those lie transposed
    return np.where(portrait, across, down), np.where(portrait, down, across)


def _taken(masks: Tensor, down: NDArray[np.float64], across: NDArray[np.float64]) -> Tensor:
    """The pixels of masks [n, H, W] that lie at these places, in pixels from the corner: [n, *their common shape]."""
    height, width = masks.shape[1:]
    rows = np.clip(np.floor(down), 0, height - 1).astype(np.int64)
    columns = np.clip(np.floor(across), 0, width - 1).astype(np.int64)
    flat = torch.from_numpy(np.ascontiguousarray(rows * width + columns)).to(masks.device, non_blocking=True)
    return masks.flatten(1).gather(1, flat.flatten(1)).view(flat.shape)
