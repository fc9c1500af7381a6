"""How far a mean over seeds and test images is from that over all seeds and all images: two crossed levels.

Every seed is tested on the same images, as in studies in which every reader reads every case: Obuchowski & Rockette
(1995), Communications in Statistics - Simulation and Computation 24:285-308; degrees of freedom by Hillis (2007),
Statistics in Medicine 26:596-619; as a sum of components Gallas (2006), Academic Radiology 13:353-362.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Error:
    """A variance of an estimate, with its degrees of freedom: an interval is estimate -+ t(freedom) sqrt(variance)."""

    variance: float
    freedom: float
    """Infinite: by the normal."""


def half_width(errors: Sequence[Error], alpha: float = 0.05) -> float:
    """Of the widest of the two-sided intervals at 1 - alpha by each of the errors; NaN where none is above 0."""
    from scipy.special import stdtrit  # takes a while to import

    return max(
        (float(stdtrit(min(e.freedom, 1e12), 1 - alpha / 2)) * math.sqrt(e.variance) for e in errors if e.variance > 0),
        default=math.nan,
    )


def apart(first: Sequence[Error], second: Sequence[Error]) -> tuple[Error, ...]:
    """The error of the difference of two independent estimates: the sum of the variances of the wider error of either,
    with the degrees of freedom of such a sum (Satterthwaite 1946). Empty where one has none."""
    widest = [max(errors, key=lambda e: half_width([e]), default=None) for errors in (first, second)]
    if widest[0] is None or widest[1] is None:
        return ()
    return (Error(widest[0].variance + widest[1].variance, _freedom(widest[0], widest[1])),)


@dataclass(frozen=True)
class Spread:
    """Variance of a mean over seeds, in parts.

    With S seeds and G units (images, or objects that several of them show): MS the sample variance of the seeds' own
    estimates; over units, Var the mean variance of one seed's estimate, and Cov the mean covariance of two.
    """

    seeds: int
    units: int
    images: float
    """What images, or objects, amount to: (Var + (S - 1) Cov) / S, Cov at least 0; of one seed Var."""
    shared: float = 0.0
    """Cov; of one seed 0."""
    scatter: float = 0.0
    """MS / S; of one seed 0."""
    surplus: float = 0.0
    """What seeds add to `images`: max(MS - (Var - Cov), 0) / S, for MS is expected to be the variance of seeds and
    Var - Cov together (Obuchowski & Rockette 1995)."""

    @property
    def alike(self) -> float:
        """How alike seeds are on each unit: the variance of their mean over units as a share of that of one seed, from
        1 / S to 1; of one seed 1."""
        one_seed = self.seeds * self.images - (self.seeds - 1) * self.shared
        return self.images / one_seed if one_seed > 0 else 1.0

    def errors(self, images: float | None = None) -> tuple[Error, ...]:
        """The errors whose widest interval is taken; `images`: a better estimate of what images amount to.

        Of one seed, that over units, with G - 1 degrees of freedom. Of several this one too, and V = MS / S + Cov: few
        seeds agree by chance now and then, and V is then less than images alone amount to; so the interval is never
        narrower than theirs. None for less than two units.

        Of three or more seeds V has the degrees of freedom of the sum of two independent variances (Satterthwaite 1946,
        Biometrics Bulletin 2:110-114), V^2 / ((MS / S)^2 / (S - 1) + Cov^2 / (G - 1)): without the second term these
        are Hillis' (2007); it counts that units are few too. Of two seeds the first term is by one deviation, which may
        be near 0 where seeds differ much: an interval of 95 % would cover as little as 87 %. There V has so many that
        its quantile is the mean of both parts' quantiles, weighted by their variances (Cochran & Cox 1957, Experimental
        Designs, ch. 4), and covers 94 to 98 %.
        """
        if self.units < 2:
            return ()
        images = self.images if images is None else images
        over_units = Error(images, self.units - 1)
        shared = max(self.shared + images - self.images, 0.0)
        if self.seeds == 1 or self.scatter + shared == 0:
            return (over_units,)
        freedom = _freedom(Error(self.scatter, self.seeds - 1), Error(shared, self.units - 1))
        return over_units, Error(self.scatter + shared, freedom)


def _freedom(first: Error, second: Error) -> float:
    """Degrees of freedom of the sum of two variances: `Spread.errors`."""
    from scipy.special import stdtridf, stdtrit

    variance = first.variance + second.variance
    if first.freedom == 1:
        quantiles = [part.variance * stdtrit(part.freedom, 0.975) for part in (first, second)]
        return float(stdtridf(0.975, sum(quantiles) / variance))
    return variance**2 / (first.variance**2 / first.freedom + second.variance**2 / second.freedom)


def spread(influences: NDArray[np.float64], estimates: NDArray[np.float64]) -> Spread:
    """The parts of the variance of the mean of `estimates` [seeds].

    influences [seeds, units]: by how much each unit moves a seed's estimate, linearised; of each seed they add up to 0.
    Of a mean over images that come in objects, (x - p m) / M: x the sum over the m images of an object, M the images of
    all, p the mean. Units are a sample of G: variances carry G / (G - 1).
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
    scatter = float(np.var(estimates, ddof=1))
    surplus = max(scatter - max(each - shared, 0.0), 0.0)
    return Spread(seeds, units, (each + (seeds - 1) * shared) / seeds, shared, scatter / seeds, surplus / seeds)


def at_most(scatter: float, seeds: int, images: float, units: int) -> Spread:
    """The parts where it is not known which images each seed has right: as if all had the same (Cov = Var = `images`).

    That is the most that images can amount to. scatter: the sample variance of the seeds' estimates; `images`: the
    variance of one seed's estimate over images.
    """
    return Spread(seeds, units, images, images, scatter / seeds, scatter / seeds)
