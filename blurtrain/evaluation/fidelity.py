"""Blurred images, and what is made of them, beside the sharp ones that they are of: by level of blur, at 8 bits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.data.augment import Transform
from blurtrain.device import tf32
from blurtrain.evaluation.per_image import collected, rows_of
from blurtrain.evaluation.quality import MOST_PSNR, psnr
from blurtrain.evaluation.subject import Found, Records, Subject
from blurtrain.evaluation.sweep import sigma_of
from blurtrain.evaluation.views import eight_bit_blurred, groups_at_size

DECIBELS: Mapping[str, Any] = {"unit": "dB", "digits": 2, "better": "higher", "most": MOST_PSNR}
SIMILARITY: Mapping[str, Any] = {"digits": 3, "better": "higher", "most": 1}
GAINED: Mapping[str, Any] = {"label": "images whose PSNR rises", "unit": "%", "times": 100, "digits": 1,
                             "better": "higher"}  # fmt: skip

Values = Callable[[Tensor, Tensor, Blur, NDArray[np.int64]], dict[str, Tensor]]
"""From sharp images [n, 3, H, W] of 0..255 at 8 bits, the same blurred, the blur, and their places in the store, to
named values [n]: booleans are counted, numbers averaged."""


@tf32(False)
@torch.inference_mode()
def beside_sharp(
    subject: Subject, transform: Transform, levels: Sequence[Blur], values: Values, per_image: bool
) -> Found:
    """What `values` says of all images at each level, blurred by `transform` at its size. Every process calls it.

    Raises RuntimeError if not every image was seen exactly once.
    """
    images, group = subject.images, subject.group
    parts: list[dict[str, Records]] = []
    for batch in images.batches(subject.loader, group.rank, group.world):
        if batch is not None:
            groups = groups_at_size(batch, transform)
            parts += [_of_images(transform, sharp, batch.indices[rows], levels, values) for rows, sharp in groups]
        subject.tick()
    records = collected(parts, [blur.label for blur in levels], images, group, "fidelity")
    reference = transform.blur.reference_resolution
    rows = [row for blur in levels for row in rows_of(blur.label, sigma_of(blur, reference), records[blur.label])]
    return Found(rows, records if per_image else {})


def gain(found: Tensor, given: Tensor, sharp: Tensor) -> dict[str, Tensor]:
    """By how much PSNR, in dB, is higher than that of the images that were given, and whether it is: [N] each, of
    images [N, 3, H, W] in 0..255."""
    more = psnr(found, sharp) - psnr(given, sharp)
    return {"psnr_gain": more, "gained": more > 0}


def _of_images(
    transform: Transform, sharp: Tensor, indices: NDArray[np.int64], levels: Sequence[Blur], values: Values
) -> dict[str, Records]:
    """Of images of one shape, at their size, at all levels."""
    found: dict[str, Records] = {}
    for blur in levels:
        own = values(sharp, eight_bit_blurred(sharp, blur, indices, transform), blur, indices)
        found[blur.label] = {"index": indices, **{name: value.cpu().numpy() for name, value in own.items()}}
    return found
