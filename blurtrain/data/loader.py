"""Batches of stored pixels in a given order: the same order and pixels whichever loader brings them.

Every loader yields `Batch`es through `epoch(order, batch_size)`. Nothing random happens here.
"""

from collections.abc import Iterator
from queue import Empty
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.data.catalog import Dataset
from blurtrain.data.draws import shuffled
from blurtrain.errors import DataError

STALLED_SECONDS = 60


class Batch(NamedTuple):
    images: Tensor  # uint8 [N, 3, S, S], on the device
    labels: Tensor  # int64 [N], on the device
    indices: NDArray[np.int64]  # [N], of the images in the pixel store


class Loader(Protocol):
    def epoch(self, order: NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
        """The images of `order`, `batch_size` at a time; the last batch may be smaller."""
        ...


def training_order(indices: NDArray[np.int64], seed: int, epoch: int, batch_size: int) -> NDArray[np.int64]:
    """The global batches of an epoch, one after the other; the last partial one is dropped.

    Raises DataError where there is not one whole batch.
    """
    steps = len(indices) // batch_size
    if not steps:
        raise DataError(f"optimisation.batch_size={batch_size} is more than the {len(indices)} training images")
    return shuffled(seed, epoch, indices)[: steps * batch_size]


def share_of_rank(everyone: NDArray[Any], batch_size: int, rank: int, world: int) -> NDArray[Any]:
    """Of values in the order of the global batches, those of `rank`: an equal share of each batch.

    Raises DataError where `world` does not divide the batch.
    """
    if batch_size % world:
        raise DataError(f"optimisation.batch_size={batch_size} cannot be shared evenly by {world} processes")
    return everyone.reshape(-1, world, batch_size // world)[:, rank].reshape(-1)


def open_loader(kind: str, dataset: Dataset, device: torch.device, workers: int) -> Loader:
    """The loader of that kind ("auto": FFCV where it can be imported, else resident)."""
    if kind != "resident":
        try:
            return FFCVLoader(dataset, device, workers)
        except ImportError as error:
            if kind == "ffcv":
                raise DataError(f"loader.kind=ffcv, but FFCV cannot be imported: {error}; see README") from None
    return ResidentLoader(dataset, device)


class ResidentLoader:
    """The whole pixel store in the device's memory, read without FFCV."""

    def __init__(self, dataset: Dataset, device: torch.device):
        store = dataset.store
        # Channels stay last in memory, as stored; the permuted view is what every loader yields.
        self.pixels = torch.from_numpy(store.read(np.arange(len(store)))).to(device).permute(0, 3, 1, 2)
        self.labels = torch.from_numpy(dataset.labels_by_index()).to(device)

    def epoch(self, order: NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            at = torch.from_numpy(indices).to(self.pixels.device)
            yield Batch(self.pixels[at], self.labels[at], indices)


class FFCVLoader:
    """FFCV's threads read ahead; one FFCV Loader, compiled once, serves every epoch, order and batch size."""

    def __init__(self, dataset: Dataset, device: torch.device, workers: int):
        from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
        from ffcv.loader import Loader as FFCV
        from ffcv.loader import OrderOption
        from ffcv.transforms import Squeeze, ToTensor

        threads = torch.get_num_threads()
        self.device, self.path = device, dataset.store.beton
        self.labels = torch.from_numpy(dataset.labels_by_index()).to(device)
        self.ffcv = FFCV(
            str(self.path),
            batch_size=1,
            num_workers=max(1, workers),
            order=OrderOption.SEQUENTIAL,
            os_cache=True,
            pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()], "index": [IntDecoder(), ToTensor(), Squeeze(1)]},
        )
        self._restore_threads(threads)

    def _restore_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)  # FFCV sets torch's threads, for the whole process, to its own number

    def epoch(self, order: NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
        from ffcv.loader.epoch_iterator import EpochIterator

        threads = torch.get_num_threads()
        self.ffcv.batch_size = batch_size  # each epoch's buffers are allocated by this
        batches = EpochIterator(self.ffcv, order.astype(np.uint64))
        self._restore_threads(threads)
        try:
            while (batch := self._next(batches)) is not None:
                # The buffers are a ring that FFCV fills again: what is kept must be a copy.
                images, index = batch[1][0].to(self.device, copy=True), batch[1][1].clone()
                yield Batch(images.permute(0, 3, 1, 2), self.labels[index.to(self.device)], index.numpy())
        finally:
            batches.close()  # or its thread would wait for ever where an epoch is left early

    def _next(self, batches: object) -> tuple[int, tuple[Tensor, Tensor]] | None:
        """FFCV's next batch; raises DataError where its thread has died, for which FFCV would wait for ever."""
        waited = 0
        while True:
            try:
                return batches.output_queue.get(timeout=1)  # type: ignore[attr-defined]
            except Empty:
                waited += 1
                if not batches.is_alive() or waited >= STALLED_SECONDS:  # type: ignore[attr-defined]
                    why = "gave nothing" if batches.is_alive() else "died"  # type: ignore[attr-defined]
                    raise DataError(f"{self.path}: FFCV's reader {why} ({waited} s); is the file readable?") from None
