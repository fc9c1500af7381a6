"""Raw layouts: labels, objects and splits are read off the folder names, and mistakes are told."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from blurtrain.data.preparation.readers import Found, Sample, Tree
from blurtrain.data.preparation.splits import (
    check_apart,
    check_trained,
    draw_splits,
    keep_labels,
    keep_together,
    keep_training,
    rename_splits,
)
from blurtrain.errors import DataError


def grow(root: Path, paths: Iterable[str]) -> Path:
    """Empty files: nothing here looks into an image."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def look(root: Path, level: int | None = None, **options: Any) -> Found:
    return Tree(label=level or "leaf", **options).samples(root)


def scan(root: Path, level: int | None = None) -> list[Sample]:
    return look(root, level).labelled


def image(path: str, label: str, group: str, split: str = "") -> Sample:
    return Sample(path, path, label, group, split)


def labels(images: list[Sample]) -> dict[str, str]:
    return {image.key: image.label for image in images}


def images(counts: dict[str, int]) -> list[Sample]:
    """So many images of each leaf; the label is the leaf's first folder."""
    return [image(f"{leaf}/{k:02d}.png", leaf.split("/")[0], leaf) for leaf, n in counts.items() for k in range(n)]


# --- scan -----------------------------------------------------------------------------------------------------------


def test_one_class_a_folder(tmp_path: Path) -> None:
    root = grow(tmp_path, ["cat/1.png", "dog/2.JPG", "cat/0.jpeg"])
    assert scan(root) == [
        image("cat/0.jpeg", "cat", "cat"),
        image("cat/1.png", "cat", "cat"),
        image("dog/2.JPG", "dog", "dog"),
    ]


def test_splits_at_the_top(tmp_path: Path) -> None:
    root = grow(tmp_path, ["train/cat/1.png", "valid/cat/2.png", "test/dog/3.png"])
    assert [(i.key, i.label, i.group, i.split) for i in scan(root)] == [
        ("test/dog/3.png", "dog", "dog", "test"),
        ("train/cat/1.png", "cat", "cat", "train"),
        ("valid/cat/2.png", "cat", "cat", "val"),
    ]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    root = grow(tmp_path, ["test/1.png", "cat/2.png"])
    assert {(i.label, i.split) for i in scan(root)} == {("test", ""), ("cat", "")}
    assert {(i.label, i.split) for i in scan(grow(tmp_path / "one", ["train/1.png"]))} == {("train", "")}


def test_ragged_trees_are_labelled_by_leaf_or_by_level(tmp_path: Path) -> None:
    root = grow(tmp_path, ["train/fruit/apple/red/1.png", "train/fruit/kiwi/2.png", "test/milk/3.png"])
    by_leaf, by_level = scan(root), scan(root, level=1)
    assert [i.label for i in by_leaf] == ["milk", "red", "kiwi"]
    assert [i.label for i in by_level] == ["milk", "fruit", "fruit"]
    assert [i.group for i in by_leaf] == [i.group for i in by_level] == ["milk", "fruit/apple/red", "fruit/kiwi"]


def test_leaves_of_one_name_in_two_places_are_two_labels(tmp_path: Path) -> None:
    root = grow(tmp_path, ["apple/red/1.png", "pear/red/2.png", "pear/green/3.png"])
    assert set(labels(scan(root)).values()) == {"apple/red", "pear/red", "green"}


def test_a_leaf_may_lie_elsewhere_in_another_split(tmp_path: Path) -> None:
    root = grow(tmp_path, ["train/vegetables/brown/1.png", "test/vegetables/mushroom/brown/2.png"])
    assert set(labels(scan(root)).values()) == {"brown"}


def test_the_order_is_by_folder_and_then_by_name(tmp_path: Path) -> None:
    # By string, "a-b/" would come before "a/".
    root = grow(tmp_path, ["a/1.png", "a-b/1.png", "a/0.png"])
    assert [i.key for i in scan(root)] == ["a/0.png", "a/1.png", "a-b/1.png"]


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = grow(tmp_path, ["a/1.png", "a/._1.png", ".cache/b/2.png", "a/notes.txt", "a/.hidden/3.png", "README"])
    (root / "a" / "folder.png").mkdir()
    assert [i.key for i in scan(root)] == ["a/1.png"]


@pytest.mark.parametrize(
    ("paths", "level", "message"),
    [
        (["1.png", "a/2.png"], None, r"1\.png: must lie in a class folder, as its label is read off that"),
        (["train/1.png", "test/a/2.png"], None, r"train/1\.png: must lie in a class folder below its split"),
        (["a/b/1.png", "a/2.png"], 2, r"a/2\.png: must lie in 2 folders, as its label is read off them"),
        (["a/notes.txt"], None, r"holds no images \(\.avif, .*\); left alone: 1 file: 1 \.txt"),
        (["a/b/test/cat/1.png", "a/b/test/dog/2.png"], None, "holds nothing but a/b/test, and no training images"),
        (["train/cat/1.png", "training/cat/2.png", "test/cat/3.png"], None, "train and training are both called like"),
        (["cat/1.png", "cat/old/2.png", "dog/3.png"], None, "cat holds images, and cat/old inside it too"),
        ([], None, "holds no images"),
    ],
)
def test_a_tree_that_cannot_be_read_is_refused(
    tmp_path: Path, paths: list[str], level: int | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        scan(grow(tmp_path, paths), level)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such folder"):
        scan(tmp_path / "none")


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("seg_train/seg_train", "seg_test/seg_test"), ("archive/data/train", "archive/data/val"),
     ("train-images", "test-images"), ("TRAIN", "dev")],
)  # fmt: skip
def test_splits_are_found_as_people_call_them(tmp_path: Path, train: str, test: str) -> None:
    root = grow(tmp_path, [f"{train}/cat/1.png", f"{train}/dog/2.png", f"{test}/cat/3.png", f"{test}/dog/4.png"])
    found = scan(root)
    assert sorted((i.label, i.split == "train") for i in found) == [
        ("cat", False), ("cat", True), ("dog", False), ("dog", True),
    ]  # fmt: skip
    assert len({i.split for i in found}) == 2


def test_what_is_left_alone_is_counted(tmp_path: Path) -> None:
    paths = ["train/cat/1.png", "train/cat/@eaDir/1.png", "test/cat/2.png", "extra/cat/3.png", "train/cat/1.xml",
             "train/cat/Thumbs.db", "__MACOSX/train/cat/1.png", "train/cat/notes"]  # fmt: skip
    root = grow(tmp_path, paths)
    (root / "train" / "dog").mkdir()
    (root / "test" / "cat" / "bare").write_bytes(b"\xff\xd8\xff\xe0")
    tree = look(root)
    assert [i.key for i in tree.labelled] == ["test/cat/2.png", "test/cat/bare", "train/cat/1.png"]
    assert tree.left_alone == {
        "in extra, beside the splits": 1, "in @eaDir": 1, "in __MACOSX": 1, ".xml": 1, "without suffix": 1,
    }  # fmt: skip
    assert tree.empty == ["train/dog"]


def test_a_folder_of_images_inside_a_class_is_no_class(tmp_path: Path) -> None:
    root = grow(tmp_path, ["train/n01/images/1.png", "train/n02/images/2.png", "val/n01/images/3.png"])
    assert [(i.label, i.group) for i in scan(root)] == [("n01", "n01"), ("n02", "n02"), ("n01", "n01")]


def test_two_spellings_of_a_letter_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    root = grow(tmp_path, [f"train/{composed}/1.png", f"test/{decomposed}/2.png"])
    assert {i.label for i in scan(root)} == {composed}


def test_any_folder_may_be_a_split(tmp_path: Path) -> None:
    root = grow(tmp_path, ["data/good/cat/1.png", "data/new/cat/2.png", "data/old/cat/3.png"])
    names = {"train": "good", "test": "new"}
    found = rename_splits(look(root, splits=names).labelled, names)
    assert {i.key: i.split for i in found} == {"data/good/cat/1.png": "train", "data/new/cat/2.png": "test"}


def test_files_are_left_out_by_pattern(tmp_path: Path) -> None:
    root = grow(tmp_path, ["cat/1.png", "cat/2.gif", "dog/small/3.png", "dog/large/4.png"])
    assert [i.key for i in look(root, exclude=["*.gif", "*/small/*"]).labelled] == ["cat/1.png", "dog/large/4.png"]
    with pytest.raises(DataError, match=r"no file is called like --exclude '\*\.bmp'"):
        look(root, exclude=["*.bmp"])


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = grow(tmp_path, ["cat/1.png"])
    os.mkfifo(root / "cat" / "2.png")
    with pytest.raises(DataError, match=r"cat/2\.png: is called like an image, but is no file"):
        scan(root)
    (root / "cat" / "2.png").unlink()
    (root / "cat" / "2.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="a pipe, socket or device is not read"):
        scan(root)


def test_names_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    root = grow(tmp_path, ["cat/1.png"])
    Path(os.fsdecode(os.fsencode(root) + b"/cat/caf\xe9.png")).touch()
    with pytest.raises(DataError, match=r"1 names are not UTF-8, e\.g\. b'cat/caf\\xe9\.png'"):
        scan(root)


def test_the_same_file_stays_in_one_split(tmp_path: Path) -> None:
    tree = images({"a": 40, "b": 40})
    contents = [i.key.split("/")[1] for i in tree]  # each of a is one of b
    split = {i.key: i.split for i in keep_together(draw_splits(tree, 0.2, 0.2, 0, False), contents)}
    assert all(split[f"a/{k:02d}.png"] == split[f"b/{k:02d}.png"] for k in range(40))
    assert set(split.values()) == {"train", "val", "test"}
    alone = [i.key for i in tree]
    drawn = draw_splits(tree, 0.2, 0.2, 0, False)
    assert keep_together(drawn, alone) == drawn


def test_what_lies_in_two_splits_is_counted(tmp_path: Path) -> None:
    tree = [image(f"{split}/cat/{k}.png", "cat", "cat", split) for split in ("train", "test") for k in range(3)]
    check_apart(tree, [i.key for i in tree])
    contents = [i.key.split("/")[-1] for i in tree]
    with pytest.raises(DataError, match=r"3 images lie in several splits, byte for byte the same \(3 in train"):
        check_apart(tree, contents)


# --- keep and rename ------------------------------------------------------------------------------------------------


def test_labels_with_too_few_objects_or_images_are_left_out() -> None:
    tree = images({"cup/1": 3, "cup/2": 3, "ball/1": 9, "car/1": 1, "car/2": 1})
    assert {i.label for i in keep_labels(tree, min_leaves=2)} == {"cup", "car"}
    assert {i.label for i in keep_labels(tree, min_images=6)} == {"cup", "ball"}
    assert {i.label for i in keep_labels(tree, min_leaves=2, min_images=6)} == {"cup"}
    assert keep_labels(tree) == tree
    with pytest.raises(DataError, match="no label has 3 or more leaf folders and 1 or more images"):
        keep_labels(tree, min_leaves=3)


def test_splits_can_be_used_under_other_names(tmp_path: Path) -> None:
    root = grow(tmp_path, ["train/a/1.png", "val/a/2.png", "test/a/3.png"])
    renamed = rename_splits(scan(root), {"train": "train", "test": "val"})
    assert {i.key: i.split for i in renamed} == {"train/a/1.png": "train", "val/a/2.png": "test"}


@pytest.mark.parametrize("names", [{"train": "tset"}, {"trian": "train"}])
def test_unknown_splits_are_refused(tmp_path: Path, names: dict[str, str]) -> None:
    tree = scan(grow(tmp_path, ["train/a/1.png", "test/a/3.png"]))
    with pytest.raises(DataError, match=r"use train, val, test = one of the tree's own splits \(test, train\)"):
        rename_splits(tree, names)
    with pytest.raises(DataError, match="it has none"):
        rename_splits(images({"a": 3}), {"train": "train"})


# --- drawn splits ---------------------------------------------------------------------------------------------------


def drawn(
    tree: list[Sample], val: float = 0.1, test: float = 0.2, seed: int = 0, leaves: bool = False
) -> dict[str, str]:
    return {i.key: i.split for i in draw_splits(tree, val, test, seed, leaves)}


def test_shares_are_held_out_within_each_label() -> None:
    split = drawn(images({"a": 20, "b": 10}))
    for label, counts in {"a": (14, 2, 4), "b": (7, 1, 2)}.items():
        mine = [s for path, s in split.items() if path.startswith(label)]
        assert tuple(mine.count(s) for s in ("train", "val", "test")) == counts


def test_a_small_share_still_holds_one_out_and_no_share_none() -> None:
    assert sorted(drawn(images({"a": 3}), val=0.01, test=0.01).values()) == ["test", "train", "val"]
    assert set(drawn(images({"a": 3}), val=0, test=0.5).values()) == {"train", "test"}


def test_a_draw_depends_on_seed_and_path_only() -> None:
    tree = images({"a": 40})
    assert drawn(tree) == drawn(tree[::-1])
    assert drawn(tree) != drawn(tree, seed=1)
    # An image that is added may push one over a boundary, but does not draw the others anew.
    more = drawn([*tree, image("a/99.png", "a", "a")])
    assert sum(more[path] != split for path, split in drawn(tree).items()) <= 2


def test_whole_objects_are_held_out() -> None:
    tree = images({f"cup/{k}": 5 for k in range(10)})
    split = drawn(tree, leaves=True)
    by_object = {k: {s for path, s in split.items() if path.startswith(f"cup/{k}/")} for k in range(10)}
    assert all(len(found) == 1 for found in by_object.values())
    assert sorted(s for found in by_object.values() for s in found) == ["test"] * 2 + ["train"] * 7 + ["val"]


def test_a_label_with_too_few_is_named() -> None:
    with pytest.raises(DataError, match="label 'b' has 2 images: too few for train and val and test; leave it out"):
        drawn(images({"a": 9, "b": 2}))
    with pytest.raises(DataError, match="label 'a' has 1 objects: too few"):
        drawn(images({"a/1": 9}), leaves=True)


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.0)])
def test_shares_must_leave_something(val: float, test: float) -> None:
    with pytest.raises(DataError, match="leave something for training"):
        drawn(images({"a": 9}), val, test)


def test_every_label_needs_training_images() -> None:
    check_trained([image("a/1", "a", "a", "train"), image("a/2", "a", "a", "test")])
    with pytest.raises(DataError, match="no training images of b"):
        check_trained([image("a/1", "a", "a", "train"), image("b/2", "b", "b", "test")])


def test_links_to_folders_are_followed_once(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    root.mkdir()
    for folder in tree.iterdir():
        (root / folder.name).symlink_to(folder)
    (root / "checks2").mkdir()
    (root / "checks2" / "loop").symlink_to(root)
    found = scan(root)
    assert len(found) == 42 and {i.label for i in found} == {"checks", "rings", "stripes"}


def test_splits_are_known_however_they_are_written(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "capitals"
    for split in ("Train", "TEST"):
        (root / split).mkdir(parents=True)
        for folder in tree.iterdir():
            (root / split / folder.name).symlink_to(folder)
    assert {i.split for i in scan(root)} == {"train", "test"}


# --- as many training images as that --------------------------------------------------------------------------------


def test_training_images_are_drawn_within_each_label_and_others_stay() -> None:
    tree = draw_splits(images({"a": 50, "b": 20, "c": 5}), val=0.1, test=0.2, seed=0, whole_groups=False)
    kept = keep_training(tree, 12, seed=3)
    assert {s: [i for i in kept if i.split == s] for s in ("val", "test")} == {
        s: [i for i in tree if i.split == s] for s in ("val", "test")
    }
    count = {label: sum(i.label == label and i.split == "train" for i in kept) for label in "abc"}
    assert count == {"a": 12, "b": 12, "c": 3}
    assert [i for i in tree if i in kept] == kept, "in the order that they came in"


def test_which_training_images_stay_depends_on_seed_and_path_only() -> None:
    tree = [image(f"a/{k:03d}.png", "a", "a", "train") for k in range(200)]
    kept = keep_training(tree, 100, seed=0)
    assert set(keep_training(tree[::-1], 100, seed=0)) == set(kept)
    assert set(keep_training(tree, 40, seed=0)) < set(kept)
    # As many of another seed's are the same as by chance: 50, give or take five (hypergeometric sd 3.5).
    assert abs(len(set(keep_training(tree, 100, seed=1)) & set(kept)) - 50) < 15
    # What was all but held out, by the hash of the splits, stays no more often than the rest.
    held_out = {i.key for i in draw_splits(tree, val=0, test=0.5, seed=0, whole_groups=False) if i.split == "test"}
    assert abs(sum(i.key in held_out for i in kept) - 50) < 15
