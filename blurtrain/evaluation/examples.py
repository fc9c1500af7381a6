"""A few test images of a run, sharp and blurred, and what its network takes them for, as in Figures 1 and 3 of
Vasiljevic et al. 2016."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.blur.light import linear_light, srgb
from blurtrain.data.batches import Batch
from blurtrain.errors import DataError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.runs import alone, open_run, subject_of
from blurtrain.evaluation.subject import Subject
from blurtrain.evaluation.views import scaled

TOP = 5


@dataclass(frozen=True)
class Look:
    """An image at one blur."""

    pixels: NDArray[np.uint8]
    """[H, W, 3], at the size where it is blurred."""
    classes: tuple[str, ...]
    """The likeliest, at most five, by falling probability."""
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Example:
    """One test image, sharp and blurred."""

    path: str
    """Of its file, within the folder that was prepared."""
    label: str
    """The right class, as the network calls it."""
    sharp: Look
    blurred: Look


def examples(
    folder: Path, blur: Blur, count: int = 4, overrides: Sequence[str] = (), *, epoch: int | None = None
) -> list[Example]:
    """`count` test images of the run in `folder`, as it is evaluated (`evaluation.*` overridden), sharp and at `blur`.

    Which ones does not depend on what the network says of them, nor on the run: those whose paths have the lowest
    hashes, of as many classes as there are. Raises what `evaluate_run` raises, and DataError where there are fewer.
    """
    group = alone()
    run, settings, dataset = open_run(folder, overrides, epoch)
    images = Images.of(dataset, settings.evaluation, settings.data.resolution)
    subject = subject_of(run, settings, dataset, images, epoch, group)
    blur.check(subject.transform.resolution)
    chosen = _chosen(images, count)
    subject.network.module.eval()
    with torch.inference_mode():
        return [_example(subject, batch, blur) for batch in subject.loader.epoch(chosen, 1)]


def _chosen(images: Images, count: int) -> NDArray[np.int64]:
    """Places in the store: the first image of each class by the hash of its path, then the second of each."""
    if not 1 <= count <= images.n:
        raise DataError(
            f"{count} example images: the {images.split} split has {images.n} to choose from; give 1 or more"
        )
    label = dict(zip(images.source.indices.tolist(), images.source.labels.tolist(), strict=True))
    rows = images.source.store.rows
    hashed = sorted(images.indices.tolist(), key=lambda k: hashlib.sha256(rows[k]["path"].encode()).hexdigest())
    before: dict[int, int] = {}
    turns = []
    for index in hashed:
        turns.append(before.get(label[index], 0))
        before[label[index]] = turns[-1] + 1
    return np.array(hashed, np.int64)[np.argsort(turns, kind="stable")[:count]]


def _example(subject: Subject, batch: Batch, blur: Blur) -> Example:
    shown = subject.views().of(batch)
    pixels = _at_its_size(subject, batch)
    looks = [_look(subject, batch, pixels, level, shown(level)) for level in (Sharp(), blur)]
    names = subject.network.classes
    path = subject.images.source.store.rows[int(batch.indices[0])]["path"]
    return Example(path, names[int(batch.labels[0])], *looks)


def _look(subject: Subject, batch: Batch, pixels: Tensor, blur: Blur, outputs: Tensor) -> Look:
    found = outputs[0].float().softmax(0).topk(min(TOP, outputs.shape[1]))
    units, resolution = subject.transform.blur, subject.transform.resolution
    light = linear_light(pixels) if units.linear_light else pixels
    light = blur.blurred(light, batch.indices, resolution=resolution, truncate=units.truncate)
    seen = (srgb(light) if units.linear_light else light).clamp(0, 255).round().to(torch.uint8)
    names = tuple(subject.network.classes[k] for k in found.indices.tolist())
    return Look(seen[0].permute(1, 2, 0).cpu().numpy(), names, tuple(found.values.tolist()))


def _at_its_size(subject: Subject, batch: Batch) -> Tensor:
    """The image [1, 3, H, W] where it is blurred, in 0..255: of its own shape by a protocol, else squared."""
    if subject.protocol is None or batch.sides is None:
        return subject.transform.resized(batch.images, batch.sides)
    height, width = batch.sides[0].tolist()
    upright = height > width
    lying = batch.images[..., : min(height, width), : max(height, width)]
    seen = lying.transpose(-1, -2) if upright else lying
    ratio = subject.transform.resolution / min(height, width)
    return scaled(seen.float(), ratio, "bilinear").clamp(0, 255).round()
