"""Tests of one network against another on the same images, and what is left of them when there are many."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.two_levels import Error, half_width


def mcnemar(first: int, second: int, mid: bool = True) -> float:
    """Two-sided p value, in 0..1, of two networks being right equally often, for independent images.

    first, second: on how many images only the one is right, and only the other. The exact test conditions on their sum
    (McNemar 1947, Psychometrika 12:153-157): twice the binomial tail at one half, at most 1. It is conservative; the
    mid-p value counts half of what was observed, and is what Fagerland, Lydersen & Laake (2013), BMC Medical Research
    Methodology 13:91, recommend. 1 where the two are never alone right. Raises ValueError for negative counts.
    """
    from scipy.special import bdtr, gammaln  # takes a while to import

    if first < 0 or second < 0:
        raise ValueError(f"{first} and {second} are no counts of images")
    fewer, n = min(first, second), first + second
    tail = 2 * float(bdtr(fewer, n, 0.5))
    if mid:
        tail -= math.exp(gammaln(n + 1) - gammaln(fewer + 1) - gammaln(n - fewer + 1) - n * math.log(2))
    return min(tail, 1.0)


def p_value(centre: float, errors: Sequence[Error]) -> float:
    """Two-sided p value, in 0..1, of a value of 0, by Student's t: the largest that any of the errors gives.

    So it is below 0.05 where, and only where, the 95 % interval leaves out 0 (`two_levels.half_width`). For one seed on
    objects this is the test of Obuchowski (1998), Statistics in Medicine 17:1495-1507, for pairs in clusters, with the
    variance at the estimate instead of under the null hypothesis, and t instead of the normal; over several seeds it is
    that of Hillis (2007), ibid. 26:596-619, or of images alone. Without an error above 0: 1 if the value is 0 (no
    difference anywhere), else NaN.
    """
    from scipy.special import stdtr

    found = [float(2 * stdtr(min(e.freedom, 1e12), -abs(centre) / math.sqrt(e.variance)))
             for e in errors if e.variance > 0]  # fmt: skip
    return max(found, default=1.0 if centre == 0 and errors else math.nan)


def p_of_interval(value: float, low: float, high: float, freedom: float = math.inf) -> float:
    """Two-sided p value, in 0..1, of a value of 0, of which a 95 % interval alone is known; NaN where there is none.

    The interval is taken to be Student's (`freedom` infinite: the normal's) with the half width on the side of 0, so
    that p is below 0.05 where, and only where, it leaves out 0. Exact for intervals of this form. Of others it is an
    approximation, the coarser the farther p is from 0.05: Newcombe's, for one, is taken to grow with the quantile,
    which it does less near accuracies of 0 and 1. Where an interval is too wide p is too large.
    """
    from scipy.special import stdtr, stdtrit

    if math.isnan(low) or math.isnan(high):
        return math.nan
    half, freedom = value - low if value > 0 else high - value, min(freedom, 1e12)
    if half <= 0:
        return 0.0 if value else 1.0
    return float(2 * stdtr(freedom, -stdtrit(freedom, 0.975) * abs(value) / half))


# --- many comparisons -----------------------------------------------------------------------------------------------


def holm(ps: Sequence[float], family: int | None = None) -> list[float]:
    """p values adjusted so that the chance of any false finding among them is kept, in the order given.

    Step-down: the k-th smallest of m times m - k + 1, made monotone (Holm 1979, Scandinavian J. of Statistics 6:65-70).
    Under any dependence. NaN stays NaN and does not count as a comparison.

    family: m where these are a part of more hypotheses, as the best against the others is of all pairs. Those given are
    taken to be the smallest p values of all, which is conservative: none is less than in the family whose other p
    values are known, whatever they are.

    Raises ValueError for what is not in 0..1, or a family of less than are given.
    """
    return _adjusted(ps, family, lambda ordered, m: np.maximum.accumulate(ordered * (m - np.arange(len(ordered)))))


def benjamini_hochberg(ps: Sequence[float], family: int | None = None) -> list[float]:
    """p values adjusted so that the expected share of false findings among all findings is kept, in the order given.

    Step-up: the k-th smallest of m times m / k, made monotone (Benjamini & Hochberg 1995, J. Royal Statistical Society
    B 57:289-300), for independent or positively dependent tests. NaN stays NaN and does not count as a comparison.
    `family` and errors: as for `holm`.
    """
    return _adjusted(
        ps, family, lambda ordered, m: np.minimum.accumulate((ordered * m / np.arange(1, len(ordered) + 1))[::-1])[::-1]
    )


def _adjusted(
    ps: Sequence[float], family: int | None, rule: Callable[[NDArray[np.float64], int], NDArray[np.float64]]
) -> list[float]:
    given = np.asarray(ps, float)
    known = np.flatnonzero(~np.isnan(given))
    if np.any((given[known] < 0) | (given[known] > 1)):
        raise ValueError("p values are in 0..1")
    if family is not None and family < len(known):
        raise ValueError(f"{len(known)} p values are no part of a family of {family}")
    order = known[np.argsort(given[known], kind="stable")]
    found = np.full(len(given), np.nan)
    if len(order):
        found[order] = np.minimum(rule(given[order], family or len(order)), 1.0)
    return [float(p) for p in found]


def corrected_intervals(
    centres: Sequence[float],
    errors: Sequence[Sequence[Error]],
    method: Literal["bonferroni", "holm"] = "holm",
    alpha: float = 0.05,
) -> list[tuple[float, float]]:
    """Intervals of several differences, corrected for their number m: each is centre -+ half_width(errors, a).

    bonferroni: a = alpha / m for all; with probability 1 - alpha or more all m hold what they are about.

    holm: a = alpha / (m - k + 1) for the k-th smallest p value, as long as these are found, and for all others that of
    the first that is not: an interval leaves out 0 where, and only where, Holm's adjusted `p_value` is below alpha.
    What is kept at alpha is the chance that any of them leaves out 0 wrongly; read as intervals of values, those of
    what was found may be too narrow (Guilbaud 2008, Biometrical J. 50:678-692).

    NaN for those without an error above 0, which are not counted. Raises ValueError for an unknown method.
    """
    if method not in ("bonferroni", "holm"):
        raise ValueError(f"method {method!r}: choose bonferroni or holm")
    known = [k for k, of in enumerate(errors) if not math.isnan(half_width(of))]
    ps = {k: p_value(centres[k], errors[k]) for k in known}
    levels = dict.fromkeys(known, alpha / max(len(known), 1))
    if method == "holm":
        ordered = sorted(known, key=lambda k: ps[k])
        for rank, at in enumerate(ordered):
            levels |= dict.fromkeys(ordered[rank:], alpha / (len(known) - rank))
            if not ps[at] < levels[at]:
                break
    halves = [half_width(of, levels[k]) if k in levels else math.nan for k, of in enumerate(errors)]
    return [(centre - half, centre + half) for centre, half in zip(centres, halves, strict=True)]
