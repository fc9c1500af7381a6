"""Two networks tested by simulation: who is right on which image, by seeds and objects, with accuracies that are known.

A network is right on an image where a sum of normal effects is positive: of the object (shared by both networks, and
the network's own), of the seed, of the object under the seed, and of the image. So its accuracy over all seeds and
images is a normal probability, and that of one seed too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

TOYBOX = 13_518
"""Frames of the test split of toybox-category, which show 36 objects."""


@dataclass(frozen=True)
class Scenario:
    accuracy: float
    base: float
    seeds: int
    objects: int = 36
    images: int = TOYBOX
    """0 objects: so many independent images."""
    shared: float = 3.0
    """Variances, of the object (of the image where these are independent) for both networks,"""
    own: float = 0.5
    """for one,"""
    own_seed: float = 0.5
    """and for one under one seed; that of a frame is 1."""
    seed: float = 0.02
    """Of a seed on all images."""

    @property
    def scale(self) -> float:
        return float(np.sqrt(self.shared + self.own + self.own_seed + 1))

    def truth(self, one_seed: NDArray[np.float64] | None = None) -> tuple[float, float, float]:
        """Accuracy, difference, and ratio (the geometric mean over seeds): of all seeds, or of a seed with these
        effects on each network."""
        if one_seed is not None:
            p, q = ndtr((self.locations + one_seed) / self.scale)
            return p, p - q, p / q
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        weights = weights / weights.sum()
        of_seeds = ndtr((self.locations[:, None] + np.sqrt(self.seed) * nodes) / self.scale)
        p, q = of_seeds @ weights
        return float(p), float(p - q), float(np.exp((np.log(of_seeds[0]) - np.log(of_seeds[1])) @ weights))

    @property
    def locations(self) -> NDArray[np.float64]:
        return ndtri([self.accuracy, self.base]) * np.sqrt(self.scale**2 + self.seed)

    def sizes(self, rng: np.random.Generator, samples: int) -> NDArray[np.int64]:
        """[samples, objects]: uneven, with the same sum."""
        shares = rng.dirichlet(np.full(self.objects, 12.0), samples)
        return 1 + rng.multinomial(self.images - self.objects, shares)

    def drawn(
        self, samples: int, random: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], tuple[float, ...]]]:
        """Right frames [2 networks, seeds, objects], frames of each object, and the truth: of the one seed where there
        is one, else of all. Independent images: right or not, [2, seeds, images], and ones."""
        rng = np.random.default_rng(random)
        units = self.objects or self.images
        overall = self.truth()
        for start in range(0, samples, 100):
            count = min(100, samples - start)
            shape = (count, 2, self.seeds, units)
            of_seed = rng.normal(0, np.sqrt(self.seed), (count, 2, self.seeds, 1))
            of_unit = (
                rng.normal(0, np.sqrt(self.shared), (count, 1, 1, units))
                + rng.normal(0, np.sqrt(self.own), (count, 2, 1, units))
                + rng.normal(0, np.sqrt(self.own_seed), shape)
            )
            latent = self.locations[:, None, None] + of_seed + of_unit
            if self.objects:
                sizes = self.sizes(rng, count)
                right = rng.binomial(sizes[:, None, None, :], ndtr(latent))
            else:
                sizes = np.ones((count, units), np.int64)
                right = (latent + rng.normal(size=shape) > 0).astype(np.int64)
            for k in range(count):
                truth = self.truth(of_seed[k, :, 0, 0]) if self.seeds == 1 else overall
                yield right[k], sizes[k], truth
