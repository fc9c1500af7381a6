"""The study's seven colour operations, batched on the device, each image with its own selection, order and strengths.

Images are floats that hold 8-bit values [n, 3, H, W] in 0..255, and stay so: the sources apply these operations to
8-bit images, and equalisation, posterisation and autocontrast are defined on histograms of those.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DRAWS = 18  # per image: seven for the order, seven for the selection, four strengths


def grey(images: Tensor) -> Tensor:
    """Luma (ITU-R 601-2) as 8-bit values [n, 1, H, W]."""
    red, green, blue = images.unbind(1)
    return torch.floor(0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    return images * factor


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    return images * factor + grey(images) * (1 - factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    # A sum of integers in float64 is exact, so that the mean does not depend on how a device splits the sum.
    mean = grey(images).mean((1, 2, 3), keepdim=True, dtype=torch.float64).to(images.dtype)
    return images * factor + mean * (1 - factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Rotate the hue of HSV by `turn` (a full circle is 1), keeping saturation and value."""
    value, _ = images.max(1)
    chroma = value - images.min(1).values
    red, green, blue = images.unbind(1)
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turn.squeeze(1)
    # Channel value of hue h (Smith 1978, in the closed form with offsets 5, 3, 1 for red, green, blue).
    channels = [torch.remainder(offset + sixth, 6) for offset in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in channels], 1)


def equalise(images: Tensor, _: Tensor) -> Tensor:
    """Spread each channel's histogram evenly, by the integer rule of PIL's ImageOps.equalize."""
    n, channels = images.shape[:2]
    values = images.long().reshape(n * channels, -1)
    histogram = torch.zeros(n * channels, 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, values, torch.ones_like(values))
    brightest = histogram.gather(1, values.amax(1, keepdim=True))
    step = torch.div(values.shape[1] - brightest, 255, rounding_mode="floor")
    below = torch.cumsum(histogram, 1) - histogram
    table = torch.div(below + torch.div(step, 2, rounding_mode="floor"), step.clamp(min=1), rounding_mode="floor")
    table = torch.where(step == 0, torch.arange(256, device=images.device), table.clamp(max=255))
    return table.gather(1, values).reshape(images.shape).to(images.dtype)


def posterise(images: Tensor, _: Tensor) -> Tensor:
    """Keep the upper 4 of 8 bits."""
    return torch.floor(images / 16) * 16


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0..255; a channel of one value stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) * (255 / (high - low).clamp(min=1))
    return torch.where(high > low, stretched, images)


# Strengths are drawn for the first four; the others have none.
OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    brightness,
    contrast,
    saturation,
    hue,
    equalise,
    posterise,
    autocontrast,
)


def colour(images: Tensor, draws: NDArray[np.float64], probability: float, jitter: float) -> Tensor:
    """Each operation with `probability`, in random order, image by image; changes and returns `images`.

    draws: uniform numbers [n, DRAWS]; jitter: factors are 1 +/- jitter, the hue turns by +/- jitter.
    """
    keys, chances, strengths = np.split(draws, [7, 14], axis=1)
    strengths = (2 * strengths - 1) * jitter + (1, 1, 1, 0)
    chosen = chances < probability
    order = np.argsort(np.where(chosen, keys, 2), axis=1)
    count = chosen.sum(1)
    # The k-th operation of all images, grouped by operation: a few dozen small batches, decided without the device.
    for k in range(count.max(initial=0)):
        for which, operation in enumerate(OPERATIONS):
            rows = np.flatnonzero((count > k) & (order[:, k] == which))
            if len(rows):
                at = torch.from_numpy(rows).to(images.device)
                strength = torch.from_numpy(strengths[rows, min(which, 3)]).to(images)[:, None, None, None]
                images[at] = operation(images[at], strength).clamp_(0, 255).round_()
    return images
