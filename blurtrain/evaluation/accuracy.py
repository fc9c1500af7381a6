"""Top-1 and top-5 against blur, every image of a split counted exactly once (or of its whole batches, if asked)."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset, EvaluationImages
from blurtrain.data.loader import Loader
from blurtrain.device import tf32
from blurtrain.errors import DataError
from blurtrain.settings import Evaluation, Settings


def cache_key(settings: Settings, images: EvaluationImages, epoch: int) -> str:
    """Hash of everything that the outcome of `accuracy` depends on, beside the run's weights."""
    e = settings.evaluation
    parts: list[Any] = [3, e.split, list(e.sigmas), epoch, settings.blur.model_dump(), settings.data.resolution]
    if settings.curriculum.feature_sigma_at_test(epoch):
        parts.append(settings.curriculum.model_dump())
    if e.drop_last:
        parts.append({"drop_last": e.batch_size})
    if images.pixels == "source":  # the id of the run stands for the others
        parts.append(images.store.folder.name)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def measured(images: int, settings: Evaluation) -> int:
    """How many images of a split of so many are measured: the first ones, in order of index.

    Raises DataError where there is none.
    """
    n = images - (images % settings.batch_size if settings.drop_last else 0)
    if not n:
        raise DataError(
            f"evaluation.drop_last leaves none of the {images} images of {settings.split}, as "
            f"evaluation.batch_size={settings.batch_size} is more: lower that, or measure all"
        )
    return n


@tf32(False)
@torch.inference_mode()
def accuracy(
    model: nn.Module,
    dataset: Dataset,
    loader: Loader,
    transform: Transform,
    settings: Settings,
    *,
    rank: int = 0,
    world: int = 1,
    total: Callable[[Tensor], Tensor] = lambda counts: counts,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Counts of correct images at each sigma of `settings.evaluation` (pixels at the reference resolution), and n, the
    number of images that they are counts of; in float32 whatever the training was in.

    Where several images show one object they are not independent: then `objects` holds the number of images of each
    object, and `top1_by_object` of every level how many of them were right.

    `loader` is one of `dataset.evaluation_images(...)`. The outcome names their store, and how often their pixels were
    resampled: see `EvaluationImages.pixels`.

    The batches are the same for any `world`, so that the counts are too: each process takes every `world`-th of them,
    and `total` adds the counts up; raises RuntimeError if then not every image was counted exactly once. `tick` is
    called equally often by each process, after every batch or in place of one.
    """
    e = settings.evaluation
    images = dataset.evaluation_images(e.split, settings.data.resolution)
    if loader.store != images.store:
        raise RuntimeError(f"the loader reads {loader.store.folder}, but evaluation is on {images.store.folder}")
    n = measured(len(images.indices), e)
    indices, labels = images.indices[:n], images.labels[:n]
    objects = dataset.objects(e.split)
    if objects is not None:  # of the images that are measured, numbered without gaps
        objects = np.unique(objects[: len(indices)], return_inverse=True)[1]
    weights = next(model.parameters())
    device = weights.device
    batches = [indices[k : k + e.batch_size] for k in range(0, len(indices), e.batch_size)]
    order = np.concatenate([*batches[rank::world], indices[:0]])
    # A row a level (top-1, top-5), and a last one for the images themselves (how many, a sum that tells them apart);
    # then a column an object.
    columns = 2 + (0 if objects is None else int(objects.max()) + 1)
    counts = torch.zeros(len(e.sigmas) + 1, columns, dtype=torch.int64, device=device)
    training = model.training
    model.eval()
    for batch in loader.epoch(order, e.batch_size) if len(order) else ():
        resized = transform.resized(batch.images)
        # The split's indices ascend.
        shown = (
            None if objects is None else torch.from_numpy(objects[np.searchsorted(indices, batch.indices)]).to(device)
        )
        for row, blur in enumerate(settings.levels[: len(e.sigmas)]):
            logits = model(transform.blurred(resized, blur, batch.indices).to(weights.dtype))
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices == batch.labels[:, None]
            counts[row, 0] += best[:, 0].sum()
            counts[row, 1] += best.any(1).sum()
            if shown is not None:
                counts[row, 2:].index_add_(0, shown, best[:, 0].long())
        counts[-1, :2] += torch.tensor([len(batch.indices), int(batch.indices.sum())], device=device)
        if shown is not None:
            counts[-1, 2:].index_add_(0, shown, torch.ones_like(shown))
        tick()
    if len(batches) % world and rank >= len(batches) % world:
        tick()
    model.train(training)
    rows = total(counts).tolist()
    if rows[-1][:2] != [len(indices), int(indices.sum())]:
        raise RuntimeError(f"evaluation counted {rows[-1][0]} images, which are not the {len(indices)} of the split")
    return {
        "measure": "accuracy",
        "split": e.split,
        "n": len(indices),
        "drop_last": e.drop_last,
        "classes": len(dataset.classes),
        "largest_class": int(np.bincount(labels).max()),
        "pixels": images.pixels,
        "store": images.store.folder.name,
        "resolution": settings.data.resolution,
        "reference_resolution": settings.blur.reference_resolution,
        "truncate": settings.blur.truncate,
        "light": "linear" if settings.blur.linear_light else "sRGB",
        "objects": None if objects is None else rows[-1][2:],
        "levels": [
            {"sigma": s, "top1": r[0], "top5": r[1]} | ({} if objects is None else {"top1_by_object": r[2:]})
            for s, r in zip(e.sigmas, rows, strict=False)
        ],
    }


def headline(outcome: dict[str, Any]) -> str:
    """The outcome in a line: top-1 at the least and at the most blur."""
    levels, n = outcome["levels"], outcome["n"]
    ends = [levels[0]] if len(levels) == 1 else [levels[0], levels[-1]]
    shown = ", ".join(f"{100 * level['top1'] / n:.1f} % at sigma {level['sigma']:g}" for level in ends)
    return f"top-1 {shown} (n = {n})"
