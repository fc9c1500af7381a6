"""A few test images, sharp and blurred, and what a network takes them for, as in Figures 1 and 3 of Vasiljevic et al.
2016."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import Sharp
from blurtrain.data.batches import Batch
from blurtrain.errors import DataError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.runs import alone
from blurtrain.evaluation.subject import Subject
from blurtrain.evaluation.views import eight_bit_blurred, groups_at_size

TOP = 5


@dataclass(frozen=True)
class Look:
    """An image at one blur."""

    pixels: NDArray[np.uint8]
    """[H, W, 3], at the size where it is blurred: what the network sees of it, or its crops are from."""
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


def examples(plan: Plan, blur: Blur, count: int = 4) -> list[Example]:
    """`count` test images of those that the network of `plan` is measured on, sharp and at `blur`.

    Which ones does not depend on what the network says of them, nor on which it is: those whose paths have the lowest
    hashes, of as many classes as there are. Raises BlurtrainErrors: where there are fewer, where weights cannot be
    read, or where the network cannot be shown images so.
    """
    blur.check(plan.transform.resolution)
    chosen = chosen_images(plan.images, count)
    subject = plan.opened(alone())
    subject.network.module.eval()
    with torch.inference_mode():
        return [_example(subject, batch, blur) for batch in subject.loader.epoch(chosen, 1)]


def chosen_images(images: Images, count: int) -> NDArray[np.int64]:
    """Places in the store [count]: the first image of each class by the hash of its path, then the second of each.
    Raises DataError where there are fewer."""
    if not 1 <= count <= images.n:
        raise DataError(
            f"{count} example images: the {images.split} split has {images.n} to choose from; give 1 or more"
        )
    label = dict(zip(images.source.indices.tolist(), images.source.labels.tolist(), strict=True))
    places = images.indices.tolist()
    paths = dict(zip(places, (row["path"] for row in images.source.store.rows_at(places)), strict=True))
    hashed = sorted(places, key=lambda k: hashlib.sha256(paths[k].encode()).hexdigest())
    before: dict[int, int] = {}
    turns = []
    for index in hashed:
        turns.append(before.get(label[index], 0))
        before[label[index]] = turns[-1] + 1
    return np.array(hashed, np.int64)[np.argsort(turns, kind="stable")[:count]]


def _example(subject: Subject, batch: Batch, blur: Blur) -> Example:
    network, shown = subject.network, subject.views().of(batch)
    ((_, sharp),) = groups_at_size(batch, subject.transform)
    looks = []
    for level in (Sharp(), blur):
        pixels = eight_bit_blurred(sharp, level, batch.indices, subject.transform)
        pixels = network.preprocessing.cropped(pixels) if subject.protocol is None else pixels
        looks.append(_look(pixels, shown(level), network.classes))
    (row,) = subject.images.source.store.rows_at(batch.indices[:1])
    return Example(row["path"], network.classes[int(batch.labels[0])], *looks)


def _look(pixels: Tensor, outputs: Tensor, names: Sequence[str]) -> Look:
    found = outputs[0].float().softmax(0).topk(min(TOP, outputs.shape[1]))
    seen = pixels[0].to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Look(seen, tuple(names[k] for k in found.indices.tolist()), tuple(found.values.tolist()))
