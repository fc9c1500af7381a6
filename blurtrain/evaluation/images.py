"""The images that are measured: which of a split, in which batches, on which process."""

import hashlib
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
    """The first `n` images of a split in order of their index, or of a `subset` of it, in batches that are the same on
    any number of processes."""

    dataset: Dataset
    split: str
    source: EvaluationImages
    n: int
    batch_size: int
    subset: NDArray[np.int64] | None = None
    """Which images of the split are meant, by their places in it, ascending; none: all."""

    @classmethod
    def of(cls, dataset: Dataset, evaluation: Evaluation, resolution: int) -> "Images":
        """Those that `evaluation` is of, at `resolution`, or at the size where its protocol blurs them.

        Raises DataError where there is none, not as many of each class as the protocol takes, or where images keep
        their aspect and no protocol says what is cropped from them.
        """
        protocol = evaluation.protocol
        source = dataset.evaluation_images(evaluation.split, protocol.defined_at if protocol else resolution)
        if not source.store.squared and protocol is None:
            raise DataError(
                f"dataset {dataset.name!r} keeps the aspect of its images: set evaluation.protocol, which says what is "
                "cropped from them, or prepare it with --aspect square"
            )
        few = protocol.images_per_class if protocol else None
        subset = _of_each_class(dataset, source, evaluation.split, few) if few else None
        n = measured(len(source.indices) if subset is None else len(subset), evaluation)
        return cls(dataset, evaluation.split, source, n, evaluation.batch_size, subset)

    @classmethod
    def whole_split(cls, dataset: Dataset, split: str, resolution: int, batch_size: int) -> "Images":
        """All images of a split at `resolution`, for a look at them; raises DataError where there is none."""
        source = dataset.evaluation_images(split, resolution)
        return cls(dataset, split, source, len(source.indices), batch_size)

    def _chosen(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of values in the order of the split, those of the images that are measured."""
        return (values if self.subset is None else values[self.subset])[: self.n]

    @property
    def indices(self) -> NDArray[np.int64]:
        """[n]: places in the store, in ascending order."""
        return self._chosen(self.source.indices)

    @property
    def drops_last(self) -> bool:
        """Whether images behind the last whole batch are not measured."""
        return self.n < len(self.source.indices if self.subset is None else self.subset)

    @property
    def largest_class(self) -> int:
        """Images of the most frequent class."""
        return int(np.bincount(self._chosen(self.source.labels)).max())

    @cached_property
    def objects(self) -> NDArray[np.int64] | None:
        """[n]: the object that each image shows, from 0 without gaps; None where no object is shown by several."""
        objects = self.dataset.objects(self.split)
        return None if objects is None else np.unique(self._chosen(objects), return_inverse=True)[1]

    def object_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """As `objects`, of the images at these places [k] in the store."""
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


def _of_each_class(dataset: Dataset, source: EvaluationImages, split: str, k: int) -> NDArray[np.int64]:
    """The `k` images of each class whose paths have the lowest hashes, as places in the split, ascending: the same ones
    whatever else is asked for, and those of a lower `k` are among those of a higher one."""
    paths = [row["path"] for row in source.store.rows_at(source.indices)]
    order = np.argsort([hashlib.sha256(path.encode()).hexdigest() for path in paths], kind="stable")
    chosen = []
    for label, name in enumerate(dataset.classes):
        own = order[source.labels[order] == label][:k]
        if len(own) < k:
            raise DataError(
                f"evaluation.protocol.images_per_class={k}: dataset {dataset.name!r} has only {len(own)} {split} "
                f"images of {name!r}; lower it, or leave it out to measure all"
            )
        chosen.append(own)
    return np.sort(np.concatenate(chosen))
