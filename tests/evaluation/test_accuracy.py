import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blurtrain.blur.blurs import Gaussian, Sharp
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import Loader, ResidentLoader
from blurtrain.errors import DataError
from blurtrain.evaluation.accuracy import accuracy, cache_key, headline
from blurtrain.settings import Settings

CPU = torch.device("cpu")


class MeanColour(nn.Module):
    """Scores classes by fixed linear functions of the image's mean colour: right for some images, wrong for others."""

    def __init__(self, classes: int):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.mean((2, 3)))


def outcome(dataset: Dataset, settings: Settings, loader: Loader | None = None, **share: object) -> dict:
    model = MeanColour(len(dataset.classes))
    loader = loader or ResidentLoader(
        dataset.evaluation_images(settings.evaluation.split, settings.data.resolution), CPU
    )
    return accuracy(model, dataset, loader, Transform.of(settings, dataset), settings, **share)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 1000])
def test_every_test_image_is_counted_once_whatever_the_batch(
    prepared: Dataset, tiny: Callable[..., Settings], batch_size: int
) -> None:
    settings = tiny(evaluation={"sigmas": [0, 2, 8], "batch_size": batch_size})
    found = outcome(prepared, settings)
    images = prepared.evaluation_images("test", settings.data.resolution)
    assert found["n"] == len(images.indices) == len(prepared.split("test")[0])
    # The same, one image at a time and without any of the suite's batching.
    model, transform = MeanColour(len(prepared.classes)), Transform.of(settings, prepared)
    for level in found["levels"]:
        blur = Gaussian(sigma=level["sigma"]) if level["sigma"] else Sharp()
        right = 0
        for index, label in zip(images.indices, images.labels, strict=True):
            image = torch.from_numpy(images.store.read(np.array([index]))).permute(0, 3, 1, 2)
            right += int(model(transform.blurred(transform.resized(image), blur, index[None])).argmax()) == label
        assert level["top1"] == right
        assert level["top1"] <= level["top5"] <= found["n"]
    assert found["largest_class"] == np.bincount(images.labels).max()


def test_accuracy_is_measured_without_tf32(prepared: Dataset, tiny: Callable[..., Settings]) -> None:
    """torch lets GPUs use it in convolutions unless it is asked not to."""
    seen = set()

    class Watching(MeanColour):
        def forward(self, images: Tensor) -> Tensor:
            seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            return super().forward(images)

    model, settings, before = Watching(len(prepared.classes)), tiny(), torch.backends.cudnn.allow_tf32
    for _ in range(2):
        transform = Transform.of(settings, prepared)
        accuracy(model, prepared, ResidentLoader(prepared.evaluation_images("test", 64), CPU), transform, settings)
        assert torch.backends.cudnn.allow_tf32 == before
    assert before and seen == {(False, False)}


def test_the_last_partial_batch_is_dropped_where_that_is_asked_for(
    prepared: Dataset, tiny: Callable[..., Settings]
) -> None:
    """Of nine test images in batches of four, eight: those are the n, the counts and the largest class."""
    whole = outcome(prepared, tiny(evaluation={"sigmas": [0], "batch_size": 4}))
    found = outcome(prepared, tiny(evaluation={"sigmas": [0], "batch_size": 4, "drop_last": True}))
    assert (whole["n"], whole["drop_last"]) == (9, False)
    assert (found["n"], found["drop_last"], found["largest_class"]) == (8, True, 3)
    single = outcome(prepared, tiny(evaluation={"sigmas": [0], "batch_size": 8, "drop_last": True}))
    assert single == found, "the same images in one batch"
    with pytest.raises(DataError, match=r"^evaluation\.drop_last leaves none of the 9 images of test, as .*=10 is"):
        outcome(prepared, tiny(evaluation={"batch_size": 10, "drop_last": True}))


def test_shares_add_up_at_any_world_size_and_a_lost_image_is_an_error(
    prepared: Dataset, tiny: Callable[..., Settings]
) -> None:
    settings = tiny(evaluation={"batch_size": 2})
    places = int(prepared.evaluation_images("test", settings.data.resolution).indices.sum())
    whole = outcome(prepared, settings)
    sums: list[Tensor] = []
    ticks: list[int] = []

    def collect(counts: Tensor) -> Tensor:
        sums.append(counts.clone())
        pretended = torch.full_like(counts, whole["n"])  # as if the others were there
        pretended[-1, 1] = places
        return pretended

    for rank in range(3):
        ticks.append(0)

        def tick() -> None:
            ticks[-1] += 1

        outcome(prepared, settings, rank=rank, world=3, total=collect, tick=tick)
    assert ticks == [2, 2, 2], "five batches for three processes, which keep step"
    added = torch.stack(sums).sum(0).tolist()
    assert added[-1] == [whole["n"], places]
    assert [row[0] for row in added[:-1]] == [level["top1"] for level in whole["levels"]]
    with pytest.raises(RuntimeError, match="counted"):
        outcome(prepared, settings, rank=0, world=3)


class Toys(Dataset):
    """`prepared`, as if every three of its test images showed one object, and one the last."""

    def objects(self, split: str) -> np.ndarray:
        return np.array([2, 0, 0, 1, 1, 1, 0, 3, 3])


@pytest.mark.parametrize("world", [1, 2])
def test_right_images_are_counted_by_object(prepared: Dataset, tiny: Callable[..., Settings], world: int) -> None:
    settings = tiny(evaluation={"batch_size": 2, "sigmas": [0, 2, 8]})
    toys, sums = Toys(prepared.folder), list[Tensor]()
    for rank in range(world):
        with contextlib.suppress(RuntimeError):  # each by itself has not counted all
            outcome(
                toys, settings, rank=rank, world=world, total=lambda counts: (sums.append(counts.clone()), counts)[1]
            )
    whole = torch.stack(sums).sum(0)
    found = outcome(toys, settings, total=lambda _: whole)
    assert found["objects"] == [3, 3, 1, 2]
    images = prepared.evaluation_images("test", settings.data.resolution)
    model, transform = MeanColour(len(prepared.classes)), Transform.of(settings, prepared)
    for level in found["levels"]:
        right = np.zeros(4, int)
        for index, label, shown in zip(images.indices, images.labels, toys.objects("test"), strict=True):
            image = transform.resized(torch.from_numpy(images.store.read(np.array([index]))).permute(0, 3, 1, 2))
            blur = Gaussian(sigma=level["sigma"]) if level["sigma"] else Sharp()
            blurred = transform.blurred(image, blur, np.array([index]))
            right[shown] += int(model(blurred).argmax()) == label
        assert level["top1_by_object"] == right.tolist()
        assert level["top1"] == right.sum()
    assert outcome(prepared, settings)["objects"] is None


def test_the_key_of_an_outcome_changes_with_what_it_depends_on(
    prepared: Dataset, tiny: Callable[..., Settings]
) -> None:
    source = prepared.evaluation_images("test", 64)
    stored = dataclasses.replace(source, store=prepared.store, pixels="stored")
    others = dataclasses.replace(source, store=prepared.store)
    keys = {
        cache_key(tiny(), source, 2),
        cache_key(tiny(), others, 2),
        cache_key(tiny(), stored, 2),
        cache_key(tiny(), source, 3),
        cache_key(tiny(evaluation={"split": "val"}), source, 2),
        cache_key(tiny(evaluation={"sigmas": [0, 4]}), source, 2),
        cache_key(tiny(blur={"truncate": 2}), source, 2),
        cache_key(tiny(evaluation={"drop_last": True}), source, 2),
        cache_key(tiny(evaluation={"drop_last": True, "batch_size": 3}), source, 2),
    }
    assert len(keys) == 9
    assert cache_key(tiny(evaluation={"batch_size": 3}), source, 2) in keys


def test_an_outcome_names_its_pixels_and_their_store(prepared: Dataset, tiny: Callable[..., Settings]) -> None:
    assert prepared.test_store
    for split, pixels, store in (
        ("test", "source", prepared.test_store),
        ("val", "source", prepared.test_store),
        ("train", "stored", prepared.store),
    ):
        found = outcome(prepared, tiny(evaluation={"split": split}))
        assert (found["pixels"], found["store"]) == (pixels, store.folder.name)


def test_a_loader_of_other_images_is_refused(prepared: Dataset, tiny: Callable[..., Settings]) -> None:
    with pytest.raises(RuntimeError, match=r"the loader reads .*, but evaluation is on"):
        outcome(prepared, tiny(), ResidentLoader(prepared, CPU))


def test_headline_gives_its_n(prepared: Dataset, tiny: Callable[..., Settings], tmp_path: Path) -> None:
    found = outcome(prepared, tiny())
    assert f"n = {found['n']}" in headline(found)
    json.dumps(found)
