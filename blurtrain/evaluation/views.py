"""How a network is shown the images of an evaluation: whole at its own size, or by a protocol of scales and crops; or
how several are, whose outputs are averaged."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol as Interface

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from blurtrain.blur.blur import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.errors import SettingsError
from blurtrain.models.dense import Dense, dense
from blurtrain.models.trained import TrainedNetwork
from blurtrain.settings import Protocol

Shown = Callable[[Blur], Tensor]
"""The outputs [N, classes] for the images of a batch at a blur."""


class Views(Interface):
    """One way to show images."""

    def of(self, batch: Batch) -> Shown:
        """What is the same at every blur is done once, here."""
        ...


class Whole:
    """The image at the network's own size; the outputs are logits."""

    def __init__(self, network: TrainedNetwork, transform: Transform):
        self.network, self.transform = network, transform

    def of(self, batch: Batch) -> Shown:
        """See `Views`."""
        resized = at_its_size(batch.images, self.transform)
        return lambda blur: self.network.logits(self.transform.blurred(resized, blur, batch.indices))


class Scaled:
    """By `protocol`; the outputs are log-probabilities, averaged over the crops of each scale and then over scales.

    Such an average is the log of a geometric mean, which sums to less than 1. A measure takes it as logits, that is, it
    looks at the softmax of the average: entropy and cross-entropy are those of the geometric mean, normalised. Top-1
    and top-5 are the same either way.

    transform: at the resolution `protocol.defined_at` (`blurred_at`). There the image is rounded to 8 bits, before it
    is blurred and after; each scale is resized from that, antialiased, by the interpolation of the network's
    preprocessing, and not rounded. Raises SettingsError, one line, where the network cannot be applied so, or is not
    for one of the scales.
    """

    def __init__(self, network: TrainedNetwork, transform: Transform, protocol: Protocol):
        self.network, self.transform, self.protocol = network, transform, protocol
        check_protocol(network.module, network.preprocessing.crop, network.origin, protocol)

    @cached_property
    def _dense(self) -> Dense:
        return dense(self.network.module, self.network.preprocessing.crop, self.network.origin)

    def of(self, batch: Batch) -> Shown:
        """See `Views`. Images of one shape go together."""
        groups = groups_at_size(batch, self.transform)

        def shown(blur: Blur) -> Tensor:
            found = [
                self._averaged(eight_bit_blurred(some, blur, batch.indices[rows], self.transform))
                for rows, some in groups
            ]
            if len(found) == 1:
                return found[0]
            place = torch.from_numpy(np.argsort(np.concatenate([rows for rows, _ in groups])))
            return torch.cat(found)[place.to(found[0].device)]

        return shown

    def _averaged(self, images: Tensor) -> Tensor:
        at_scales = [self._at(images, scale).log_softmax(2).mean(1) for scale in self.protocol.scales]
        return torch.stack(at_scales).mean(0)

    def _at(self, images: Tensor, scale: int) -> Tensor:
        """Logits [N, places, classes] at a scale."""
        network, side = self.network, self.network.preprocessing.crop
        shown = scaled(images, scale / self.protocol.defined_at, network.preprocessing.interpolation)
        shown = self.transform.normalise(shown).to(next(network.module.parameters()).dtype)
        if self.protocol.crops == "all":
            logits = self._dense.logits(shown)
        else:
            corners = places(shown.shape, side, self.protocol.crops)
            crops = [shown[..., top : top + side, left : left + side] for top, left in corners]
            logits = torch.stack([network.module(crop.contiguous()) for crop in crops], dim=1)
        return logits if network.outputs is None else logits[..., list(network.outputs)]


class Averaged:
    """Several networks, each shown the images in its own way: the mean of their log-probabilities.

    Such a mean is the log of a geometric mean, as that over crops and scales is, and taken as logits like it. What a
    protocol has averaged is normalised before, so that each network counts as probabilities that sum to 1.
    """

    def __init__(self, members: Sequence[Views]):
        self.members = members

    def of(self, batch: Batch) -> Shown:
        """See `Views`."""
        shown = [member.of(batch) for member in self.members]
        return lambda blur: torch.stack([own(blur).float().log_softmax(1) for own in shown]).mean(0)


def of_one_shape(batch: Batch) -> list[tuple[NDArray[np.int64], Tensor]]:
    """The images of a batch as they are seen, those of one shape together [n, 3, H, W], and their places in it."""
    if batch.sides is None:
        return [(np.arange(len(batch.indices)), batch.images)]
    shapes, which = np.unique(batch.sides, axis=0, return_inverse=True)
    groups = []
    for shape, (height, width) in enumerate(shapes.tolist()):
        rows = np.flatnonzero(which.reshape(-1) == shape)
        lying = batch.images[torch.from_numpy(rows).to(batch.images.device)]
        seen = lying[..., :height, :width] if height <= width else lying[..., :width, :height].transpose(-1, -2)
        groups.append((rows, seen))
    return groups


def blurred_at(transform: Transform, protocol: Protocol | None) -> Transform:
    """`transform` at the size where images are blurred; none: at the network's own."""
    return transform if protocol is None else replace(transform, resolution=protocol.defined_at)


def groups_at_size(batch: Batch, transform: Transform) -> list[tuple[NDArray[np.int64], Tensor]]:
    """`of_one_shape` [n, 3, h, w], at the size where images are blurred (`at_its_size`): by the side that their store's
    size is of, the smaller one or the geometric mean of both."""
    stored = batch.images.shape[-2]  # the height of the canvas
    return [(rows, at_its_size(some, transform, stored)) for rows, some in of_one_shape(batch)]


def at_its_size(images: Tensor, transform: Transform, stored: int | None = None) -> Tensor:
    """Images [n, 3, H, W] as they are seen, all of one shape, at the size where they are blurred, as 8-bit values in
    float32: squares of that side, or where they keep their aspect as much larger or smaller as that is than `stored`,
    the size of their store."""
    if images.shape[-1] == images.shape[-2]:
        return transform.resized(images)
    return _eight_bit(scaled(images.float(), transform.resolution / (stored or min(images.shape[-2:])), "bilinear"))


def eight_bit_blurred(images: Tensor, blur: Blur, indices: NDArray[np.int64], transform: Transform) -> Tensor:
    """Images [n, 3, h, w] in 0..255, as `at_its_size` gives them, blurred (and deblurred, where the transform says so),
    and again as 8-bit values in float32."""
    return _eight_bit(transform.blurred_pixels(images, blur, indices))


def _eight_bit(images: Tensor) -> Tensor:
    return images.clamp(0, 255).round()


def scaled(images: Tensor, ratio: float, interpolation: str) -> Tensor:
    """Images [N, C, H, W], resized to round(ratio * H) and round(ratio * W) pixels, antialiased."""
    size = [round(ratio * side) for side in images.shape[-2:]]
    if size == list(images.shape[-2:]):
        return images
    return interpolate(images, size, mode=interpolation, antialias=True, align_corners=False)


def places(shape: torch.Size, side: int, crops: str) -> list[tuple[int, int]]:
    """Top and left of crops of `side` pixels: the centre, or also the four corners, as torchvision's FiveCrop."""
    down, across = shape[-2] - side, shape[-1] - side
    centre = [(round(down / 2), round(across / 2))]
    return centre if crops == "centre" else [(0, 0), (0, across), (down, 0), (down, across), *centre]


def check_whole(protocol: Protocol) -> None:
    """Raise SettingsError where a network for masks, which is shown whole images, cannot be tested by `protocol`."""
    if protocol.crops != "all" or protocol.scales != (protocol.defined_at,) or protocol.images_per_class:
        raise SettingsError(
            "evaluation.protocol: networks for masks are shown all images, whole, at the size where these are blurred: "
            f"set scales=[{protocol.defined_at}], as defined_at says, and leave crops and images_per_class out"
        )


@torch.inference_mode()
def check_protocol(module: nn.Module, side: int, name: str, protocol: Protocol) -> None:
    """Raise SettingsError, one line, where `module` (for images of `side` pixels; `name`: what the line calls it)
    cannot be tested by `protocol`."""
    try:
        protocol.check_crop(side)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None
    if protocol.crops != "all":
        return
    parts = dense(module, side, name)

    def refusal(scale: int) -> str:
        try:
            parts.logits(torch.zeros(1, 3, scale, scale).to(next(module.parameters())))
        except Exception as error:  # each network has its own way to refuse
            return str(error).split("\n")[0].rstrip(". ") or type(error).__name__
        return ""

    # Those above its own side it takes: `dense` has tried one.
    refused = {scale: said for scale in protocol.scales if scale < side and (said := refusal(scale))}
    if refused:
        scale, said = next(iter(refused.items()))
        fitting = [other for other in protocol.scales if other not in refused]
        least = next((s for s in range(scale + 16 - scale % 16, side, 16) if not refusal(s)), side)
        cure = f"scales={fitting} would fit" if fitting else f"scales of {least} and more would fit"
        raise SettingsError(
            f"{name}: evaluation.protocol: scale {scale} is smaller than the network takes ({said}): {cure}"
        )
