"""Batches, and how they come onto the device out of memory that their reader uses again."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Batch(NamedTuple):
    """Some images of a pixel store, as a loader brings them, in the order that they were asked for."""

    images: Tensor
    """uint8 [N, 3, H, W], on the device: canvases of the pixel store, which squared images fill."""
    labels: Tensor
    """int64 [N], on the device."""
    indices: NDArray[np.int64]
    """[N], of the images in the pixel store."""
    sides: NDArray[np.int64] | None = None
    """[N, 2], true height and width of each image, see `PixelStore.sides`; None where the images are squared."""


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Copies of `batches` (in main memory) on the device, which stay as they are when the reader goes on.

    To a GPU a batch is copied while the one before it is being worked on.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch._replace(images=batch.images.clone())
        return
    stream = torch.cuda.Stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            # Only from pinned memory does a copy not wait; torch keeps that memory until the copy is done.
            copies = [tensor.pin_memory().to(device, non_blocking=True) for tensor in batch[:2]]
            following = batch._replace(images=copies[0], labels=copies[1]), stream.record_event()
        if ahead:
            yield _arrived(*ahead)
        ahead = following
    if ahead:
        yield _arrived(*ahead)


def _arrived(batch: Batch, copied: torch.cuda.Event) -> Batch:
    user = torch.cuda.current_stream(batch.images.device)
    user.wait_event(copied)
    for tensor in (batch.images, batch.labels):
        tensor.record_stream(user)  # or its memory would be given away as soon as the copying stream is done with it
    return batch
