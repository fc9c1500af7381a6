"""What is sampled when networks are tested: images, or the objects that several of them show; one row a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Over = Literal["images", "objects", "seeds and images", "seeds and objects", "seeds"]
"""What an interval is over."""
Counts = Sequence[int] | None
"""How many images of each object, or how many of them are right; None: not known, or no object is shown twice."""


@dataclass(frozen=True)
class Units:
    """Sums of values by unit and seed."""

    sums: NDArray[np.float64]
    """[seeds, units]: of the values of a unit's images."""
    sizes: NDArray[np.float64]
    """[units]: images."""
    objects: bool
    """Whether units are objects rather than images."""
    share: bool
    """Whether all values are 0 or 1, or differences of such."""

    @classmethod
    def of(cls, values: ArrayLike, clusters: ArrayLike | None) -> "Units":
        """Of values [seeds, images], or [images] of one seed; clusters [images]: labels of their objects, if any.

        Raises ValueError where shapes do not fit, or values are NaN or infinite.
        """
        given = np.atleast_2d(np.asarray(values))
        if given.ndim != 2 or given.size == 0:
            raise ValueError(f"values must be [seeds, images], not of shape {np.shape(values)}")
        table = given.astype(np.float64)
        if not np.isfinite(table).all():
            raise ValueError("values must be finite: leave out the images that have none, for all seeds")
        share = given.dtype == np.bool_ or bool(((table == 0) | (table == 1)).all())
        if clusters is None:
            return cls(table, np.ones(table.shape[1]), False, share)
        labels, index = np.unique(np.asarray(clusters), return_inverse=True)
        if index.shape != table.shape[1:]:
            raise ValueError(f"{table.shape[1]} images need as many clusters, not {np.shape(clusters)}")
        sums = np.array([np.bincount(index, row, len(labels)) for row in table])
        return cls(sums, np.bincount(index, minlength=len(labels)).astype(np.float64), True, share)

    @classmethod
    def counted(cls, right: Sequence[Counts], images: Sequence[int]) -> "Units":
        """Of the right images of each object, seed by seed. Raises ValueError where they are no counts of these."""
        sums, sizes = np.array(right, np.float64), np.array(images, np.float64)
        if sums.shape[1:] != sizes.shape or np.any((sums < 0) | (sums > sizes)) or np.any(sizes < 1):
            raise ValueError("each object needs 0 <= correct <= images, and at least one image")
        return cls(sums, sizes, True, True)

    @property
    def n(self) -> int:
        """Images."""
        return int(self.sizes.sum())

    @property
    def squares(self) -> float:
        """The sum of the squared shares of all images that each unit has."""
        return float(self.sizes @ self.sizes) / self.n**2

    def whole(self, variance: float) -> float:
        """The variance of a mean of values with this variance where the images of each unit are all alike."""
        units = len(self.sizes)
        return units / (units - 1) * variance * self.squares

    @property
    def means(self) -> NDArray[np.float64]:
        """[seeds]"""
        return self.sums.sum(axis=1) / self.sizes.sum()

    @property
    def influences(self) -> NDArray[np.float64]:
        """[seeds, units]: by how much each unit moves the mean of a seed, linearised."""
        return (self.sums - self.means[:, None] * self.sizes) / self.sizes.sum()

    @property
    def over(self) -> Over:
        """What an interval of these is over."""
        if len(self.sums) > 1:
            return "seeds and objects" if self.objects else "seeds and images"
        return "objects" if self.objects else "images"

    def __sub__(self, base: "Units") -> "Units":
        """Of the differences of each seed on each image. Raises ValueError unless seeds and images are the same."""
        self._fits(base)
        return Units(self.sums - base.sums, self.sizes, self.objects, self.share and base.share)

    def log_ratio(self, base: "Units") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The logarithm of each seed's ratio to base, [seeds], and by how much each unit moves it, linearised."""
        self._fits(base)
        above, below = self.sums.sum(axis=1), base.sums.sum(axis=1)
        return np.log(above / below), self.sums / above[:, None] - base.sums / below[:, None]

    def _fits(self, base: "Units") -> None:
        if self.sums.shape != base.sums.shape or np.any(self.sizes != base.sizes):
            raise ValueError(f"pairs need the same seeds and images: {self.sums.shape} and {base.sums.shape}")
