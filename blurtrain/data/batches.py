"""Batches, and how they come onto the device out of memory that their reader uses again."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Batch(NamedTuple):
    images: Tensor  # uint8 [N, 3, S, S], on the device
    labels: Tensor  # int64 [N], on the device
    indices: NDArray[np.int64]  # [N], of the images in the pixel store


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Copies of `batches` (in main memory) on the device, which stay as they are when the reader goes on.

    To a GPU a batch is copied while the one before it is being worked on.
    """
    if device.type != "cuda":
        for images, labels, indices in batches:
            yield Batch(images.clone(), labels, indices)
        return
    stream = torch.cuda.Stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for images, labels, indices in batches:
        with torch.cuda.stream(stream):
            # Only from pinned memory does a copy not wait; torch keeps that memory until the copy is done.
            copies = [tensor.pin_memory().to(device, non_blocking=True) for tensor in (images, labels)]
            following = Batch(copies[0], copies[1], indices), stream.record_event()
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
