"""Survival curves of values of which some are only known to be larger: Kaplan & Meier's, and the median's interval.

J. Am. Stat. Assoc. 53, 457 (1958). Intervals of the curve by Greenwood's variance on the scale of log(-log S)
(Kalbfleisch & Prentice 1980); that of the median by Brookmeyer & Crowley (Biometrics 38, 29, 1982): all values at which
the curve's interval holds 1/2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri


@dataclass(frozen=True)
class Survival:
    """The share of units whose value is larger than each of `values`, which are those that were seen, ascending. All
    arrays are [k], shares in 0..1."""

    values: NDArray[np.float64]
    at_risk: NDArray[np.int64]
    """Units whose value is at least this one, as far as is known."""
    events: NDArray[np.int64]
    """Units whose value is this one."""
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """Ends of the interval of `share`, point by point."""

    @property
    def median(self) -> float | None:
        """The first value at which at most half are left; None: more than half are left at the end."""
        return _first(self.values, self.share)

    @property
    def median_interval(self) -> tuple[float | None, float | None]:
        """None: the end lies beyond all values that were seen."""
        return _first(self.values, self.low), _first(self.values, self.high)

    def table(self) -> NDArray[np.float64]:
        """[k, 6]: value, at risk, events, share, low, high."""
        return np.column_stack([self.values, self.at_risk, self.events, self.share, self.low, self.high])


def kaplan_meier(values: NDArray[np.float64], censored: NDArray[np.bool_], level: float = 0.95) -> Survival:
    """values [n]: of the units, or, where `censored`, what they are larger than. Of equal values, the censored ones are
    taken to be larger."""
    seen, events = np.unique(values[~censored], return_counts=True)
    at_risk = len(values) - np.searchsorted(np.sort(values), seen)
    share = np.cumprod(1 - events / at_risk, dtype=np.float64)
    left = at_risk - events
    terms = np.divide(events, at_risk * left, out=np.full(len(seen), np.inf), where=left > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = ndtri(0.5 + level / 2) * np.sqrt(np.cumsum(terms)) / np.abs(np.log(share))
        low, high = share ** np.exp(spread), share ** np.exp(-spread)
    # Where none is left, log(-log 0) says nothing of how sure that is.
    low, high = np.where(share > 0, low, 0.0), np.where(share > 0, high, 0.0)
    return Survival(seen, at_risk, events, share, low, high)


def _first(values: NDArray[np.float64], curve: NDArray[np.float64]) -> float | None:
    """The first of the values at which the curve is at most 1/2."""
    # A share of exactly one half may come out a little above it as a product.
    below = np.flatnonzero(curve <= 0.5 + 1e-12)
    return float(values[below[0]]) if len(below) else None
