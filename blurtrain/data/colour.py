"""The study's seven colour operations, batched on the device, each image with its own selection, order and strengths.

Images are floats that hold 8-bit values [n, 3, H, W] in 0..255, and stay so: the sources apply these operations to
8-bit images, and equalisation, posterisation and autocontrast are defined on histograms of those.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.device import any_order

Strength: TypeAlias = Tensor | float  # [n, 1, 1, 1], or of all images
DRAWS = 18  # per image: seven for the order, seven for the selection, four strengths


class Operations(NamedTuple):
    """Which operations n images undergo."""

    number: NDArray[np.int64]  # [n]
    order: NDArray[np.int64]  # [n, 7] places in OPERATIONS, of which the first `number` count
    strengths: NDArray[np.float64]  # [n, 4] factors of brightness, contrast and saturation; turn of the hue


def drawn(draws: NDArray[np.float64], probability: float, jitter: float) -> Operations:
    """Each operation with `probability`, in random order.

    draws: uniform numbers [n, DRAWS]; jitter: factors are 1 +/- jitter, the hue turns by +/- jitter.
    """
    keys, chances, strengths = np.split(draws, [7, 14], axis=1)
    chosen = chances < probability
    order = np.argsort(np.where(chosen, keys, 2), axis=1)
    return Operations(chosen.sum(1), order, (2 * strengths - 1) * jitter + (1, 1, 1, 0))


def colour(images: Tensor, operations: Operations) -> Tensor:
    """Each image of [n, 3, H, W] after its own operations, rounded to 8-bit values; changes and returns `images`."""
    number, order, strengths = operations
    # The k-th operation of all images, grouped by operation: a few dozen small batches, decided without the device.
    for k in range(number.max(initial=0)):
        for which, operation in enumerate(OPERATIONS):
            rows = np.flatnonzero((number > k) & (order[:, k] == which))
            if len(rows):
                at, strength = torch.from_numpy(rows), torch.from_numpy(strengths[rows, min(which, 3)])
                at = at.to(images.device, non_blocking=True)
                strength = strength.to(images, non_blocking=True)[:, None, None, None]
                changed = operation(images[at], strength).clamp_(0, 255).round_()
                with any_order():  # each image once
                    images[at] = changed
    return images


def colour_image(image: Tensor, k: int, operations: Operations) -> Tensor:
    """What `colour` makes of image k, rounded to 8 bits first: contiguous float32 [3, H, W] on a processor; changes
    and returns it. Of values as near to two levels, a few of a million become the other one of those."""
    from blurtrain.data import compiled_colour

    order = operations.order[k, : operations.number[k]]
    strengths = operations.strengths[k].astype(np.float32)
    flat = image.view(3, -1)
    compiled_colour.colour(flat.numpy(), order, strengths, np.empty(flat.shape, np.uint8))
    return image


def grey(images: Tensor) -> Tensor:
    """Luma (ITU-R 601-2) as 8-bit values [n, 1, H, W]."""
    red, green, blue = images.split(1, 1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def brightness(images: Tensor, factor: Strength) -> Tensor:
    """Images [n, 3, H, W] times the factor (1: unchanged), not yet clipped or rounded."""
    return images * factor


def saturation(images: Tensor, factor: Strength) -> Tensor:
    """Images [n, 3, H, W] mixed with their `grey`: 0 gives grey, 1 the images; not yet clipped or rounded."""
    return torch.lerp(grey(images), images, factor)


def contrast(images: Tensor, factor: Strength) -> Tensor:
    """Images [n, 3, H, W] mixed with the mean of their `grey`, one value an image: 0 gives the mean, 1 the images; not
    yet clipped or rounded."""
    # Sums of integers are exact (in float32 along a row, in float64 of them all), so that the mean does not depend on
    # how a device splits the sum.
    rows, pixels = grey(images).sum(3, keepdim=True), images.shape[2] * images.shape[3]
    mean = (rows.sum((1, 2, 3), keepdim=True, dtype=torch.float64) / pixels).to(images.dtype)
    return torch.lerp(mean, images, factor)


def hexcone(images: Tensor, turn: Strength) -> tuple[Tensor, Tensor, Tensor]:
    """Images as value and chroma [n, 1, H, W] of HSV (0..255) and `away` [n, 3, H, W], how far the hue, turned by
    `turn` (a full circle is 1), is from that of each channel (0..1): channels are value - chroma * away."""
    red, green, blue = images.split(1, 1)
    value = red.maximum(green).maximum(blue)
    chroma = value - red.minimum(green).minimum(blue)
    # 8-bit values differ by at least 1, or not: 0 and 1 to interpolate by, many times as fast as to choose by booleans.
    is_red, is_green = ((channel - value).add_(1).clamp_(min=0) for channel in (red, green))
    sixth = torch.lerp((red - green).add_(chroma, alpha=4), (blue - red).add_(chroma, alpha=2), is_green)
    sixth = torch.lerp(sixth, green - blue, is_red).div_(chroma.clamp(min=1))  # of the circle, -1 .. 5
    ahead = 6 * turn - torch.arange(0, 6, 2, device=images.device).view(1, 3, 1, 1)  # of red, green, blue
    ahead = ahead - 6 * torch.ceil((ahead + 2) / 6)  # so that sixth + ahead is between -9 and 3
    away = (sixth + (ahead + 3)).abs_().sub_(3).abs_()
    # A channel has its full value up to a sixth away from its own hue, and the least of the three from two sixths on.
    return value, chroma, away.sub_(1).clamp_(0, 1)


def hue(images: Tensor, turn: Strength) -> Tensor:
    """Rotate the hue (HSV) of images [n, 3, H, W] by `turn` (a full circle is 1), keeping saturation and value."""
    value, chroma, away = hexcone(images, turn)
    return torch.addcmul(value, chroma, away, value=-1)


def equalise(images: Tensor, _: Strength) -> Tensor:
    """Spread the histogram of each channel of images [n, 3, H, W] evenly, by the integer rule of PIL's
    ImageOps.equalize."""
    n, channels = images.shape[:2]
    values = images.long().reshape(n * channels, -1)
    histogram = torch.zeros(n * channels, 256, dtype=torch.long, device=images.device)
    with any_order():  # of integers
        histogram.scatter_add_(1, values, torch.ones_like(values[:1, :1]).expand_as(values))
    brightest = histogram.gather(1, values.amax(1, keepdim=True))
    step = torch.div(values.shape[1] - brightest, 255, rounding_mode="floor")
    below = torch.cumsum(histogram, 1) - histogram
    table = torch.div(below + torch.div(step, 2, rounding_mode="floor"), step.clamp(min=1), rounding_mode="floor")
    table = torch.where(step == 0, torch.arange(256, device=images.device), table.clamp(max=255))
    return table.to(images.dtype).gather(1, values).reshape(images.shape)


def posterise(images: Tensor, _: Strength) -> Tensor:
    """Keep the upper 4 of 8 bits of images [n, 3, H, W]."""
    return (images / 16).floor_().mul_(16)


def autocontrast(images: Tensor, _: Strength) -> Tensor:
    """Stretch each channel of images [n, 3, H, W] to 0..255; a channel of one value stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high == low
    return (images - low.masked_fill(flat, 0)).mul_((255 / (high - low)).masked_fill_(flat, 1))


# Strengths are drawn for the first four; the others have none.
OPERATIONS: tuple[Callable[[Tensor, Strength], Tensor], ...] = (
    brightness,
    contrast,
    saturation,
    hue,
    equalise,
    posterise,
    autocontrast,
)
