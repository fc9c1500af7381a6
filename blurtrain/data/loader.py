"""Batches of stored pixels in a given order: the same order and pixels whichever loader brings them.

Every loader yields `Batch`es of one pixel store through `epoch(order, batch_size)`. Nothing random happens here.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.curriculum import Curriculum
from blurtrain.data.batches import Batch, on_device
from blurtrain.data.draws import batch_draws, curriculum_draws, shuffled
from blurtrain.data.pixel_reader import PixelReader
from blurtrain.data.store import PixelStore
from blurtrain.device import cores
from blurtrain.errors import DataError
from blurtrain.settings import Loader as Settings


class Labelled(Protocol):
    """Images in a pixel store: a dataset as it is trained on, or a split as it is evaluated on."""

    @property
    def store(self) -> PixelStore:
        """The pixel store that they lie in."""
        ...

    def labels_by_index(self) -> NDArray[np.int64]:
        """[len(store)]: label of each image in the store; -1 for those that are not meant."""
        ...


@dataclass(frozen=True)
class Relabelled:
    """The same images under the labels that their network has for them."""

    images: Labelled
    targets: NDArray[np.int64]
    """The network's label of each label here."""

    @property
    def store(self) -> PixelStore:
        """See `Labelled`."""
        return self.images.store

    def labels_by_index(self) -> NDArray[np.int64]:
        """See `Labelled`."""
        labels = self.images.labels_by_index()
        return np.where(labels < 0, labels, self.targets[labels])


class Loader(Protocol):
    """What brings the images of a pixel store onto the device."""

    store: PixelStore

    def epoch(self, order: NDArray[np.int64], batch_size: int) -> Generator[Batch]:
        """The images of `order` [n], `batch_size` at a time; the last batch may be smaller. It may be left early.

        Raises DataError where what reads ahead has died, or brings nothing for `loader.stalled_seconds`.
        """
        ...


def training_order(indices: NDArray[np.int64], seed: int, epoch: int, batch_size: int) -> NDArray[np.int64]:
    """The global batches of an epoch, one after the other, [steps * batch_size]; the last partial one is dropped.

    Raises DataError where there is not one whole batch.
    """
    steps = len(indices) // batch_size
    if not steps:
        raise DataError(f"optimisation.batch_size={batch_size} is more than the {len(indices)} training images")
    return shuffled(seed, epoch, indices)[: steps * batch_size]


def training_assignment(
    curriculum: Curriculum, seed: int, epoch: int, epochs: int, order: NDArray[np.int64], batch_size: int, view: int = 0
) -> Assignment:
    """Blur of the images of an epoch in their global `order`: [steps, batch_size].

    A function of the seed, the epoch and the place in `order` alone: how many processes or micro-batches share a
    batch, and where a run is resumed, do not change an image's blur. view: which of several views
    of the images, each with draws of its own.
    """
    steps = len(order) // batch_size
    return curriculum.assign(
        epoch,
        epochs,
        within=np.arange(steps)[:, None] / steps,
        images=curriculum_draws(seed, epoch, order, view).reshape(steps, batch_size),
        batches=batch_draws(seed, epoch, steps, view)[:, None],
    )


def part_of_rank(global_order: NDArray[Any], batch_size: int, rank: int, world: int) -> NDArray[Any]:
    """Of values [steps * batch_size] in the order of the global batches, those of `rank`: an equal share of each batch.

    Raises DataError where `world` does not divide the batch.
    """
    if batch_size % world:
        raise DataError(f"optimisation.batch_size={batch_size} cannot be shared evenly by {world} processes")
    return global_order.reshape(-1, world, batch_size // world)[:, rank].reshape(-1)


def open_loader(
    settings: Settings, images: Labelled, device: torch.device, targets: NDArray[np.int64] | None = None
) -> Loader:
    """The loader that `settings` ask for ("auto": FFCV where it can be imported, else resident).

    targets: the output of the network that each label stands for; None: labels are outputs. From here on labels are
    outputs, in training, validation and evaluation alike. Raises DataError where FFCV is asked for and missing, or the
    pixels are not those that were prepared.
    """
    if targets is not None:
        images = Relabelled(images, targets)
    reader = _open_reader(settings, images.store)
    loader = StreamingLoader(images, device, reader) if reader else ResidentLoader(images, device)
    if images.store.encoding != "raw":
        _check_decoder(loader, images.store)
    return loader


def _open_reader(settings: Settings, store: PixelStore) -> PixelReader | None:
    workers = settings.workers or len(cores())
    if settings.kind == "pytorch":
        from blurtrain.data.reader_pytorch import PyTorchReader

        return PyTorchReader(store, workers, settings.stalled_seconds)
    if settings.kind != "resident":
        try:
            from blurtrain.data.reader_ffcv import FFCVReader

            return FFCVReader(store, workers, settings.stalled_seconds)
        except ImportError as error:
            if settings.kind == "ffcv":
                raise DataError(f"loader.kind=ffcv, but FFCV cannot be imported: {error}; see README") from None
    return None


def _check_decoder(loader: Loader, store: PixelStore) -> None:
    """On a few images, as another machine may have a JPEG library that decodes to other bits."""
    some = np.arange(min(4, len(store)))
    for batch in loader.epoch(some, len(some)):
        if not store.same_pixels(batch.images.permute(0, 2, 3, 1).cpu().numpy()):
            raise DataError(
                f"{store.beton}: this machine's JPEG decoder gives other pixels than were prepared; "
                "try another loader.kind, or prepare the dataset with --encoding raw"
            )


def _sides(store: PixelStore) -> Callable[[NDArray[np.int64]], NDArray[np.int64] | None]:
    """What gives `Batch.sides` of these images; raises DataError where the store does not have them."""
    return (lambda _: None) if store.squared else store.sides.__getitem__


class ResidentLoader:
    """The whole pixel store in the device's memory, decoded once, and read without FFCV."""

    def __init__(self, images: Labelled, device: torch.device):
        self.store, self._sides = images.store, _sides(images.store)
        self.pixels = torch.from_numpy(self.store.read(np.arange(len(self.store)))).to(device)
        self.labels = torch.from_numpy(images.labels_by_index()).to(device)

    def epoch(self, order: NDArray[np.int64], batch_size: int) -> Generator[Batch]:
        """See `Loader`."""
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            at = torch.from_numpy(indices).to(self.pixels.device, non_blocking=True)
            # Channels stay last in memory, as every loader has them. Faster than self.pixels[at], fivefold on a CPU.
            pixels = self.pixels.index_select(0, at).permute(0, 3, 1, 2)
            yield Batch(pixels, self.labels[at], indices, self._sides(indices))


class StreamingLoader:
    """Batches that a reader brings from the disk, one after the other."""

    def __init__(self, images: Labelled, device: torch.device, reader: PixelReader):
        self.store, self.device, self.reader = images.store, device, reader
        self._sides = _sides(self.store)
        self.labels = torch.from_numpy(images.labels_by_index())

    def epoch(self, order: NDArray[np.int64], batch_size: int) -> Generator[Batch]:
        """See `Loader`."""
        with closing(self.reader.batches(order, batch_size)) as batches:
            parts = (order[start : start + batch_size] for start in range(0, len(order), batch_size))
            yield from on_device(
                (
                    Batch(pixels.permute(0, 3, 1, 2), self.labels[indices], indices, self._sides(indices))
                    for pixels, indices in zip(batches, parts, strict=True)
                ),
                self.device,
            )
