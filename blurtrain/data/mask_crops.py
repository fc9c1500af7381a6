"""Masks after the geometry that their photos have in training: the same crops, scales, flips and warps, by nearest
neighbours, so that a class stays one, and void stays void."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.data.affine import places
from blurtrain.data.augment import Transform


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
    size = transform.resolution
    steps = np.arange(size) + 0.5
    if transform.augmentation.scaled:
        known = np.tile(np.array(masks.shape[1:], np.int64), (len(masks), 1)) if sides is None else sides
        scaled = transform.scaled_crops(indices, epoch, known)
        factors = known / scaled.shown
        rows, columns = ((scaled.start[:, [k]] + steps) * factors[:, [k]] for k in (0, 1))
        flip, portrait = scaled.flip, known[:, 0] > known[:, 1]
        columns = np.where(flip[:, None], columns[:, ::-1], columns)
        lying = np.where(portrait[:, None, None], columns[:, None], rows[:, :, None])
        across = np.where(portrait[:, None, None], rows[:, :, None], columns[:, None])
        return _taken(masks, lying, across)
    top, left, height, width, flip = (part[:, None, None] for part in transform.crops(indices, epoch, masks.shape[-1]))
    down, across = steps[None, :, None], steps[None, None]
    if (warps := transform.warps(indices, epoch)) is not None:
        down, across = places(warps, size)
    across = np.where(flip, size - across, across)
    return _taken(masks, top + down * height / size, left + across * width / size)


def _taken(masks: Tensor, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Tensor:
    """The pixels of masks [n, H, W] that lie at these places, in pixels from the corner: [n, *their common shape]."""
    height, width = masks.shape[1:]
    down = np.clip(np.floor(rows), 0, height - 1).astype(np.int64)
    right = np.clip(np.floor(columns), 0, width - 1).astype(np.int64)
    flat = torch.from_numpy(np.ascontiguousarray(down * width + right)).to(masks.device, non_blocking=True)
    return masks.flatten(1).gather(1, flat.flatten(1)).view(flat.shape)
