"""Which photos of a folder the reader takes for one scene, and what it does with that."""

import csv
from pathlib import Path

import numpy as np
import pytest
from coarse_photos import save
from pydantic import ValidationError

from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preparation.held_out import stratified_splits
from blurtrain.data.preparation.readers.blur_types import CLASSES, BlurTypes
from blurtrain.errors import DataError
from blurtrain.files import read_json, write_json


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k in range(6):
        save(tmp_path / "photos" / "sharp" / f"wall{k}.png", k)
        save(tmp_path / "photos" / "motion" / f"run{k}.png", 50 + k)
    return tmp_path / "photos"


def groups(root: Path, **options: object) -> dict[str, str]:
    return {s.file: s.group for s in BlurTypes(**options).found(root).samples}


def test_names_and_looks_are_one(photos: Path) -> None:
    save(photos / "sharp" / "tree-1.png", 3)  # wall3 once more
    save(photos / "motion" / "tree-2.png", 53)  # run3 once more
    found = groups(photos, scene="(.*)-[0-9]+")
    one = {"sharp/tree-1.png", "motion/tree-2.png", "sharp/wall3.png", "motion/run3.png"}
    assert {file for file, group in found.items() if group == "tree"} == one
    assert len(set(found.values())) == 11


def test_the_group_that_takes_part_is_the_scene(photos: Path) -> None:
    for k in range(4):
        save(photos / "sharp" / f"IMG_{k // 2}_{k}.png", 100 + k)
        save(photos / "motion" / f"{k // 2}-DSC{k}.png", 200 + k)
    found = groups(photos, scene="(IMG_[0-9])_[0-9]|([0-9])-DSC[0-9]|(x)?run[0-9]")
    assert {g for file, g in found.items() if "IMG" in file} == {"IMG_0", "IMG_1"}
    assert {g for file, g in found.items() if "DSC" in file} == {"0", "1"}
    assert len({g for file, g in found.items() if "run" in file}) == 6


def drawn(root: Path, pairs: dict[str, str]) -> Path:
    """A folder as `data blur` makes it: of each photo two classes, showing another of its split, or none."""
    rows = []
    for k, (photo, other) in enumerate(pairs.items()):
        split = "val" if k < 2 else "train"
        for name in ("sharp", "motion_blurred"):
            rows.append([f"{split}/{name}/{photo}~0.jpg", "burst" if "near" in photo else photo, other])
            save(root / str(rows[-1][0]), 10 * k + len(name))
    with (root / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "scene", "other"), *rows])
    return root


def test_drawn_photos_have_the_scenes_of_their_table(tmp_path: Path) -> None:
    names = ("v0", "v1", "near0", "near1", "a", "b", "c", "d")
    root = drawn(tmp_path / "blurred", dict.fromkeys(names, "") | {"a": "b"})
    found = groups(root)
    assert {Path(file).name[:-6]: group for file, group in found.items()} == {
        name: "burst" if "near" in name else name for name in names
    }
    again = BlurTypes(val=0.4).found(root / "train").samples  # splits are drawn again
    group_of = {Path(s.file).name[:-6]: s.group for s in again}
    assert group_of["near0"] == group_of["near1"] and group_of["a"] == group_of["b"] != group_of["c"]
    assert {s.split for s in again} == {"train", "val"}


def test_photos_that_show_each_other_are_not_split_again(tmp_path: Path) -> None:
    root = drawn(tmp_path / "blurred", {"v0": "v1", "v1": "", "a": "b", "b": "c", "c": "d", "d": ""})
    assert {s.split for s in BlurTypes().found(root).samples} == {"train", "val"}
    with pytest.raises(DataError, match=f"prepare {root}, which has splits of its own") as refused:
        BlurTypes().found(root / "train")
    assert "\n" not in str(refused.value)
    assert len({s.group for s in BlurTypes().samples(root / "train").samples}) == 4  # for reports
    assert {s.split for s in BlurTypes(val=0).found(root / "train").samples} == {"train"}


def test_what_is_excluded_is_neither_read_nor_counted(photos: Path, tmp_path: Path) -> None:
    save(photos / "misc" / "one.png", 900)
    for k in range(3):
        save(photos / "sharp" / f"bad{k}.png", 300 + k)
    recipe = Recipe(images=str(photos), reader=BlurTypes(fill=True), exclude=("misc/*", "sharp/bad*"), resolution=48)
    dataset, _ = prepare(tmp_path / "data", "some", recipe)
    assert dataset.manifest["left_alone"] == {"excluded by misc/*": 1, "excluded by sharp/bad*": 3}
    train = dataset.view["split"] == 0
    assert np.bincount(dataset.view["label"][train]).tolist() == [5, 5] and np.sum(~train) == 2
    with pytest.raises(DataError, match="no file is called like --exclude 'none/"):
        prepare(tmp_path / "data", "none", recipe.model_copy(update={"exclude": ("none/*", "misc/*")}))


def test_shares_of_the_recipe_are_those_of_the_reader(photos: Path, tmp_path: Path) -> None:
    recipe = Recipe(images=str(photos), reader="blur-types", val=0.5, split_seed=3, resolution=48)
    dataset, _ = prepare(tmp_path / "data", "some", recipe)
    assert dataset.manifest["counts"] == {"train": 6, "val": 6}
    said = {s.file: s.split for s in BlurTypes(val=0.5, seed=3).found(photos).samples}
    assert said == {s.file: s.split for s in recipe.reading.found(photos).samples}
    with pytest.raises(ValidationError, match="give one of them"):
        Recipe(images=str(photos), reader="blur-types val=0.3", val=0.5)
    root = drawn(tmp_path / "blurred", dict.fromkeys("abcdef", ""))
    with pytest.raises(DataError, match="has splits of its own"):
        prepare(tmp_path / "data", "drawn", recipe.model_copy(update={"images": str(root)}))


@pytest.mark.parametrize("seed", range(50))
def test_every_class_is_on_both_sides(seed: int) -> None:
    scenes = {"sharp": {f"s{k}" for k in range(20)}, "motion": {f"m{k}" for k in range(6)}, "bokeh": {"b0", "b1"}}
    split_of = stratified_splits(scenes | {"noise": {"n0"}}, 0.2, 0, seed)
    held_out = {name: sum(split_of[scene] == "val" for scene in own) for name, own in scenes.items()}
    assert held_out == {"sharp": 4, "motion": 1, "bokeh": 1} and split_of["n0"] == "train"
    both = {"sharp": {f"p{k}" for k in range(9)}, "motion": {"p0", "p1", "p2"}}
    split_of = stratified_splits(both, 0.2, 0.2, seed)
    for own in both.values():
        assert {split_of[scene] for scene in own} == {"train", "val", "test"}


def test_too_few_scenes_are_refused() -> None:
    with pytest.raises(DataError, match="no class has scenes enough to hold one out for test"):
        stratified_splits({"sharp": {"a", "b"}, "motion": {"c"}}, 0.2, 0.2, 0)


def test_what_was_prepared_before_is_accepted(tmp_path: Path) -> None:
    """The request had the path of the project's classes, and drawn photos were scenes by their names."""
    root = drawn(tmp_path / "blurred", dict.fromkeys(("v0", "v1", "near0", "near1", "a"), ""))
    recipe = Recipe(images=str(root), reader=BlurTypes(), resolution=48)
    dataset, _ = prepare(tmp_path / "data", "some", recipe)
    manifest = read_json(dataset.folder / "manifest.json")
    assert manifest and manifest["request"]["reader"]["classes"] == ""
    manifest["request"]["reader"]["classes"] = f"/elsewhere/{'/'.join(CLASSES.parts[-3:])}"
    write_json(dataset.folder / "manifest.json", manifest)
    assert not prepare(tmp_path / "data", "some", recipe)[1]
    (root / "photos.csv").rename(root / "kept.csv")  # as it was read before
    plain, _ = prepare(tmp_path / "data", "plain", recipe)
    (root / "kept.csv").rename(root / "photos.csv")
    assert plain.manifest["request"]["files"] != dataset.manifest["request"]["files"]
    assert not prepare(tmp_path / "data", "plain", recipe)[1]
    with pytest.raises(DataError, match="prepared otherwise"):
        prepare(tmp_path / "data", "some", Recipe(images=str(root), reader=BlurTypes(seed=1), resolution=48))
