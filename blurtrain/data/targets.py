"""What a network is to give for the images of a batch, by the targets of its task."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.mask_crops import training_masks
from blurtrain.data.mask_store import MaskStore
from blurtrain.errors import DataError
from blurtrain.tasks import Targets


class BatchTargets(Protocol):
    """Targets of one kind, on the device of their images."""

    def training(self, batch: Batch, epoch: int) -> Tensor:
        """[N, ...], as the images come out of `Transform.train` in this epoch."""
        ...

    def evaluation(self, batch: Batch, resized: Tensor) -> Tensor:
        """[N, ...], of the images as they come out of `Transform.resized`: `resized`."""
        ...


class Labels:
    """Numbers of classes [N]."""

    def training(self, batch: Batch, epoch: int) -> Tensor:
        """See `BatchTargets`."""
        return batch.labels

    def evaluation(self, batch: Batch, resized: Tensor) -> Tensor:
        """See `BatchTargets`."""
        return batch.labels


class Masks:
    """The class of each pixel, uint8 [N, S, S]; 255: void."""

    def __init__(self, transform: Transform, masks: MaskStore):
        self.transform, self.masks = transform, masks

    def training(self, batch: Batch, epoch: int) -> Tensor:
        """See `BatchTargets`."""
        return training_masks(self.transform, self._read(batch), batch.indices, epoch, batch.sides)

    def evaluation(self, batch: Batch, resized: Tensor) -> Tensor:
        """See `BatchTargets`: squeezed, by nearest neighbours."""
        stored, side = self._read(batch), self.transform.resolution
        if batch.sides is None:
            return _squeezed(stored, side)
        sizes = batch.sides.tolist()
        seen = (m[:h, :w] if h <= w else m[:w, :h].T for m, (h, w) in zip(stored, sizes, strict=True))
        return torch.cat([_squeezed(mask[None], side) for mask in seen])

    def _read(self, batch: Batch) -> Tensor:
        return torch.from_numpy(self.masks.read(batch.indices)).to(batch.images.device, non_blocking=True)


class SharpImages:
    """The images themselves before they are blurred [N, 3, S, S], with all else that happens to them."""

    def __init__(self, transform: Transform):
        self.transform = transform

    def training(self, batch: Batch, epoch: int) -> Tensor:
        """See `BatchTargets`."""
        return self.transform.train(batch.images, batch.indices, epoch, None, batch.sides)

    def evaluation(self, batch: Batch, resized: Tensor) -> Tensor:
        """See `BatchTargets`."""
        return self.transform.normalise(resized)


def targets_of(kind: Targets, transform: Transform, masks: Callable[[], MaskStore | None]) -> BatchTargets:
    """Those of a task whose targets are of this kind; `masks`: of the images that are read. Raises DataError where
    there are none, but needed."""
    if kind == "labels":
        return Labels()
    if kind == "sharp":
        return SharpImages(transform)
    return Masks(transform, masks_of(masks()))


def masks_of(found: MaskStore | None) -> MaskStore:
    """The masks that are there; raises DataError where there are none."""
    if found is None:
        raise DataError(
            "task=segmentation: this dataset has no masks; `blurtrain data prepare --reader voc` (or coco, or one of "
            "yours) finds them"
        )
    return found


def at_size(mask: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask [H, W] at another height and width, by nearest neighbours; of that size, as it is."""
    if mask.shape == shape:
        return mask
    found = interpolate(torch.from_numpy(mask.copy())[None, None], shape, mode="nearest-exact")
    return found[0, 0].numpy()


def _squeezed(masks: Tensor, side: int) -> Tensor:
    """Masks [n, H, W] as [n, side, side]."""
    return interpolate(masks[:, None], (side, side), mode="nearest-exact")[:, 0]
