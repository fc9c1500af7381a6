"""Photos that detectors are tested on: one split of a folder, and which of them are training images."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preparation.tested import Shown, shown, trained_on, training_files
from blurtrain.errors import DataError
from blurtrain.schema import validate

CLASSES = ("motion_blurred", "sharp")


def photos(folder: Path, scenes: int = 3) -> Path:
    """A photo a class of each scene, which names tell."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for scene in range(scenes):
            seed = [*folder.name.encode(), *name.encode(), scene]
            pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{folder.name}{scene}~{len(name)}.png")
    return folder


def read(root: Path, split: str | None = None, reader: str = "blur-types") -> Shown:
    return shown(validate({"reader": reader}, "report", Recipe).reading, root, split)


def test_one_split_is_shown(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        photos(tmp_path / split)
    found = read(tmp_path)
    assert {photo.file.split("/")[0] for photo in found.photos} == {"test"} and len(found.photos) == 6
    assert found.about == "split test, 6 of 18 photos"
    assert {photo.file.split("/")[0] for photo in read(tmp_path, "train").photos} == {"train"}
    assert len(read(tmp_path, "all").photos) == 18 and "test, val, train" in read(tmp_path, "all").about


def test_without_a_test_split_it_is_val(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photos(tmp_path / split)
    assert read(tmp_path).split == "val" and len(read(tmp_path).photos) == 6
    with pytest.raises(DataError, match=r"no test split \(it has val, train\)"):
        read(tmp_path, "test")


@pytest.mark.parametrize("scenes", [1, 3])
def test_of_a_folder_without_splits_all_are_shown(tmp_path: Path, scenes: int) -> None:
    """Also of one scene, which no split could be drawn of; none is repeated."""
    found = read(photos(tmp_path / "real", scenes), reader="blur-types fill=true")
    assert (len(found.photos), found.split, found.about) == (
        2 * scenes,
        "all",
        f"all {2 * scenes} photos, it has no splits",
    )
    assert {photo.group for photo in found.photos} == {f"real{k}" for k in range(scenes)}
    with pytest.raises(DataError, match=r"no val split \(it has none\)"):
        read(tmp_path / "real", "val")


def test_a_split_can_be_drawn_as_for_training(tmp_path: Path) -> None:
    photos(tmp_path / "real", 5)
    whole = validate({"reader": "blur-types val=0.4"}, "report", Recipe).reading.found(tmp_path / "real")
    expected = {photo.file for photo in whole.labelled if photo.split == "val"}
    found = read(tmp_path / "real", reader="blur-types val=0.4")
    assert found.split == "val" and {photo.file for photo in found.photos} == expected and len(expected) == 4


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_split_alone_is_one(tmp_path: Path, split: str) -> None:
    photos(tmp_path / split)
    found = read(tmp_path)
    assert found.split == split and len(found.photos) == 6
    assert all((tmp_path / photo.file).is_file() for photo in found.photos)


def test_training_images_are_known_by_their_bytes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        photos(tmp_path / "drawn" / split)
    recipe = Recipe(images=str(tmp_path / "drawn"), resolution=32, reader="blur-types")
    dataset, _ = prepare(tmp_path / "data", "walls", recipe)
    files = (tmp_path / "drawn" / "train").rglob("*.png")
    assert training_files(dataset) == {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (dataset.store.folder / "images.csv").unlink()
    assert training_files(dataset) is None


def test_what_is_said_of_training_images() -> None:
    assert trained_on({"run a": 0}, 9) == []
    first, second = trained_on({"run a": 3, "run b": 0, "run c": None}, 9)
    assert first.startswith("WARNING: run a was trained on 3 of these 9 photos") and "run b" not in first
    assert "run c" in second and "could not be looked at" in second
