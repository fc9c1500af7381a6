"""Rotation, zoom and translation of each image about its centre, in one warp on the device.

As torchvision's RandomAffine draws and composes them (rotate, zoom, then translate), but at any fraction of a pixel,
antialiased where an image shrinks, and with the image mirrored beyond its border (about the outermost pixels' centres,
as everywhere in `blurtrain.blur`) instead of black.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from blurtrain.settings import Augmentation

DRAWS = 4  # per image: angle, zoom, and two for the translation


class Warps(NamedTuple):
    """What happens to n images, each [n]."""

    angle: NDArray[np.float64]
    """Degrees, clockwise as the image is seen."""
    zoom: NDArray[np.float64]
    """Factor; above 1 things get larger."""
    down: NDArray[np.float64]
    """Share of the side."""
    across: NDArray[np.float64]

    def of(self, k: int) -> "Warps":
        """That of image k alone."""
        return Warps(*(values[k : k + 1] for values in self))

    def softening(self) -> NDArray[np.float64]:
        """Sigma [n], in pixels, of the Gaussian that an image needs before the warp, so that none of it aliases.

        Pixels are taken to carry a blur of 1/2 pixel (Lowe 2004, "Distinctive image features", section 3.3): shrunk by
        `zoom`, they would carry less, and are blurred by what is missing, rounded up to 1/16 pixel: so there are but a
        few operators, which a processor keeps. 0 where nothing shrinks.
        """
        return np.ceil(8 * np.sqrt(np.maximum(1 / self.zoom**2 - 1, 0))) / 16


def drawn(draws: NDArray[np.float64], augmentation: Augmentation) -> Warps:
    """From uniform numbers [n, DRAWS]: each uniform in +/- its setting, the zoom about 1."""
    angle, zoom, down, across = (2 * draws - 1).T
    a = augmentation
    return Warps(a.rotation * angle, 1 + a.zoom * zoom, a.translation * down, a.translation * across)


def warp(images: Tensor, warps: Warps, interpolation: str) -> Tensor:
    """`images` [n, C, S, S] in float32 after `warps` of as many, which have been softened where they shrink.

    interpolation: bilinear, or bicubic (Keys' kernel with a = -0.75, which may overshoot). Where each pixel comes from
    is found without the device, so that it does not depend on it, nor on the other images.
    """
    columns, rows = (
        torch.from_numpy(part.astype(np.float32)).to(images.device, non_blocking=True)
        for part in _places(warps, images.shape[-1])
    )
    return grid_sample(images, columns + rows, interpolation, padding_mode="reflection", align_corners=True)


def places(warps: Warps, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel [n, S, S] of images of `side` comes from: down and across, in pixels from the corner."""
    columns, rows = _places(warps, side)
    across, down = np.moveaxis((columns + rows + 1) * (side - 1) / 2, -1, 0)  # from the first pixel's centre
    period = max(2 * (side - 1), 1)
    mirrored = (side - 1 - abs(at % period - (side - 1)) for at in (down, across))
    down, across = (at + 0.5 for at in mirrored)
    return down, across


def _places(warps: Warps, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the columns [n, 1, S, (x, y)] and the rows [n, S, 1, (x, y)] have to do with that: the sum is the place from
    the centre, in units of half the distance between the outermost pixels, as grid_sample has it."""
    axis, unit = np.linspace(-1, 1, side), 2 * side / max(side - 1, 1)
    x, y = axis - unit * warps.across[:, None], axis - unit * warps.down[:, None]  # [n, S], back before the translation
    cosine, sine = (part(np.radians(warps.angle))[:, None] / warps.zoom[:, None] for part in (np.cos, np.sin))
    of_columns = np.stack([cosine * x, -sine * x], -1)[:, None]
    of_rows = np.stack([sine * y, cosine * y], -1)[:, :, None]
    return of_columns, of_rows
