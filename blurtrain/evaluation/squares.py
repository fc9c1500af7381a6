"""Images as the layers of a network are shown them, where its outputs are not wanted: squares, at some scales."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from blurtrain.blur.blur import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.evaluation.subject import Subject
from blurtrain.evaluation.views import at_its_size, eight_bit_blurred, groups_at_size, scaled
from blurtrain.models.trained import TrainedNetwork

Shown = Callable[[Blur], list[Tensor]]
"""The images of a batch at a blur: normalised [N, 3, S, S] at each scale."""


class Squares:
    """Without scales, the images as the network itself sees them. At each of `scales`, the whole central square of an
    image whose smaller side has so many pixels: blurred where the transform has its resolution, rounded to 8 bits
    before and after, and then resized, as a protocol does (`blurtrain.evaluation.views.Scaled`)."""

    def __init__(self, network: TrainedNetwork, transform: Transform, scales: Sequence[int]):
        self.network, self.transform, self.scales = network, transform, tuple(scales)
        self._dtype = next(network.module.parameters()).dtype

    @classmethod
    def of_subject(cls, subject: Subject, scales: Sequence[int]) -> "Squares":
        """None given: those of its protocol, where it has one."""
        own = subject.protocol.scales if subject.protocol else ()
        return cls(subject.network, subject.transform, tuple(dict.fromkeys(scales or own)))

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the squares, in pixels, one a scale."""
        return self.scales or (self.network.preprocessing.crop,)

    def of(self, batch: Batch) -> Shown:
        """What is the same at every blur is done once, here."""
        if not self.scales:
            resized = at_its_size(batch.images, self.transform)

            def whole(blur: Blur) -> list[Tensor]:
                blurred = self.transform.blurred(resized, blur, batch.indices)
                return [self.network.preprocessing.cropped(blurred).to(self._dtype)]

            return whole
        groups = groups_at_size(batch, self.transform)
        order = torch.from_numpy(np.argsort(np.concatenate([rows for rows, _ in groups]))).to(batch.images.device)

        def at_scales(blur: Blur) -> list[Tensor]:
            blurred = [eight_bit_blurred(some, blur, batch.indices[rows], self.transform) for rows, some in groups]
            each = [torch.cat([self._square(some, scale) for some in blurred]) for scale in self.scales]
            return [self.transform.normalise(squares[order]).to(self._dtype) for squares in each]

        return at_scales

    def _square(self, images: Tensor, scale: int) -> Tensor:
        shown = scaled(images, scale / self.transform.resolution, self.network.preprocessing.interpolation)
        top, left = (round((side - scale) / 2) for side in shown.shape[-2:])
        return shown[..., top : top + scale, left : left + scale]

    def pixels(self, squares: Tensor) -> Tensor:
        """Normalised images [N, 3, S, S] as uint8 [N, S, S, 3], to be looked at."""
        mean, sd = (
            torch.tensor(v, device=squares.device).view(3, 1, 1) for v in (self.transform.mean, self.transform.sd)
        )
        return (255 * (squares.float() * sd + mean)).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
