"""Prepared datasets: pixels are those of the sources, ids depend on content alone, damage is found and named."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurtrain.data import beton as layout
from blurtrain.data.dataset import Dataset, datasets, open_dataset
from blurtrain.data.decode import decode
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import DataError

SIZE = 16
TOYS = {f"{kind}/{kind}_{k}": 4 for kind in ("ball", "cup") for k in range(5)}


def grow(root: Path, leaves: dict[str, int] = TOYS) -> Path:
    """So many small images of noise in each leaf folder."""
    for n, (leaf, count) in enumerate(leaves.items()):
        (root / leaf).mkdir(parents=True)
        for k in range(count):
            pixels = np.random.default_rng([n, k]).integers(0, 256, (12 + k, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / leaf / f"{k}.png")
    return root


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A tree kind/object/image.png: 2 kinds of 5 objects of 4 images."""
    return grow(tmp_path / "toys")


def recipe(images: Path, **options: Any) -> Recipe:
    return Recipe(images=str(images), stored=SIZE, **options)


def files(root: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: what is rewritten changes one or the other."""
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def copy(prepared: Dataset, tmp_path: Path) -> Dataset:
    """A copy of `prepared` that may be damaged."""
    shutil.copytree(prepared.folder.parent, tmp_path / "copy")
    return open_dataset(tmp_path / "copy", prepared.name)


# --- pixels ---------------------------------------------------------------------------------------------------------


def test_stored_pixels_are_those_of_the_sources(prepared: Dataset, tree: Path) -> None:
    store = prepared.store
    assert store.size == 73  # 8/7 of 64
    assert len(store) == len(store.rows) == 42
    pixels = store.read(np.arange(len(store)))
    for row, stored in zip(store.rows, pixels, strict=True):
        assert np.array_equal(stored, decode((tree / row["path"]).read_bytes(), store.size)), row["path"]
    chosen = np.array([41, 3, 3])
    assert np.array_equal(store.read(chosen), pixels[chosen])


def test_labels_and_splits_are_those_of_the_tree(prepared: Dataset) -> None:
    assert prepared.classes == ["checks", "rings", "stripes"]
    assert prepared.manifest["counts"] == {"train": 30, "val": 3, "test": 9}
    for row, label in zip(prepared.store.rows, prepared.labels_by_index(), strict=True):
        assert row["path"].startswith(prepared.classes[label])
    parts = [prepared.split(name) for name in ("train", "val", "test")]
    assert sorted(np.concatenate([indices for indices, _ in parts])) == list(range(42))
    for indices, labels in parts:
        assert np.array_equal(labels, prepared.labels_by_index()[indices])
        assert (np.bincount(labels) == len(labels) // 3).all()


def test_mean_and_sd_are_those_of_the_training_pixels(prepared: Dataset) -> None:
    pixels = prepared.store.read(prepared.split("train")[0]).reshape(-1, 3) / 255
    assert np.allclose(prepared.manifest["mean"], pixels.mean(axis=0), atol=1e-9)
    assert np.allclose(prepared.manifest["sd"], pixels.std(axis=0), atol=1e-9)


def test_what_was_prepared_is_intact(prepared: Dataset) -> None:
    prepared.check()
    assert [d.name for d in datasets(prepared.folder.parent)] == ["textures"]


# --- views ----------------------------------------------------------------------------------------------------------


def test_views_share_one_store(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    objects, fresh = prepare(root, "objects", recipe(toys, val=0.25, test=0.25))
    before = files(objects.store.folder)
    kinds, _ = prepare(root, "kinds", recipe(toys, label=1, hold_out="leaves"))
    other, _ = prepare(root, "other", recipe(toys, label=1, hold_out="leaves", split_seed=1))
    assert fresh
    assert files(objects.store.folder) == before
    assert objects.store.folder == kinds.store.folder == other.store.folder
    assert len({objects.data_id, kinds.data_id, other.data_id}) == 3
    assert (len(objects.classes), kinds.classes) == (10, ["ball", "cup"])
    assert [d.name for d in datasets(root)] == ["kinds", "objects", "other"]
    for dataset in (objects, kinds, other):
        dataset.check()

    # hold_out=leaves: no object is in two splits.
    for dataset, whole in ((kinds, True), (other, True), (objects, False)):
        of_object = [set(dataset.view["split"][dataset.view["leaf"] == leaf]) for leaf in range(10)]
        assert all(len(splits) == 1 for splits in of_object) == whole
    assert kinds.manifest["counts"] == {"train": 24, "val": 8, "test": 8}


def test_views_may_leave_images_out(tmp_path: Path) -> None:
    source = grow(tmp_path / "t", {"cup/a": 4, "cup/b": 4, "ball/a": 9, "car/x": 3, "car/y": 3})
    some, _ = prepare(tmp_path / "data", "some", recipe(source, label=1, min_leaves=2))
    many, _ = prepare(tmp_path / "data", "many", recipe(source, label=1, min_images=8))
    assert (some.classes, many.classes) == (["car", "cup"], ["ball", "cup"])
    assert some.store.folder == many.store.folder
    assert len(some.store) == 23
    labels = some.labels_by_index()
    for row, label in zip(some.store.rows, labels, strict=True):
        assert label == (-1 if row["path"].startswith("ball") else some.classes.index(row["path"].split("/")[0]))
    some.check()


def test_training_may_have_so_many_images_of_each_label(toys: Path, tmp_path: Path) -> None:
    root, options = tmp_path / "data", {"label": 1, "hold_out": "leaves"}
    whole, _ = prepare(root, "whole", recipe(toys, **options))
    some, _ = prepare(root, "some", recipe(toys, **options, train_images=7))
    other, _ = prepare(root, "other", recipe(toys, **options, train_images=8))
    assert (whole.manifest["counts"]["train"], some.manifest["counts"]["train"]) == (24, 14)
    assert np.bincount(some.split("train")[1]).tolist() == [7, 7]
    assert set(some.split("train")[0]) < set(whole.split("train")[0])
    for split in ("val", "test"):
        assert np.array_equal(some.split(split)[0], whole.split(split)[0])
    assert some.store.folder == whole.store.folder
    assert len({whole.data_id, some.data_id, other.data_id}) == 3
    # Left out of what older datasets were asked for: they stay as they are.
    assert "train_images" not in whole.manifest["request"] and some.manifest["request"]["train_images"] == 7
    assert not prepare(root, "some", recipe(toys, **options, train_images=7))[1]
    with pytest.raises(DataError, match=r"data/some: was prepared otherwise \(train_images\): --replace puts this"):
        prepare(root, "some", recipe(toys, **options))
    assert prepare(root, "some", recipe(toys, **options), replace=True)[0].data_id == whole.data_id
    other.check()


@pytest.mark.parametrize(
    ("leaves", "options", "objects"),
    [
        # Kinds, tested on two objects of each that were held out: the images of an object belong together.
        (TOYS, {"label": 1, "hold_out": "leaves", "test": 0.4}, [4, 4, 4, 4]),
        # An object a class: the classes are given, and what could have been others are the images.
        (TOYS, {"hold_out": "images", "test": 0.5}, None),
        # Plain class folders: the images of a class show different things.
        ({"ball": 8, "cup": 8}, {"label": 1, "test": 0.5}, None),
        # Objects, but no two images of one.
        ({f"{kind}/{k}": 1 for kind in ("ball", "cup") for k in range(4)}, {"label": 1, "test": 0.5}, None),
    ],
)  # fmt: skip
def test_images_of_one_object_are_known_to_be(
    tmp_path: Path, leaves: dict[str, int], options: dict[str, Any], objects: list[int] | None
) -> None:
    images = grow(tmp_path / "tree", leaves)
    dataset, _ = prepare(tmp_path / "data", "toys", recipe(images, val=0, **options))
    found = dataset.objects("test")
    assert (None if found is None else np.bincount(found).tolist()) == objects
    if found is not None:
        rows = [dataset.store.rows[k]["path"] for k in dataset.split("test")[0]]
        shown = [Path(path).parent for path in rows]
        assert all((found[a] == found[b]) == (shown[a] == shown[b]) for a in range(len(rows)) for b in range(len(rows)))


def test_splits_of_the_tree_are_kept_or_renamed(tmp_path: Path) -> None:
    source = grow(tmp_path / "t", {"train/a": 5, "train/b": 4, "val/a": 2, "val/b": 2, "test/a": 1, "test/b": 1})
    kept, _ = prepare(tmp_path / "data", "kept", recipe(source))
    renamed, _ = prepare(tmp_path / "data", "renamed", recipe(source, splits={"train": "train", "test": "val"}))
    assert kept.manifest["counts"] == {"train": 9, "val": 4, "test": 2}
    assert renamed.manifest["counts"] == {"train": 9, "test": 4}
    assert {kept.store.rows[k]["path"].split("/")[0] for k in renamed.split("test")[0]} == {"val"}
    with pytest.raises(DataError, match=r"'renamed' has no val split \(it has train, test\)"):
        renamed.split("val")


# --- preparing again ------------------------------------------------------------------------------------------------


def test_preparing_again_writes_nothing(copy: Dataset, tree: Path) -> None:
    before = files(copy.folder.parent)
    again, fresh = prepare(copy.folder.parent, copy.name, Recipe(images=str(tree), resolution=64))
    assert not fresh
    assert again.data_id == copy.data_id
    assert files(copy.folder.parent) == before


def test_the_data_id_depends_neither_on_times_nor_on_places(copy: Dataset, tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tree, elsewhere)
    for k, path in enumerate(sorted(elsewhere.rglob("*.png"))):
        os.utime(path, (k, k))
    moved, fresh = prepare(copy.folder.parent, "moved", Recipe(images=str(elsewhere), resolution=64))
    assert fresh
    assert (moved.data_id, moved.manifest["store"]) == (copy.data_id, copy.manifest["store"])


def test_one_other_source_byte_is_another_dataset(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    old = prepare(root, "toys", recipe(toys))[0].data_id
    picture = toys / "cup" / "cup_3" / "2.png"
    times = picture.stat()
    content = bytearray(picture.read_bytes())
    content[-1] ^= 1  # the checksum at the end: no pixel changes
    picture.write_bytes(content)
    with pytest.raises(DataError, match=r"was prepared otherwise \(files\)"):
        prepare(root, "toys", recipe(toys))
    changed, fresh = prepare(root, "toys", recipe(toys), replace=True)
    assert fresh
    assert changed.data_id != old
    # Even where size and time say that nothing changed, a dataset that is made anew finds out.
    content[-1] ^= 1
    picture.write_bytes(content)
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert prepare(root, "again", recipe(toys))[0].data_id == old


def test_names_sizes_labels_and_splits_are_part_of_the_data_id(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    ids = [prepare(root, "a", recipe(toys))[0].data_id, prepare(root, "b", recipe(toys, split_seed=1))[0].data_id]
    ids.append(prepare(root, "c", Recipe(images=str(toys), stored=SIZE + 1))[0].data_id)
    (toys / "cup" / "cup_3").rename(toys / "cup" / "mug_3")
    ids.append(prepare(root, "d", recipe(toys))[0].data_id)
    assert len(set(ids)) == len(ids)


# --- images and recipes that will not do ----------------------------------------------------------------------------


def test_unreadable_images_are_refused_by_name_or_left_out_and_listed(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    picture = toys / "cup" / "cup_3" / "2.png"
    picture.write_bytes(picture.read_bytes()[:300])
    (toys / "ball" / "ball_0" / "text.jpg").write_text("no picture")
    with pytest.raises(
        DataError, match=r"2 of 41 images cannot be decoded \(ball/ball_0/text\.jpg: no image"
    ) as caught:
        prepare(root, "toys", recipe(toys))
    assert "cup/cup_3/2.png: " in str(caught.value)
    assert "--skip-unreadable" in str(caught.value)
    assert datasets(root) == []
    some, _ = prepare(root, "toys", recipe(toys, skip_unreadable=True))
    assert list(some.manifest["unreadable"]) == ["ball/ball_0/text.jpg", "cup/cup_3/2.png"]
    assert len(some.store) == len(some.view["index"]) == 39
    some.check()


def test_a_tree_without_one_readable_image_is_refused(tmp_path: Path) -> None:
    for k in range(6):
        (tmp_path / "t" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / "ab"[k % 2] / f"{k}.png").touch()
    with pytest.raises(DataError, match=r"none of 6 images can be decoded; the first, a/0\.png: empty file"):
        prepare(tmp_path / "data", "x", recipe(tmp_path / "t", skip_unreadable=True))


def test_classes_that_are_too_small_are_refused_before_anything_is_read(toys: Path, tmp_path: Path) -> None:
    grow(tmp_path / "more", {"a": 9, "b": 2})
    with pytest.raises(DataError, match="label 'b' has 2 images: too few"):
        prepare(tmp_path / "data", "x", recipe(tmp_path / "more"))
    with pytest.raises(DataError, match="1 objects: too few"):
        prepare(tmp_path / "data", "x", recipe(toys, hold_out="leaves"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "with space"])
def test_a_name_that_settings_could_not_use_is_refused(toys: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no name for a dataset"):
        prepare(tmp_path / "data", name, recipe(toys))
    assert not (tmp_path / "data").exists()


def test_a_recipe_needs_one_source(tmp_path: Path) -> None:
    for wrong in (Recipe(), Recipe(images="x", standin="faces")):
        with pytest.raises(DataError, match="name exactly one"):
            prepare(tmp_path / "data", "x", wrong)


def test_a_dataset_that_is_not_prepared_is_told_with_the_nearest(prepared: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'texture' is not prepared in .*--name texture.*did you mean 'textures'\?"):
        open_dataset(prepared.folder.parent, "texture")
    with pytest.raises(DataError, match=r"known: none"):
        open_dataset(tmp_path, "textures")


# --- damage ---------------------------------------------------------------------------------------------------------


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("image", [0, 17, 41])
def test_one_flipped_bit_of_a_pixel_is_found(copy: Dataset, image: int) -> None:
    pointer = int(copy.store.extents["pointer"][image])
    flip(copy.store.beton, pointer + 73 * 73 * 3 - 1)
    path = copy.store.rows[image]["path"]
    with pytest.raises(DataError, match=rf"pixels of image {image} \({path}\) are damaged"):
        open_dataset(copy.folder.parent, copy.name).check()


@pytest.mark.parametrize("field", ["mode", "width", "height", "pointer", "index"])
def test_a_damaged_table_of_images_is_found(copy: Dataset, field: str) -> None:
    beton = copy.store.beton
    inside = layout.SAMPLE.fields["index"][1] if field == "index" else layout.IMAGE.fields[field][1]
    flip(beton, layout.SAMPLES_START + 3 * layout.SAMPLE.itemsize + inside)
    with pytest.raises(DataError, match="damaged"):
        open_dataset(copy.folder.parent, copy.name).check()


def test_a_store_cut_short_is_found(copy: Dataset) -> None:
    whole = copy.store.beton.stat().st_size
    for length in (whole - 1, int(copy.store.extents["pointer"].max()) + 100, 3000, 10, 0):
        os.truncate(copy.store.beton, length)
        with pytest.raises(DataError, match=r"pixels\.beton: cannot be read: .*; prepare the dataset again"):
            open_dataset(copy.folder.parent, copy.name).check()


@pytest.mark.parametrize(
    ("array", "value", "message"),
    [
        ("label", 1, "was changed after it was prepared"),
        ("split", 2, "was changed after it was prepared"),
        ("label", 3, "does not fit its manifest"),
        ("index", 42, "does not fit its manifest"),
        ("index", -1, "does not fit its manifest"),
    ],
)
def test_a_changed_view_is_found(copy: Dataset, array: str, value: int, message: str) -> None:
    view = {name: values.copy() for name, values in copy.view.items()}
    where = int(np.flatnonzero(view[array] != value)[0])
    view[array][where] = value
    np.savez(copy.folder / "view.npz", **view)
    with pytest.raises(DataError, match=message):
        open_dataset(copy.folder.parent, copy.name).check()


def test_a_damaged_view_or_manifest_is_named(copy: Dataset) -> None:
    root, whole = copy.folder.parent, (copy.folder / "view.npz").read_bytes()
    for damaged in (whole[:-30], whole[:200] + b"XX" + whole[202:], b"", b"text"):
        (copy.folder / "view.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"view\.npz: cannot be read"):
            open_dataset(root, copy.name).check()
    (copy.folder / "view.npz").write_bytes(whole)
    manifest = json.loads((copy.folder / "manifest.json").read_text())
    (copy.folder / "manifest.json").write_text(json.dumps({**manifest, "schema": 0}))
    with pytest.raises(DataError, match="not prepared by this version"):
        open_dataset(root, copy.name).check()


def test_a_lost_store_is_told_and_made_again(copy: Dataset, tree: Path) -> None:
    shutil.rmtree(copy.store.folder)
    with pytest.raises(DataError, match="prepare the dataset again"):
        open_dataset(copy.folder.parent, copy.name).check()
    again, fresh = prepare(copy.folder.parent, copy.name, Recipe(images=str(tree), resolution=64))
    assert fresh
    assert again.data_id == copy.data_id
    again.check()


def test_the_place_of_an_image_in_the_store_is_part_of_the_data_id(toys: Path, tmp_path: Path) -> None:
    """Random draws are functions of it: a file that the view leaves out, but that moves the others, is another id."""
    recipe = Recipe(images=str(toys), resolution=16, min_images=2, val=0)
    before, _ = prepare(tmp_path / "before", "toys", recipe)
    more = tmp_path / "more"
    shutil.copytree(toys, more)
    first = sorted(p for p in more.rglob("*.png"))[0]
    (more / "AAA").mkdir()
    shutil.copy(first, more / "AAA" / first.name)  # a class of one image, which min_images leaves out
    after, _ = prepare(tmp_path / "after", "toys", Recipe(**{**recipe.model_dump(), "images": str(more)}))
    assert after.classes == before.classes and len(after.view["index"]) == len(before.view["index"])
    assert after.data_id != before.data_id
