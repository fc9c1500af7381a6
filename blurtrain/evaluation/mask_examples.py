"""A few test photos, sharp and blurred, their masks, and what networks make of them, as in Figure 5 of Vasiljevic et
al. 2016."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.data.targets import at_size, masks_of
from blurtrain.errors import SettingsError
from blurtrain.evaluation.examples import chosen_images
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.runs import alone
from blurtrain.evaluation.views import eight_bit_blurred, groups_at_size


@dataclass(frozen=True)
class MaskLook:
    """A photo at one blur."""

    pixels: NDArray[np.uint8]
    """[H, W, 3], as networks are shown it."""
    predicted: tuple[NDArray[np.uint8], ...]
    """[H, W], one a network."""


@dataclass(frozen=True)
class MaskExample:
    """One test photo, sharp and blurred."""

    path: str
    """Of its file, within the folder that was prepared."""
    truth: NDArray[np.uint8]
    """[H, W]; 255: void."""
    sharp: MaskLook
    blurred: MaskLook


@torch.inference_mode()
def mask_examples(plans: Sequence[Plan], blur: Blur, count: int = 4) -> list[MaskExample]:
    """`count` test photos of those that the networks of `plans` are measured on, sharp and at `blur`.

    Which ones, see `examples`. Raises SettingsError where networks are shown other photos, or at another size.
    """
    first = plans[0]
    blur.check(first.transform.resolution)
    for plan in plans[1:]:
        same = (plan.images.source.store, plan.transform.resolution) == (
            first.images.source.store, first.transform.resolution)  # fmt: skip
        if not same:
            raise SettingsError(f"{plan.name}: is tested on other photos than {first.name}, or at another size")
    masks, group = masks_of(first.images.source.masks), alone()
    subjects = [first.opened(group)]
    subjects += [plan.beside(subjects[0]) for plan in plans[1:]]
    found = []
    for batch in subjects[0].loader.epoch(chosen_images(first.images, count), 1):
        ((_, sharp),) = groups_at_size(batch, first.transform)
        looks = []
        for level in (Sharp(), blur):
            pixels = eight_bit_blurred(sharp, level, batch.indices, first.transform)
            outputs = [s.network.maps(s.transform.normalise(pixels))[0].argmax(0) for s in subjects]
            seen = pixels[0].to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            looks.append(MaskLook(seen, tuple(out.to(torch.uint8).cpu().numpy() for out in outputs)))
        (row,) = first.images.source.store.rows_at(batch.indices)
        height, width = sharp.shape[-2:]
        truth = at_size(masks.mask(int(batch.indices[0])), (height, width))
        found.append(MaskExample(row["path"], truth, *looks))
    return found
