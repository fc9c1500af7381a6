"""Point-spread functions: float64, unit sum."""

import numpy as np
from numpy.typing import NDArray


def gaussian_radius(sigma: float, truncate: float = 4.0) -> int:
    """Pixels from the centre to the last tap: `truncate` sigmas, rounded (SciPy's convention)."""
    return int(truncate * sigma + 0.5)


def gaussian_taps(sigma: float, truncate: float = 4.0) -> NDArray[np.float64]:
    """A sampled 1-D Gaussian of `2 * gaussian_radius + 1` taps and unit sum; a single 1 at sigma 0.

    sigma is in pixels. `truncate=2` gives the 33 taps at sigma 8 of the original blurry-to-clear study.
    """
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma must be a number of pixels >= 0, not {sigma}")
    radius = gaussian_radius(sigma, truncate)
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    return taps / taps.sum()


def gaussian(sigma: float, truncate: float = 4.0) -> NDArray[np.float64]:
    """A 2-D Gaussian, the outer product of `gaussian_taps` with itself."""
    taps = gaussian_taps(sigma, truncate)
    return np.outer(taps, taps)
