"""Convolution of one image on one core of a processor by the taps of its kernel: what pixels are summed, and how.

Most blurs of cameras are sparse or flat: the path of a shaken hand meets few pixels, and a disk is columns of equal
weights. A tap costs a sweep over the image, in pieces that stay in the nearest cache; a column of equal weights, a
*run*, costs two, as a difference of running sums. Those are kept in 32-bit integers that may wrap around: differences
are exact all the same, so no error adds up over a large image.
"""

import functools
import importlib.util
import math
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.point_spread import check_kernel

Places = TypeVar("Places", NDArray[np.int64], Tensor)
MOST_SWEEPS = 280
"""Over an image, above which a Fourier transform is faster."""


class Taps(NamedTuple):
    """What a kernel takes from an image padded by half its sides, for the pixel in the top left corner."""

    sides: tuple[int, int]
    weights: NDArray[np.float32]
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    ends: NDArray[np.int64] | None
    """The row after the last of each run; None: single taps."""
    longest: int
    """Pixels of the longest run."""

    @property
    def sweeps(self) -> int:
        """How often the image is gone through."""
        return len(self.weights) * (1 if self.ends is None else 2)


@functools.cache
def available() -> bool:
    """Whether Numba is installed; the containers of some vendors come without, and computers with GPUs can do so."""
    try:
        return importlib.util.find_spec("numba") is not None
    except ImportError:
        return False


def taps_of(kernel: NDArray[np.floating]) -> Taps:
    """The taps of a point-spread function [k, l], or its runs where these are quicker."""
    return _taps_of(kernel.tobytes(), kernel.shape, kernel.dtype)


@functools.lru_cache(maxsize=256)
def _taps_of(content: bytes, sides: tuple[int, int], dtype: np.dtype[np.floating]) -> Taps:
    kernel = np.frombuffer(content, dtype).reshape(sides)
    check_kernel(sides, bool(np.isfinite(kernel).all()))
    gathered = kernel[::-1, ::-1].T  # it spreads, so pixels are gathered the other way round; column by column
    columns, rows = np.nonzero(gathered)
    weights = gathered[columns, rows]
    # A run goes on where the next tap lies just below and weighs the same.
    last = np.flatnonzero(np.append((np.diff(rows) != 1) | (np.diff(columns) != 0) | (np.diff(weights) != 0), True))
    if 2 * len(last) + 6 > len(rows):  # the running sums take as long as some taps
        return Taps(sides, weights.astype(np.float32), columns, rows, None, 1)
    first = np.append(0, last[:-1] + 1)
    longest = int((last - first).max()) + 1
    return Taps(sides, weights[first].astype(np.float32), columns[first], rows[first], rows[last] + 1, longest)


def gather(image: Tensor, taps: Taps, out: Tensor, normal: tuple[Tensor, Tensor] | None = None) -> bool:
    """`image` [C, H, W] convolved with the kernel of `taps`, borders reflecting, into `out` (both float32, on a
    processor, `out` contiguous); False, and nothing done, where that would take sums of pixels that are not finite.

    normal: of each channel [C, 1, 1], what is taken off the result, and what the rest is multiplied by.
    """
    from blurtrain.blur import compiled_taps

    down, across = (k // 2 for k in taps.sides)
    places = reflected(image.shape[1], down), reflected(image.shape[2], across)
    given = (image if image.is_contiguous() else image.contiguous()).numpy()
    least, factor = (part.numpy().reshape(-1) for part in normal) if normal else _as_it_is(len(given))
    if taps.ends is None:
        compiled_taps.by_taps(given, places, taps.rows, taps.columns, taps.weights, (least, factor), out.numpy())
        return True
    reach = max(float(np.int32(compiled_taps.largest_bits(given)).view(np.float32)), 1e-30)
    if not math.isfinite(reach):
        return False
    scale = 2.0 ** math.floor(math.log2(2**30 / (taps.longest * reach)))  # the sum of a run fits into 31 bits
    weights = (taps.weights / scale).astype(np.float32)
    compiled_taps.by_runs(
        given, places, taps.rows, taps.ends, taps.columns, weights, np.float32(scale), (least, factor), out.numpy()
    )
    return True


@functools.cache
def _as_it_is(channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros(channels, np.float32), np.ones(channels, np.float32)


@functools.lru_cache(maxsize=256)
def reflected(side: int, radius: int) -> NDArray[np.int64]:
    """Which pixel stands at each of -radius .. side - 1 + radius along an axis of `side` pixels that reflects: int64
    [side + 2 * radius]."""
    place = reflected_at(np.arange(-radius, side + radius), side)
    place.flags.writeable = False
    return place


def reflected_at(places: Places, side: int | Places) -> Places:
    """Which pixel stands at `places`, inside an axis of `side` pixels (one, or to be broadcast) and beyond its ends."""
    within: Any = places % (2 * (side - 1) + (side == 1))
    reflected: Places = side - 1 - abs(side - 1 - within)
    return reflected
