"""A blur: a convolution, so that its kernel is all there is to say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blurtrain.blur.blur import KernelBlur


class Ring(KernelBlur):
    """Defocus of a lens with a central obstruction: a thin circle of `radius` pixels."""

    radius: float = Field(gt=0, le=64)

    def point_spread(self, index: int, **_: Any) -> NDArray[np.float64]:
        reach = int(np.ceil(self.radius))
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        ring = np.abs(np.hypot(x, y) - self.radius) <= 0.5
        return ring / ring.sum()
