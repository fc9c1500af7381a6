import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blurtrain.data.augment import Transform
from blurtrain.data.catalog import Dataset
from blurtrain.data.loader import Loader, ResidentLoader
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
        sigma = level["sigma"] * settings.data.resolution / 224
        right = 0
        for index, label in zip(images.indices, images.labels, strict=True):
            image = torch.from_numpy(images.store.read(np.array([index]))).permute(0, 3, 1, 2)
            right += int(model(transform.blurred(transform.resized(image), sigma)).argmax()) == label
        assert level["top1"] == right
        assert level["top1"] <= level["top5"] <= found["n"]
    assert found["largest_class"] == np.bincount(images.labels).max()


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
    }
    assert len(keys) == 7
    assert cache_key(tiny(evaluation={"batch_size": 3}), source, 2) in keys
    assert cache_key(tiny(), stored, 2) == "7f36a7a5ec2a", "as measured before there were test stores"


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
