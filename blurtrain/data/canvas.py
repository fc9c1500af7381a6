"""Where an image lies in what is stored of it: in the top left corner of a canvas, transposed where it is higher than
wide."""

import numpy as np
from numpy.typing import NDArray


def as_seen(canvas: NDArray[np.uint8], sides: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The image [height, width, ...] of these `sides` (height, width) that lies in a `canvas` [H, W, ...]; a view."""
    height, width = sides
    return canvas[:height, :width] if height <= width else canvas[:width, :height].swapaxes(0, 1)
