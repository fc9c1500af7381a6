"""Readers `imagenet` and `imagenet-100`: one dataset in all layouts; labels by names, whatever is missing."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raw_layouts import (
    development_kit,
    flat,
    imagenet,
    in_folders,
    jpeg,
    kaggle_hundred,
    kaggle_solution,
    put,
)

import blurtrain
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.decode import decode
from blurtrain.data.preparation.readers import Found
from blurtrain.data.preparation.readers.imagenet import OneHundred, OneThousand
from blurtrain.data.preparation.readers.synsets import known_lists
from blurtrain.errors import DataError

CLASSES = ["n01440764", "n02979186", "n03445777", "n03888257"]
TRAIN, VAL = imagenet(CLASSES, train=4, val=2)
SIZE = 12


def prepared(root: Path, data: Path, reader: str, **recipe: Any) -> Dataset:
    dataset = blurtrain.prepare(root, "d", data, reader=reader, stored=SIZE, resolution=SIZE, **recipe)
    dataset.check()
    return dataset


def folders(root: Path) -> Path:
    in_folders(root / "train", TRAIN)
    in_folders(root / "val", VAL)
    return root


def with_kit(root: Path) -> Path:
    in_folders(root / "ILSVRC2012_img_train", TRAIN)
    flat(root / "ILSVRC2012_img_val", VAL)
    development_kit(root / "ILSVRC2012_devkit_t12" / "data", CLASSES, VAL)
    return root


def with_map(root: Path) -> Path:
    in_folders(root / "train", TRAIN)
    flat(root / "val", VAL)
    development_kit(root, CLASSES, VAL, matlab=False)
    return root


def of_kaggle(root: Path) -> Path:
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    in_folders(base / "train", TRAIN)
    flat(base / "val", VAL)
    put(base / "test" / "ILSVRC2012_test_00000001.JPEG", jpeg(9))
    kaggle_solution(root / "LOC_val_solution.csv", VAL)
    return root


def of_lines(root: Path) -> Path:
    in_folders(root / "train", TRAIN)
    flat(root / "val", VAL)
    put(root / "truth.txt", "".join(f"{name}\t{label}\n" for label, name in VAL))
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "folders": folders, "kit": with_kit, "map": with_map, "kaggle": of_kaggle, "lines": of_lines,
}  # fmt: skip


def labels(found: Found) -> dict[str, tuple[str, str]]:
    return {sample.file.rpartition("/")[2]: (sample.label, sample.split) for sample in found.samples}


# --- ImageNet-1k ----------------------------------------------------------------------------------------------------


def read(layout: str, root: Path) -> Found:
    return OneThousand(labels="truth.txt" if layout == "lines" else None).samples(root)


def test_validation_by_ground_truth_is_the_same_dataset_as_by_folders(tmp_path: Path) -> None:
    roots = {name: lay(tmp_path / name) for name, lay in LAYOUTS.items()}
    one, two = (prepared(roots[name], tmp_path / f"data-{name}", "imagenet") for name in ("folders", "kit"))
    assert one.classes == CLASSES and one.manifest["counts"] == {"train": 16, "val": 8}
    assert (two.data_id, two.manifest["store"]) == (one.data_id, one.manifest["store"])
    contents = {**TRAIN, **VAL}
    for row, stored, label in zip(one.store.rows, one.store.read(np.arange(24)), one.labels_by_index(), strict=True):
        own, name = row["path"].split("/")
        assert one.classes[label] == own and np.array_equal(stored, decode(contents[own, name], SIZE)), row["path"]
    # What a data id is made of: keys, labels, splits, and bytes, of the other layouts.
    for layout, root in roots.items():
        found = read(layout, root)
        rows = {s.key: (s.label, s.split, (root / s.file).read_bytes()) for s in found.samples}
        split = {f"{own}/{name}": (own, "train", content) for (own, name), content in TRAIN.items()}
        assert rows == split | {f"{own}/{name}": (own, "val", content) for (own, name), content in VAL.items()}, layout
        assert not found.skipped, layout
        assert found.notes == ["test/ is left alone: it has no labels"] * (layout == "kaggle"), layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_class_folder_shifts_no_label(tmp_path: Path, layout: str) -> None:
    root = LAYOUTS[layout](tmp_path / "t")
    before = labels(read(layout, root))
    (gone,) = [path for path in root.rglob(CLASSES[1]) if "train" in path.parent.name]
    for path in gone.iterdir():
        path.unlink()
    gone.rmdir()
    found = read(layout, root)
    assert labels(found) == {name: own for name, own in before.items() if own[0] != CLASSES[1]}
    assert [reason for _, reason in found.skipped] == ["of a class without training images"] * 2


def test_missing_and_unknown_validation_images_shift_nothing_and_are_listed(tmp_path: Path) -> None:
    root = with_kit(tmp_path / "t")
    before = labels(OneThousand().samples(root))
    (root / "ILSVRC2012_img_val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    put(root / "ILSVRC2012_img_val" / "holiday.JPEG", jpeg(5))
    found = OneThousand().samples(root)
    assert labels(found) == {name: own for name, own in before.items() if "_00000001" not in name}
    file = "ILSVRC2012_validation_ground_truth.txt"
    assert found.skipped == [
        ("ILSVRC2012_img_val/holiday.JPEG", f"not in {file}"),
        ("ILSVRC2012_val_00000001", f"in {file}, but no such file"),
    ]


def test_without_validation_splits_are_drawn(tmp_path: Path) -> None:
    root = in_folders(tmp_path / "t", TRAIN)
    assert {split for _, split in labels(OneThousand().samples(root)).values()} == {""}


def test_odd_files_are_right_or_listed(tmp_path: Path) -> None:
    root = folders(tmp_path / "t")
    place = root / "train" / CLASSES[0]
    put(place / "cmyk.JPEG", jpeg(7, mode="CMYK"))
    put(place / "grey.JPEG", jpeg(8, mode="L"))
    png = io.BytesIO()
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(png, "PNG")  # ImageNet has one of these
    put(place / "is_a_png.JPEG", png.getvalue())
    put(place / "cut.JPEG", jpeg(9)[:300])
    put(place / "page.JPEG", "<html>404</html>")
    put(place / "empty.JPEG", "")
    put(place / "notes.txt", "x")
    put(root / "train" / "scraps" / "x.JPEG", jpeg(10))
    (place / "broken.JPEG").symlink_to(place / "nowhere")
    Path(os.fsdecode(bytes(place) + b"/\xff.JPEG")).write_bytes(jpeg(11))
    dataset = prepared(root, tmp_path / "data", "imagenet", skip_unreadable=True)
    assert dataset.manifest["skipped"] == {"its name is not UTF-8": 1}
    assert r"\xff.JPEG" in (dataset.folder / "skipped.csv").read_text()
    names = {Path(name).name: reason for name, reason in dataset.manifest["unreadable"].items()}
    assert set(names) == {"cut.JPEG", "page.JPEG", "empty.JPEG", "broken.JPEG"}
    assert names["page.JPEG"] == "no image, by its content" and names["empty.JPEG"] == "empty file"
    assert dataset.manifest["left_alone"] == {".txt": 1}
    assert dataset.manifest["notes"] == ["train/scraps/ is left alone: it is no class"]
    stored = {row["path"]: dataset.store.read(np.array([k]))[0] for k, row in enumerate(dataset.store.rows)}
    assert (stored[f"{CLASSES[0]}/is_a_png.JPEG"] == 7).all()
    assert np.array_equal(stored[f"{CLASSES[0]}/cmyk.JPEG"], decode(jpeg(7, mode="CMYK"), SIZE))


@pytest.mark.parametrize(
    ("files", "reader", "said"),
    [
        (["a.txt"], "imagenet", r"expected train/ .* and val/ with folders like n01440764/.*; found a\.txt"),
        (["ILSVRC2012_img_train.tar"], "imagenet", r"ILSVRC2012_img_train\.tar is still to be unpacked"),
        (["train/n01440764.tar"], "imagenet", "n01440764.tar is still to be unpacked, each class into a folder"),
        (["train/dog/1.JPEG"], "imagenet", "train: expected folders of classes, like n01440764/; found dog/"),
        (["val/n01440764/1.JPEG"], "imagenet", "has val/, but no training images"),
        (["train/n01440764/1.JPEG", "val/1.JPEG"], "imagenet", r"or images and a ground truth .*; found 1\.JPEG"),
        (["train/n01440764/1.JPEG", "val/1.JPEG"], "imagenet labels=t.csv", r"labels=t\.csv: no such file"),
        (["train/n01440764/1.JPEG"], "imagenet synsets=kagle", r"no list; did you mean 'kaggle'"),
        (["train/n01440764/1.JPEG"], "imagenet-100", "has 1 class folders, and no Labels.json; imagenet-100 has 100"),
        (["train/n01440764/1.JPEG"], "imagenet-100 synsets=cmc", "has 1 class folders, and none of the 100"),
    ],
)  # fmt: skip
def test_a_wrong_tree_is_told_what_was_expected(tmp_path: Path, files: list[str], reader: str, said: str) -> None:
    for file in files:
        put(tmp_path / "t" / file, jpeg(0))
    with pytest.raises(DataError, match=said):
        prepared(tmp_path / "t", tmp_path / "data", reader)


def test_ground_truth_by_positions_alone_is_refused(tmp_path: Path) -> None:
    root = with_map(tmp_path / "t")
    (root / "map_clsloc.txt").unlink()
    with pytest.raises(DataError, match=r"has numbers of classes, so that meta\.mat .* must lie beside it"):
        OneThousand().samples(root)
    put(root / "truth.txt", "ILSVRC2012_val_00000001.JPEG 3\nILSVRC2012_val_00000002.JPEG 1\n")
    with pytest.raises(DataError, match=r"truth\.txt, line 2: .* names no class by its WordNet id"):
        OneThousand(labels="truth.txt").samples(root)


# --- ImageNet-100 ---------------------------------------------------------------------------------------------------


def test_the_layout_of_kaggle_is_the_same_dataset_as_folders_and_a_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = list(known_lists()["kaggle"])
    training, validation = imagenet(classes, train=1, val=1)
    kaggle = kaggle_hundred(tmp_path / "kaggle", training, validation)
    whole = tmp_path / "whole"
    in_folders(whole / "train", {**training, ("n03888257", "n03888257_1.JPEG"): jpeg(3)})
    in_folders(whole / "val", validation)
    words = ["data", "prepare", str(kaggle), "--name", "d", "--data", str(tmp_path / "data")]
    with pytest.raises(SystemExit):
        main([*words, "--stored", "12", "--resolution", "12", "--reader", "imagenet-100"])
    assert "the 100 classes are those of the list kaggle" in capsys.readouterr().err
    one = Dataset(tmp_path / "data" / "d")
    two = prepared(whole, tmp_path / "data-2", "imagenet-100 synsets=kaggle")
    assert (one.data_id, one.classes) == (two.data_id, sorted(classes))
    assert one.manifest["counts"] == {"train": 100, "val": 100}
    said = "the 100 classes are those of the list kaggle"
    assert one.manifest["notes"] == [said]
    assert two.manifest["notes"] == ["train/: 1 other classes are left alone", said]


def test_a_class_folder_that_labels_json_has_and_the_disk_has_not_is_listed(tmp_path: Path) -> None:
    classes = list(known_lists()["cmc"])
    root = kaggle_hundred(tmp_path / "t", *imagenet(classes, train=1, val=1))
    before = labels(OneHundred().samples(root))
    (gone,) = root.glob(f"train.X*/{classes[7]}")
    (path,) = gone.iterdir()
    path.unlink()
    gone.rmdir()
    found = OneHundred().samples(root)
    assert labels(found) == {name: own for name, own in before.items() if own[0] != classes[7]}
    assert [reason for _, reason in found.skipped] == ["of a class without training images", "no such class folder"]
    assert found.notes == ["the 99 classes are all of the list cmc, which has 100"]


def test_the_two_lists_are_a_hundred_classes_each_and_told_apart(tmp_path: Path) -> None:
    kaggle, cmc = known_lists()["kaggle"], known_lists()["cmc"]
    assert len(kaggle) == len(cmc) == 100 and len({*kaggle} & {*cmc}) == 8
    mine = put(tmp_path / "t" / "mine.txt", "n01440764 tench\nn02979186\n")
    for name, _ in TRAIN:
        put(tmp_path / "t" / "train" / name / "1.JPEG", jpeg(0))
    found = OneHundred(synsets="mine.txt").samples(mine.parent)
    assert {s.label for s in found.samples} == {"n01440764", "n02979186"}
    assert found.notes[-1] == "the 2 classes are no list that is known here (0 of them in cmc, 1 of them in kaggle)"


@pytest.mark.images
def test_real_images_of_imagenet_and_tiny_imagenet(images_root: Path) -> None:
    found = OneThousand().samples(images_root / "imagenette")
    assert len(found.samples) == 1500 and len({s.label for s in found.samples}) == 10
    tiny = OneHundred().samples(images_root / "tiny_imagenet_100")
    assert len(tiny.samples) == 11000
    assert tiny.notes == ["the 100 classes are no list that is known here (3 of them in cmc, 8 of them in kaggle)"]
