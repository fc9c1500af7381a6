"""Training images as the network sees them along a run: augmented, and blurred as its curriculum says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import open_loader
from blurtrain.data.training_batches import TrainingBatches
from blurtrain.errors import DataError
from blurtrain.settings import Settings


@dataclass(frozen=True)
class TrainingView:
    """One image in one epoch."""

    epoch: int
    """1: the first."""
    blur: str
    """`sigma 4` (pixels at the reference resolution), or the label of another kernel; ` at 64 px` where the epoch is
    trained at fewer pixels."""
    pixels: NDArray[np.uint8]
    """[S, S, 3], without the normalisation; those of an epoch that is trained at fewer are enlarged to as many."""


def training_views(
    settings: Settings, dataset: Dataset, count: int, epochs: Sequence[int]
) -> list[list[TrainingView | None]]:
    """For each of `count` training images, its views in these epochs (1: the first); None where an epoch leaves the
    image out, as its last, partial batch is.

    The images are those that the first epoch begins with. settings: as `Transform.of` takes them. Raises DataError
    where there are not so many in an epoch, or where the pixels cannot be read.
    """
    batches = TrainingBatches(
        open_loader(settings.loader, dataset, torch.device("cpu")),
        Transform.of(settings, dataset),
        settings.curriculum,
        dataset.split("train")[0],
        seed=settings.seed,
        batch_size=settings.optimisation.batch_size,
        epochs=settings.optimisation.epochs,
        reduced=settings.data.reduced,
    )
    order = batches.epoch(0).global_order
    if not 1 <= count <= len(order):
        raise DataError(f"{count} training images: an epoch has {len(order)}; give 1 or more")
    by_epoch = [_views(batches, epoch - 1, order[:count]) for epoch in epochs]
    return [list(of_image) for of_image in zip(*by_epoch, strict=True)]


def _views(batches: TrainingBatches, epoch: int, indices: NDArray[np.int64]) -> list[TrainingView | None]:
    whole, side = batches.epoch(epoch), batches.transform.resolution
    transform, reduced = whole.transform, whole.resolution != side
    place = {int(index): k for k, index in enumerate(whole.global_order)}
    shown = [index for index in indices.tolist() if index in place]
    found: dict[int, TrainingView] = {}
    for batch in batches.loader.epoch(np.array(shown, np.int64), 1) if shown else ():
        (index,) = batch.indices.tolist()
        own = whole.assignment.reshape(-1)[np.array([place[index]])]
        image = transform.train(batch.images, batch.indices, epoch, own, batch.sides)[0].float()
        mean, sd = (torch.tensor(values).reshape(3, 1, 1) for values in (transform.mean, transform.sd))
        pixels = ((image * sd + mean) * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        blur = f"sigma {own.sigmas[0]:.3g}" if own.which is None else own.blurs[int(own.which[0])].label
        if reduced:
            blur += f" at {whole.resolution} px"
            pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))
        found[index] = TrainingView(epoch + 1, blur, pixels)
    return [found.get(index) for index in indices.tolist()]
