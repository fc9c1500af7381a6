"""What brings stored pixels into main memory, a batch at a time, and what it says when it cannot."""

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.errors import DataError


class PixelReader(Protocol):
    """What a loader reads stored images by."""

    def batches(self, order: NDArray[np.int64], batch_size: int) -> Generator[Tensor]:
        """Canvases uint8 [N, H, W, 3] of the images of `order`, `batch_size` at a time; the last may be smaller.

        They lie in memory that is used again: each batch is valid until the next one is asked for. Raises DataError
        where what reads ahead has died, or brings nothing for too long.
        """
        ...


def failed(beton: Path, kind: str, cause: str) -> DataError:
    """The error of a loader of `kind` that cannot go on."""
    return DataError(f"{beton}: loader.kind={kind}: {cause}")


def stalled(beton: Path, kind: str, seconds: float) -> DataError:
    """The error of a loader that has brought nothing for so long."""
    cause = f"gave nothing for {seconds:g} s: is the file system stalled? (loader.stalled_seconds may be raised)"
    return failed(beton, kind, cause)
