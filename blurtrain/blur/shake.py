"""Camera shake: random trajectories as point-spread functions (Chakrabarti, "A Neural Approach to Blind Motion
Deblurring", ECCV 2016), and which image of a dataset gets which, as in Vasiljevic et al. 2016.
"""

import functools
from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.point_spread import check_integer, unit_sum

SHAKE_SIZES = (8, 16, 24)  # grids of the source, each for a third of the kernels
SHAKE_MAX_SIDE = 41  # larger kernels are drawn again
SHAKE_COUNTS = {"test": 100, "train": 10_000}  # kernels of Vasiljevic et al. 2016
Split = Literal["test", "train"]

_POINTS = 6
_SAMPLES = 5000 * _POINTS  # along the spline, as in the source: enough that no cell on the way is stepped over
_BLOCK = sum(SHAKE_COUNTS.values())
_LIMIT = 2**32 - 1  # seeds and indices; SeedSequence distinguishes numbers by their 32-bit words


@functools.lru_cache(maxsize=16_384)  # all 10,100 kernels of a protocol: about 30 MB
def camera_shake(size: int, seed: int) -> NDArray[np.float64]:
    """A random camera trajectory on a grid of `size` x `size` pixels; a function of (size, seed) alone.

    Six points uniform on the grid; a cubic spline (not-a-knot) through them; the cells it passes, each weighted by
    max(0, N(1, 0.5^2)); centred on the rounded centroid (so the centroid is within half a pixel of the centre);
    drawn again from the same stream where the centred grid is larger than 41. The side is the smallest odd one that
    holds the trajectory. Not point-symmetric.
    size: 2..32 (8, 16 and 24 in the source); seed: a whole number >= 0. Raises ValueError for others.
    """
    check_integer("size", size, 2, 32)
    check_integer("seed", seed, 0, 2**63)
    # Only uniform doubles are drawn: NumPy may change how it makes integers and normals of them, not these.
    uniform = np.random.Generator(np.random.PCG64(np.random.SeedSequence((int(size), int(seed)))))
    while True:
        points = np.floor(uniform.random((_POINTS, 2)) * size)
        path = np.floor(np.clip(_spline_basis() @ points, 0, size - 1) + 0.5).astype(np.intp)
        visited = np.zeros((size, size), dtype=bool)
        visited[path[:, 0], path[:, 1]] = True
        rows, columns = np.nonzero(visited)
        weights = np.maximum(0.0, 1 + 0.5 * _normal(uniform.random((2, len(rows)))))
        if not weights.any():
            continue
        row, column = (int(np.floor(np.average(cells, weights=weights) + 0.5)) for cells in (rows, columns))
        if 2 * max(row, column, size - 1 - row, size - 1 - column) + 1 <= SHAKE_MAX_SIDE:
            break
    half = max(int(np.abs(rows - row).max()), int(np.abs(columns - column).max()))
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    kernel[rows - row + half, columns - column + half] = weights
    return unit_sum(kernel)


@functools.cache
def _spline_basis() -> NDArray[np.float64]:
    """[samples, points]: what each control point contributes along the not-a-knot cubic spline (it is linear)."""
    from scipy.interpolate import CubicSpline

    knots = np.linspace(0, 1, _POINTS)
    basis: NDArray[np.float64] = CubicSpline(knots, np.eye(_POINTS), bc_type="not-a-knot")(np.linspace(0, 1, _SAMPLES))
    return basis


def _normal(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal draws [N] of uniform ones [2, N] in [0, 1) (Box & Muller 1958)."""
    return np.sqrt(-2 * np.log1p(-uniform[0])) * np.cos(2 * np.pi * uniform[1])


def shake_seeds(split: Split, protocol_seed: int = 0) -> range:
    """The kernel seeds of a split: 100 for test images and 10,000 others for training.

    No seed is in two splits, nor under two protocol seeds. Raises ValueError for another split or a bad seed.
    """
    if split not in SHAKE_COUNTS:
        raise ValueError(f"camera shake has the splits {', '.join(SHAKE_COUNTS)}, not {split}")
    check_integer("protocol_seed", protocol_seed, 0, _LIMIT)
    first = protocol_seed * _BLOCK + (0 if split == "test" else SHAKE_COUNTS["test"])
    return range(first, first + SHAKE_COUNTS[split])


def shake_seed(split: Split, index: int, protocol_seed: int = 0, epoch: int = 0) -> int:
    """Which of `shake_seeds` image `index` gets: a hash of the arguments and of nothing else.

    It is the same whatever the batch, the order, the network or the setting. Training may draw anew every `epoch`; test
    images keep their kernel (ValueError for a test epoch other than 0, a negative index, or a bad split or seed).
    """
    seeds = shake_seeds(split, protocol_seed)
    check_integer("index", index, 0, _LIMIT)
    check_integer("epoch", epoch, 0, _LIMIT if split == "train" else 0)
    words = (list(SHAKE_COUNTS).index(split), int(protocol_seed), int(epoch), int(index))
    drawn = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    return seeds[drawn % len(seeds)]


def shake_for(split: Split, index: int, protocol_seed: int = 0, epoch: int = 0) -> NDArray[np.float64]:
    """The camera-shake kernel of image `index`, see `shake_seed`; kernel k has grid size SHAKE_SIZES[k % 3]."""
    seed = shake_seed(split, index, protocol_seed, epoch)
    return camera_shake(SHAKE_SIZES[seed % len(SHAKE_SIZES)], seed)


def shakes_for(split: Split, indices: Iterable[int], protocol_seed: int = 0, epoch: int = 0) -> NDArray[np.float64]:
    """The kernels of several images, [N, 41, 41] whichever they are (zeros around the smaller ones)."""
    kernels = [shake_for(split, int(index), protocol_seed, epoch) for index in indices]
    stacked = np.zeros((len(kernels), SHAKE_MAX_SIDE, SHAKE_MAX_SIDE))
    for row, kernel in zip(stacked, kernels, strict=True):
        margin = (SHAKE_MAX_SIDE - len(kernel)) // 2
        row[margin : margin + len(kernel), margin : margin + len(kernel)] = kernel
    return stacked
