"""The images that are measured: which of a split, in which batches, on which process."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.batches import Batch
from blurtrain.data.dataset import Dataset, EvaluationImages
from blurtrain.data.loader import Loader
from blurtrain.errors import DataError
from blurtrain.settings import Evaluation


@dataclass(frozen=True)
class Images:
    """The first `n` images of a split in order of their index, in batches that are the same on any number of
    processes."""

    dataset: Dataset
    split: str
    source: EvaluationImages
    n: int
    batch_size: int

    @classmethod
    def of(cls, dataset: Dataset, evaluation: Evaluation, resolution: int) -> "Images":
        """Raises DataError where there is none."""
        source = dataset.evaluation_images(evaluation.split, resolution)
        if not source.store.squared and getattr(evaluation, "protocol", None) is None:
            raise DataError(
                f"dataset {dataset.name!r} keeps the aspect of its images: set evaluation.protocol, which says what is "
                "cropped from them, or prepare it with --aspect square"
            )
        n = measured(len(source.indices), evaluation)
        return cls(dataset, evaluation.split, source, n, evaluation.batch_size)

    @property
    def indices(self) -> NDArray[np.int64]:
        """Places in the store, in ascending order."""
        return self.source.indices[: self.n]

    @property
    def largest_class(self) -> int:
        """Images of the most frequent class."""
        return int(np.bincount(self.source.labels[: self.n]).max())

    @cached_property
    def objects(self) -> NDArray[np.int64] | None:
        """The object that each image shows, numbered without gaps; None where no object is shown by several."""
        objects = self.dataset.objects(self.split)
        return None if objects is None else np.unique(objects[: self.n], return_inverse=True)[1]

    def object_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """As `objects`, of the images at these places in the store."""
        return None if self.objects is None else self.objects[np.searchsorted(self.indices, indices)]

    def batches(self, loader: Loader, rank: int = 0, world: int = 1) -> Iterator[Batch | None]:
        """Every `world`-th batch; None in place of one that this process has not, so that all take equally many steps.

        Raises RuntimeError where the loader reads another store.
        """
        if loader.store != self.source.store:
            raise RuntimeError(
                f"the loader reads {loader.store.folder}, but evaluation is on {self.source.store.folder}"
            )
        indices = self.indices
        batches = [indices[k : k + self.batch_size] for k in range(0, self.n, self.batch_size)]
        order = np.concatenate([*batches[rank::world], indices[:0]])
        if len(order):
            yield from loader.epoch(order, self.batch_size)
        if len(batches) % world and rank >= len(batches) % world:
            yield None


def measured(images: int, evaluation: Evaluation) -> int:
    """How many images of a split of so many are measured: the first ones, in order of index.

    Raises DataError where there is none.
    """
    n = images - (images % evaluation.batch_size if evaluation.drop_last else 0)
    if not n:
        raise DataError(
            f"evaluation.drop_last leaves none of the {images} images of {evaluation.split}, as "
            f"evaluation.batch_size={evaluation.batch_size} is more: lower that, or measure all"
        )
    return n
