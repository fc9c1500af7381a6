"""One stage of a network, where its activations for the same images at several levels are compared with the sharp ones:
what is summed over the images, and what comes of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.distributed import Group
from blurtrain.evaluation.similarity import Centred, Comoment, cosine, differing, linear_cka, products
from blurtrain.evaluation.subject import Records


@dataclass(frozen=True)
class Reference:
    """The sharp activations of some images, and what is computed of them once for all levels."""

    maps: Tensor
    """[N, H, W, C], float32."""
    above: Tensor
    """[N, H, W, C], bool: where they are above 0."""
    squares: Tensor
    """[N], float64: each image's, summed."""
    centred: Centred

    @classmethod
    def of(cls, maps: Tensor) -> "Reference":
        """Of maps [N, H, W, C] that may be written into later."""
        own = maps.clone()
        return cls(own, own > 0, products(own, own), Centred.of(own))


@dataclass(frozen=True)
class Outcome:
    """What was found of a stage at a level; numbers are None where activations of an image are NaN or infinite."""

    hamming: float | None
    cosine: float | None
    cka: float | None
    not_finite: int
    map: NDArray[np.float32]
    """[H, W]: the Hamming distance at each place, mean of images."""
    examples: NDArray[np.float32]
    """[examples, H, W]: of some images."""
    records: Records
    """Of each image, by its index; empty where they were not asked for."""


class Compared:
    """Sums over images, level by level, of a stage with maps of `shape` [H, W, C].

    sharp: of each level, whether it has no blur; examples: indices, ascending, of the images whose own maps are kept.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        sharp: Sequence[bool],
        examples: NDArray[np.int64],
        per_image: bool,
        group: Group,
    ):
        levels = len(sharp)
        self.shape, self.chosen, self.per_image, self.group = shape, examples, per_image, group
        device = group.device
        self._differing = torch.zeros(levels, *shape[:2], dtype=torch.int64, device=device)
        self._cosines = torch.zeros(levels, dtype=torch.float64, device=device)
        self._bad = torch.zeros(levels, dtype=torch.int64, device=device)
        self._examples = torch.zeros(levels, len(examples), *shape[:2], dtype=torch.int64, device=device)
        self._images = 0
        self._sharp = Comoment(shape[2], device)
        # At the sharp level both are what the sharp ones are with themselves.
        self._blurred, self._both = ([None if own else Comoment(shape[2], device) for own in sharp] for _ in range(2))
        self._each: list[list[tuple[NDArray[np.int64], Tensor, Tensor]]] = [[] for _ in range(levels)]

    def add_sharp(self, sharp: Reference) -> None:
        """Some more images, once, whatever the levels."""
        self._images += len(sharp.maps)
        self._sharp.add(sharp.centred, sharp.centred)

    def add(self, level: int, indices: NDArray[np.int64], sharp: Reference, maps: Tensor) -> None:
        """The same images at a level: their indices, and their maps [N, H, W, C] in float32."""
        count = differing(sharp.above, maps > 0)
        self._differing[level] += count.sum(0)
        squares = products(maps, maps)
        found = cosine(products(sharp.maps, maps), sharp.squares, squares)
        finite = torch.isfinite(squares) & torch.isfinite(sharp.squares)
        self._cosines[level] += torch.where(finite, found, 0).sum()
        self._bad[level] += (~finite).sum()
        blurred, both = self._blurred[level], self._both[level]
        if blurred and both:
            centred = Centred.of(maps)
            blurred.add(centred, centred)
            both.add(sharp.centred, centred)
        if self.per_image:
            self._each[level].append((indices, count.sum((1, 2)), found))
        for row in np.flatnonzero(np.isin(indices, self.chosen)):
            self._examples[level, np.searchsorted(self.chosen, indices[row])] = count[row]

    def outcomes(self) -> Iterator[Outcome]:
        """Of all processes, level by level; every process takes as many."""
        height, width, channels = self.shape
        for sums in (self._differing, self._cosines, self._bad, self._examples):
            self.group.sum(sums)
        n = int(self.group.sum(torch.tensor(self._images, device=self.group.device)))
        self._sharp.add_up(self.group.sum)
        for level, (blurred, both) in enumerate(zip(self._blurred, self._both, strict=True)):
            for comoment in (blurred, both):
                if comoment:
                    comoment.add_up(self.group.sum)
            bad = int(self._bad[level])
            count = int(self._differing[level].sum())
            yield Outcome(
                None if bad else count / (n * height * width * channels),
                None if bad else float(self._cosines[level]) / n,
                None if bad else linear_cka(both or self._sharp, self._sharp, blurred or self._sharp),
                bad,
                (self._differing[level].double() / (n * channels)).float().cpu().numpy(),
                (self._examples[level].double() / channels).float().cpu().numpy(),
                self._records(level) if self.per_image else {},
            )

    def _records(self, level: int) -> Records:
        own = [
            {"index": indices, "hamming": count.cpu().numpy() / np.prod(self.shape), "cosine": cosines.cpu().numpy()}
            for indices, count, cosines in self._each[level]
        ]
        parts = [part for process in self.group.gather(own) for part in process]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in ("index", "hamming", "cosine")}
        order = np.argsort(whole["index"])
        return {name: values[order] for name, values in whole.items()}
