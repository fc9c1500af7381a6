"""Counter-based random numbers: each is a function of (seed, epoch, sample index, stream) and of nothing else.

An image's augmentation therefore does not depend on the batch, the rank, the number of processes or GPUs, or on where
a run was resumed; and being integer arithmetic in NumPy, it is the same under every version of torch.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection; each input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _hash(*counters: int | NDArray[np.integer]) -> NDArray[np.uint64]:
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = _mix((state + _GOLDEN) ^ _mix(np.asarray(counter).astype(np.uint64) + _GOLDEN))
    return state


def uniform(
    seed: int, epoch: int, indices: NDArray[np.integer], streams: int, *, first: int = 0
) -> NDArray[np.float64]:
    """Numbers in [0, 1), shape [len(indices), streams]: the row of a sample is the same wherever it is asked for.

    first: the first of the streams, for what draws apart from the others.
    """
    bits = _hash(seed, epoch, indices[:, None], np.arange(first, first + streams)[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(seed: int, epoch: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices [n] in the order of their hashes: another order each epoch, whatever order they are given in."""
    indices = np.sort(indices)
    return indices[np.argsort(_hash(seed, epoch, indices, 2**32), kind="stable")]


def curriculum_draws(seed: int, epoch: int, order: NDArray[np.integer], view: int = 0) -> NDArray[np.float64]:
    """One number in [0, 1) for each image of an epoch's global `order`, by which its blur is drawn.

    view: which of several views of the images.

    Stratified: of each two successive images one draws below 1/2, the other above. So one half of every (even) batch is
    blurred where a curriculum says half of it, and mixtures vary less than by chance.
    """
    bits = _hash(seed, epoch, order, 2**33 + view)
    halves = np.arange(len(order)) % 2
    return (halves + (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53) / 2


def batch_draws(seed: int, epoch: int, steps: int, view: int = 0) -> NDArray[np.float64]:
    """One number in [0, 1) for each of the first `steps` steps of an epoch: the draw that its whole batch shares."""
    bits = _hash(seed, epoch, np.arange(steps), 2**35 + view)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def step_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """A seed for what draws from torch's own random state (dropout, say) in one step of one process: with it, a run
    resumed at any step draws what it would have drawn."""
    return int(_hash(seed, epoch, step, rank, 2**34)[0] >> np.uint64(1))
