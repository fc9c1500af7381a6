"""Two networks whose accuracies over all seeds and all images are known: a logistic model with random effects.

Whether network k with seed s has image i of object o right is a coin with the log odds

    level + seed[k, s] + object[k, o] + object_seed[k, o, s] + image[k, i] + image_seed[k, i, s]

of which every effect is normal. The two networks' effects of objects, and of images, are correlated; those of seeds are
not. Accuracies over populations are integrals over these effects, by quadrature.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

Floats = NDArray[np.float64]
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(99)
WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
"""NODES and WEIGHTS: the mean of f(z) over a standard normal z is WEIGHTS @ f(NODES)."""


@dataclass(frozen=True)
class Effects:
    """Standard deviations of the effects, in log odds."""

    seed: float
    object: float
    object_seed: float
    image: float
    image_seed: float
    common: float = 0.7
    """Correlation of two networks' effects of objects, and of images."""

    @property
    def of_tests(self) -> float:
        """Of all that differs between the images of one network with one seed."""
        return float(np.linalg.norm([self.object, self.object_seed, self.image, self.image_seed]))


@dataclass(frozen=True)
class Network:
    """A network by its accuracy over all seeds and all images."""

    accuracy: float
    effects: Effects

    @cached_property
    def level(self) -> float:
        spread = float(np.hypot(self.effects.of_tests, self.effects.seed))
        return float(brentq(lambda x: WEIGHTS @ expit(x + spread * NODES) - self.accuracy, -20, 20, xtol=1e-12))

    def of_seeds(self, seeds: Floats) -> Floats:
        """The accuracies over all images of seeds with these effects."""
        logits = self.level + np.asarray(seeds)[..., None] + self.effects.of_tests * NODES
        return np.asarray(expit(logits) @ WEIGHTS)

    @cached_property
    def logarithm(self) -> float:
        """The mean over all seeds of the logarithm of a seed's accuracy."""
        return float(WEIGHTS @ np.log(self.of_seeds(self.effects.seed * NODES)))


@dataclass(frozen=True)
class Sample:
    """Tests of several networks on the same images, one sample of seeds, objects and images a row."""

    right: list[NDArray[np.bool_]]
    """A network each: [samples, seeds, images]; the images of an object are neighbours."""
    seeds: list[Floats]
    """A network each: the accuracies of these seeds over all images, [samples, seeds]."""


def draw_samples(
    networks: list[Network], sizes: NDArray[np.int64], seeds: int, samples: int, rng: np.random.Generator
) -> Iterator[Sample]:
    """Tests on as many objects as `sizes` has items, of so many images each, in parts of limited memory."""
    part = max(1, 2_000_000 // (seeds * int(sizes.sum())))
    for start in range(0, samples, part):
        yield _part(networks, sizes, seeds, min(part, samples - start), rng)


def _part(
    networks: list[Network], sizes: NDArray[np.int64], seeds: int, samples: int, rng: np.random.Generator
) -> Sample:
    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal((samples, *shape), np.float32)

    objects, images = len(sizes), int(sizes.sum())
    of_object = np.repeat(np.arange(objects), sizes)
    common_object, common_image = normal(1, objects), normal(1, images)
    found = Sample([], [])
    for network in networks:
        effects = network.effects
        mine, ours = np.float32(np.sqrt(1 - effects.common)), np.float32(np.sqrt(effects.common))
        seed = np.float32(effects.seed) * normal(seeds, 1)
        objective = np.float32(effects.object) * (ours * common_object + mine * normal(1, objects))
        objective = objective + np.float32(effects.object_seed) * normal(seeds, objects) + seed
        logits = (
            np.float32(effects.image) * (ours * common_image + mine * normal(1, images)) + objective[..., of_object]
        )
        logits += np.float32(effects.image_seed) * normal(seeds, images) + np.float32(network.level)
        np.exp(-logits, out=logits)
        logits += 1
        found.right.append(rng.random(logits.shape, np.float32) * logits < 1)
        found.seeds.append(network.of_seeds(seed[..., 0].astype(np.float64)))
    return found
