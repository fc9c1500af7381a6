"""Folders of photos by blur type: classes, scenes, splits; and datasets of mosaics."""

from pathlib import Path

import numpy as np
import pytest
from coarse_photos import save
from PIL import Image
from pydantic import ValidationError

from blurtrain.blur_types.mosaic import mosaic
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preparation.readers.blur_types import BlurTypes
from blurtrain.errors import DataError

FOLDERS = {"sharp": 9, "bokeh": 4, "motion": 3, "defocused": 6, "defocused_object_portrait": 6}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, (folder, count) in enumerate(FOLDERS.items()):
        for k in range(count):
            save(tmp_path / "photos" / folder / f"{folder}{k}.png", 100 * number + k)
    return tmp_path / "photos"


def test_folders_are_mapped_to_classes_and_splits_drawn(photos: Path) -> None:
    found = BlurTypes(val=0.25).found(photos).samples
    counts = {label: sum(s.label == label for s in found) for label in {s.label for s in found}}
    assert counts == {"sharp": 13, "motion_blurred": 3, "defocused_blurred": 6, "defocused_object_portrait": 6}
    assert sum(sample.split == "val" for sample in found) == 8  # a quarter of 13, 3, 6 and 6 scenes


def test_scenes_stay_on_one_side(photos: Path) -> None:
    for k in range(12):  # near duplicates of one photo, and photos that carry the name of one scene
        save(photos / "sharp" / f"again{k}.png", 0)
        save(photos / "motion" / f"run-{k}.png", 500 + k)
    found = BlurTypes(val=0.4, scene="(run)-[0-9]+").found(photos).samples
    same = {s.split for s in found if "again" in s.file or s.file == "sharp/sharp0.png"}
    named = {(s.group, s.split) for s in found if "run-" in s.file}
    assert len(same) == 1 and len(named) == 1 and {group for group, _ in named} == {"run"}


def test_small_classes_are_filled_up_on_the_training_side_only(photos: Path) -> None:
    found = BlurTypes(val=0.25, fill=True).found(photos).samples
    plain = BlurTypes(val=0.25).found(photos).samples
    trained = [s for s in found if s.split == "train"]
    counts = {label: sum(s.label == label for s in trained) for label in {s.label for s in trained}}
    assert len(set(counts.values())) == 1
    assert [s for s in found if s.split != "train"] == [s for s in plain if s.split != "train"]
    assert {s.file for s in trained} == {s.file for s in plain if s.split == "train"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scene": "("}, "no regular expression"),
        ({"scene": "x"}, "no group"),
        ({"classes": "none.yaml"}, "no such file"),
    ],
)
def test_bad_options(photos: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        BlurTypes(**options).samples(photos)


def test_unknown_folders(photos: Path) -> None:
    save(photos / "sideways" / "one.png", 999)
    with pytest.raises(DataError, match="'sideways' is no blur type"):
        BlurTypes().samples(photos)


def test_mosaics_are_stored_pixel_by_pixel(photos: Path, tmp_path: Path) -> None:
    recipe = Recipe(images=str(photos), reader=BlurTypes(val=0.25), view="mosaic", resolution=48)
    dataset, _ = prepare(tmp_path / "data", "mosaics", recipe)
    whole, _ = prepare(tmp_path / "data", "whole", recipe.model_copy(update={"view": "whole"}))
    assert dataset.view_of_images == "mosaic" and whole.view_of_images == "whole"
    assert dataset.data_id != whole.data_id and dataset.store.size == 48
    for split in ("train", "val"):
        images = dataset.evaluation_images(split, 48)
        for index in images.indices.tolist():
            file = photos / images.store.rows_at([index])[0]["path"]
            assert (images.store.read(np.array([index]))[0] == mosaic(Image.open(file), 16)).all()


@pytest.mark.parametrize("options", [{"resolution": 50}, {"resolution": 48, "stored": 54}, {"aspect": "kept"}])
def test_what_mosaics_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="mosaic"):
        Recipe(images="x", view="mosaic", **options)  # type: ignore[arg-type]
