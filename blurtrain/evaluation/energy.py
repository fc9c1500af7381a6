"""How far the weights of filters spread."""

import numpy as np
from numpy.typing import NDArray


def energy_moments(filters: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N], of filters [N, C, h, w]: twice the root mean square distance along one axis (the mean of both axes), in
    weights, of the energy w^2 from its own middle.

    The mean of each channel is removed first, so that a constant plays no part. A Gabor function whose envelope has
    the standard deviation s has about sqrt(2) s; weights without any structure in a square of n x n have
    sqrt((n^2 - 1) / 3). NaN where all weights of a channel are alike in every channel.
    """
    weights = filters.astype(np.float64)
    energy = ((weights - weights.mean(axis=(2, 3), keepdims=True)) ** 2).sum(1)
    total = energy.sum(axis=(1, 2))
    share = np.divide(energy, total[:, None, None], out=np.full(energy.shape, np.nan), where=total[:, None, None] > 0)
    variance = np.zeros(len(energy))
    for along, across in ((1, 2), (2, 1)):
        line = share.sum(across)
        places = np.arange(filters.shape[along + 1])
        variance += line @ places**2 - (line @ places) ** 2
    return 2 * np.sqrt(variance / 2)
