"""Datasets from trees as people give them: what cannot act, or would spoil the result, is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurtrain.data.dataset import remove
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import DataError


def grow(root: Path, folders: dict[str, int]) -> Path:
    """So many small images of noise in each folder."""
    for n, (folder, count) in enumerate(folders.items()):
        (root / folder).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng([n, k]).integers(0, 256, (12 + k, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{k}.png")
    return root


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A tree kind/object/image.png: 2 kinds of 5 objects of 4 images."""
    return grow(tmp_path / "toys", {f"{kind}/{kind}_{k}": 4 for kind in ("ball", "cup") for k in range(5)})


def recipe(images: Path, **options: Any) -> Recipe:
    return Recipe(images=str(images), stored=16, **options)


@pytest.mark.parametrize("given", [{"val": 0.2}, {"test": 0.1}, {"split_seed": 1}, {"hold_out": "leaves"}])
def test_what_cannot_act_on_a_tree_with_splits_is_refused(tmp_path: Path, given: dict[str, Any]) -> None:
    grow(tmp_path / "t", {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    with pytest.raises(
        DataError, match=rf"has splits of its own \(test, train\), so that {next(iter(given))} cannot act"
    ):
        prepare(tmp_path / "data", "x", Recipe(images=str(tmp_path / "t"), resolution=16, **given))


def test_one_class_is_refused(tmp_path: Path) -> None:
    grow(tmp_path / "t", {"photos": 9})
    with pytest.raises(DataError, match="only one class, 'photos': there is nothing to learn"):
        prepare(tmp_path / "data", "x", recipe(tmp_path / "t"))


def test_test_images_among_training_images_are_refused_unless_allowed(tmp_path: Path) -> None:
    grow(tmp_path / "t", {"train/a": 3, "train/b": 3})
    shutil.copytree(tmp_path / "t" / "train", tmp_path / "t" / "test")
    said = Recipe(images=str(tmp_path / "t"), resolution=16)
    with pytest.raises(DataError, match=r"6 images lie in several splits, byte for byte the same \(6 in train and"):
        prepare(tmp_path / "data", "x", said)
    allowed, _ = prepare(tmp_path / "data", "x", said.model_copy(update={"duplicates": "allowed"}))
    assert allowed.manifest["counts"] == {"train": 6, "test": 6}
    assert "duplicates" not in said.request, "older datasets stay as they are"


def test_a_channel_of_one_value_can_be_normalised(tmp_path: Path) -> None:
    for k in range(8):
        (tmp_path / "t" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 256, (16, 16, 3), np.uint8)
        pixels[..., 2] = 7
        Image.fromarray(pixels).save(tmp_path / "t" / "ab"[k % 2] / f"{k}.png")
    manifest = prepare(tmp_path / "data", "x", recipe(tmp_path / "t", val=0, test=0))[0].manifest
    assert manifest["sd"][2] == max(manifest["sd"][:2]) > 0.1


def test_what_nothing_uses_is_removed(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    one, two = prepare(root, "one", recipe(toys))[0], prepare(root, "two", recipe(toys, label=1))[0]
    assert one.store.folder == two.store.folder
    with pytest.raises(DataError, match="dataset 'oen' is not prepared"):
        remove(root, ["two", "oen"])
    assert remove(root, ["one"]) > 0
    two.check()
    assert not (root / "one").exists()
    assert remove(root, ["two"]) > 0 and not list((root / ".stores").iterdir())
