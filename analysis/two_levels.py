"""How far a mean over seeds and test images is from that over all seeds and all images: two crossed levels.

Every seed is tested on the same images, as in studies in which every reader reads every case: Obuchowski & Rockette
(1995), Communications in Statistics - Simulation and Computation 24:285-308; degrees of freedom by Hillis (2007),
Statistics in Medicine 26:596-619; as a sum of components Gallas (2006), Academic Radiology 13:353-362.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """Variance of a mean over seeds, in parts.

    With S seeds and G units (images, or objects that several of them show), MS the sample variance of the seeds' own
    estimates, and, over units, Var the mean variance of one seed's estimate and Cov the mean covariance of two:
    V = max(MS, Var - Cov) / S + Cov, where Cov is at least 0. MS is expected to be the variance of seeds and Var - Cov
    together (Obuchowski & Rockette 1995, equation 3), so that less than Var - Cov is chance: V is never less than
    what images alone amount to, (Var + (S - 1) Cov) / S.
    """

    seeds: int
    units: int
    images: float
    """What images, or objects, amount to: (Var + (S - 1) Cov) / S; of one seed Var."""
    between: float = 0.0
    """max(MS, Var - Cov) / S; of one seed 0."""
    surplus: float = 0.0
    """What seeds add to `images`: max(MS - (Var - Cov), 0) / S; of one seed 0."""

    def total(self, images: float | None = None) -> tuple[float, float]:
        """V and its degrees of freedom; `images`: a better estimate of what images amount to.

        Degrees of freedom are those of the sum of two independent variances (Satterthwaite 1946, Biometrics Bulletin
        2:110-114): V^2 / (between^2 / (S - 1) + rest^2 / (G - 1)). The first term is Hillis' (2007); the second counts
        that units are few too. Of one seed they are G - 1.
        """
        if self.units < 2:
            return math.nan, 0
        variance = (self.images if images is None else images) + self.surplus
        if self.seeds == 1 or not variance > 0:
            return variance, self.units - 1
        between = min(self.between, variance)
        rest = variance - between
        return variance, variance**2 / (between**2 / (self.seeds - 1) + rest**2 / (self.units - 1))


def spread(influences: NDArray[np.float64], estimates: NDArray[np.float64]) -> Spread:
    """The parts of the variance of the mean of `estimates` [seeds].

    influences [seeds, units]: by how much each unit moves a seed's estimate, linearised; they add up to 0 for each seed.
    Of a mean over images that come in objects, (x - p m) / M: x the sum over the m images of an object, M the images of
    all, p the mean. Units are a sample of G: variances carry G / (G - 1). NaN for less than two units.
    """
    seeds, units = influences.shape
    if units < 2:
        return Spread(seeds, units, math.nan)
    scale = units / (units - 1)
    each = scale * float(np.einsum("su,su->", influences, influences)) / seeds
    mean = influences.mean(axis=0)
    together = scale * float(mean @ mean)
    if seeds == 1:
        return Spread(1, units, together)
    shared = max((seeds * together - each) / (seeds - 1), 0.0)
    alone = max(each - shared, 0.0)
    scatter = float(np.var(estimates, ddof=1))
    return Spread(
        seeds,
        units,
        (each + (seeds - 1) * shared) / seeds,
        max(scatter, alone) / seeds,
        max(scatter - alone, 0.0) / seeds,
    )


def at_most(scatter: float, seeds: int, images: float, units: int) -> Spread:
    """The parts where it is not known which images each seed has right: as if all had the same (Cov = Var = `images`).

    That is the most that images can amount to. scatter: the sample variance of the seeds' estimates; `images`: the
    variance of one seed's estimate over images.
    """
    return Spread(seeds, units, images, scatter / seeds, scatter / seeds)
