"""The images that a process trains on, ready for the network: order, draws and transform in one iterator.

What it brings is a function of the seed, the epoch and the step alone, so that neither the number of processes nor of
micro-batches, nor where a run is resumed, changes an image.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.curricula import Curriculum
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.loader import Loader, part_of_rank, training_assignment, training_order
from blurtrain.data.reduced import reduced_side
from blurtrain.data.targets import BatchTargets, Labels
from blurtrain.settings.sections import Reduced
from blurtrain.tasks import View

LABELS = Labels()
Timed = Callable[[Iterable[Batch]], Iterator[Batch]]


class TrainingBatch(NamedTuple):
    """The images of this process in one step."""

    images: Tensor
    """[n, 3, S, S], augmented, blurred and normalised, on the device."""
    targets: Tensor
    """[n, ...], on the device: see `blurtrain.data.targets`."""
    step: int
    """Of the epoch, from 0 on."""
    views: tuple[Tensor, ...] = ()
    """Of the same images, see `blurtrain.tasks.loss.View`; cropped and coloured as they are."""


class Epoch:
    """One epoch, from step `first` on, as this process sees it."""

    def __init__(self, batches: "TrainingBatches", epoch: int, first: int):
        b = self._batches = batches
        self.epoch, self.first = epoch, first
        self.global_order = training_order(b.indices, b.seed, epoch, b.batch_size)
        """Places of all images of the epoch, of all processes, batch after batch."""
        self.assignment = self._drawn(0)
        """The blur of each image, [steps, batch size], of all processes."""
        units = b.transform.blur.reference_resolution
        self.resolution = reduced_side(b.reduced, self.assignment, b.transform.resolution, units)
        """Side of the images in pixels."""
        self.transform = replace(b.transform, resolution=self.resolution)

    def _drawn(self, view: int) -> Assignment:
        """The blur of each image in its main view (0), or in a further one."""
        b = self._batches
        return training_assignment(b.curriculum, b.seed, self.epoch, b.epochs, self.global_order, b.batch_size, view)

    def read(self, timed: Timed = iter) -> Generator[TrainingBatch]:
        """The batches that are left; may be left early by closing it. `timed` is given the batches as they are read."""
        b = self._batches
        own = b.own(np.arange(len(self.global_order)))[self.first * b.per_rank :]
        drawn = [self.assignment, *(None if view == "sharp" else self._drawn(1 + k) for k, view in enumerate(b.views))]
        assignments = [None if one is None else one.reshape(-1)[own] for one in drawn]
        with closing(b.loader.epoch(self.global_order[own], b.per_rank)) as source:
            for k, batch in enumerate(timed(source)):
                part = slice(k * b.per_rank, (k + 1) * b.per_rank)
                targets = b.targets.training(batch, self.epoch)
                images, *views = (
                    self.transform.train(
                        batch.images, batch.indices, self.epoch, None if one is None else one[part], batch.sides
                    )
                    for one in assignments
                )
                yield TrainingBatch(images, targets, self.first + k, tuple(views))


class TrainingBatches:
    """All epochs of a training, for one of its processes."""

    def __init__(
        self,
        loader: Loader,
        transform: Transform,
        curriculum: Curriculum,
        indices: NDArray[np.int64],
        *,
        seed: int,
        batch_size: int,
        epochs: int,
        micro_batches: int = 1,
        rank: int = 0,
        world: int = 1,
        targets: BatchTargets = LABELS,
        views: Sequence[View] = (),
        reduced: Reduced | None = None,
    ):
        """indices: places of the training images in the loader's store; batch_size: images a step, over all processes.

        Raises DataError where a batch cannot be cut evenly into so many processes and micro-batches.
        """
        self.loader, self.transform, self.curriculum, self.indices = loader, transform, curriculum, indices
        self.seed, self.batch_size, self.epochs, self.micro_batches = seed, batch_size, epochs, micro_batches
        self.rank, self.world, self.per_rank = rank, world, batch_size // world
        self.targets, self.views, self.reduced = targets, tuple(views), reduced

    @property
    def steps(self) -> int:
        """Steps in an epoch: the last partial batch is left out."""
        return len(self.indices) // self.batch_size

    def epoch(self, epoch: int, first: int = 0) -> Epoch:
        """The 0-based `epoch`, from its step `first` on."""
        return Epoch(self, epoch, first)

    def own(self, values: NDArray[Any]) -> NDArray[Any]:
        """Those of this process, of values in the order of the global batches: each micro-batch is a slice of a
        batch, of which every process has an equal part."""
        return part_of_rank(values, self.batch_size // self.micro_batches, self.rank, self.world)
