"""Readers `coco` and `imagenet-12`: masks from outlines, and crops of objects, from COCO's annotations."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Curve
from PIL import Image
from raw_layouts import OF_VOC, coco, imagenet, in_folders, jpeg, put, rectangle

import blurtrain
from blurtrain.data.dataset import Dataset
from blurtrain.data.mask_file import VOID
from blurtrain.data.outlines import filled, packed, painted, region, unpacked
from blurtrain.data.preparation.readers import Found
from blurtrain.data.preparation.readers.categories import FOLDER, categories_of
from blurtrain.data.preparation.readers.coco import Coco
from blurtrain.data.preparation.readers.imagenet12 import ImageNet12
from blurtrain.errors import DataError

PERSON, CAR, PLANE, CAT, GIRAFFE, BALL, SPOON, TRUCK, HORSE = 1, 3, 5, 17, 25, 37, 50, 8, 19


def thing(photo: int, category: int, box: tuple[float, ...], **more: Any) -> dict[str, Any]:
    outline = {"segmentation": rectangle(*box), "area": box[2] * box[3], "bbox": list(box)}
    return {"image_id": photo, "category_id": category, **outline, **more}


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


# --- outlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_polygons_cover_the_pixels_whose_centres_are_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-3, 23, (rng.integers(3, 9), 2))
    around = np.argsort(np.arctan2(*(corners - corners.mean(0)).T))  # without crossings: there all rules are one
    corners = corners[around] if seed % 2 else corners[:3]
    y, x = np.mgrid[:17, :20] + 0.5
    inside = Curve(np.vstack([corners, corners[:1]]), closed=True).contains_points(np.stack([x, y], -1).reshape(-1, 2))
    assert np.array_equal(filled(corners, 17, 20), inside.reshape(17, 20))


def test_rectangles_share_no_pixel_with_their_neighbours() -> None:
    left, right = (region(rectangle(x, 2, 5, 6), 12, 20) for x in (3, 8))
    assert left.sum() == right.sum() == 30 and not (left & right).any() and left[2:8, 3:8].all()


def test_run_lengths_are_read_column_by_column_packed_or_not() -> None:
    mask = np.random.default_rng(0).random((13, 9)) > 0.4
    line = mask.T.reshape(-1)
    ends = np.flatnonzero(np.diff(line)) + 1
    runs = np.diff([0, *ends, line.size]).tolist()
    runs = runs if not line[0] else [0, *runs]
    for counts in (runs, pack(runs)):
        assert np.array_equal(region({"size": [13, 9], "counts": counts}, 13, 9), mask)
    assert unpacked(pack([0, 5, 70_000, 3, 69_999, 1])) == [0, 5, 70_000, 3, 69_999, 1]
    assert unpacked("52203") == [5, 2, 2, 2, 5], "5, 2, 2; then 0 and 3 more than the run before the last"
    with pytest.raises(DataError, match="run lengths of 9 x 13 pixels for a photo of 9 x 12"):
        region({"size": [13, 9], "counts": runs}, 12, 9)
    with pytest.raises(DataError, match="cannot be read: packed run lengths end too early"):
        painted(packed([(1, json.dumps({"size": [13, 9], "counts": "P"}))], (9, 13)), (9, 13))
    with pytest.raises(DataError, match="is annotated as 13 x 9 pixels, and has 9 x 13"):
        painted(packed([], (13, 9)), (9, 13))


def pack(runs: list[int]) -> str:
    """As COCO's own tools do: from the third run on the difference to the one before the last, in signs of six bits."""
    text = ""
    for k, run in enumerate(runs):
        rest = run - (runs[k - 2] if k > 2 else 0)
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text += chr((bits | 32 * more) + 48)
    return text


# --- reader coco ----------------------------------------------------------------------------------------------------


def test_pixels_are_of_the_class_of_their_object_and_void_where_classes_overlap(tmp_path: Path) -> None:
    crowd = {"size": [60, 80], "counts": [0, 60 * 10, 60 * 70]}  # the first ten columns
    objects = [
        thing(1, CAT, (20, 10, 30, 30)), thing(1, PERSON, (40, 30, 30, 20)), thing(1, PERSON, (60, 40, 15, 15)),
        thing(1, PERSON, (0, 0, 10, 60), segmentation=crowd, iscrowd=1), thing(1, SPOON, (0, 0, 80, 60)),
        thing(2, CAR, (5, 5, 6, 6)), thing(3, CAT, (10, 10, 40, 40)), thing(9, CAT, (10, 10, 40, 40)),
    ]  # fmt: skip
    photos = {k: jpeg(k, width=80, height=60) for k in (1, 2, 3, 4, 9)}
    root = coco(tmp_path / "coco", "train2017", photos, objects, **OF_VOC)
    coco(root, "val2017", {5: jpeg(5, width=60, height=80)}, [thing(5, CAR, (10, 10, 40, 50))], **OF_VOC)
    (root / "train2017" / "000000000009.jpg").unlink()
    dataset = blurtrain.prepare(root, "d", tmp_path / "data", reader="coco", stored=60, resolution=40, aspect="kept")
    dataset.check()
    assert dataset.manifest["counts"] == {"train": 2, "val": 1} and dataset.classes[15] == "person"
    assert dataset.manifest["skipped"] == {"in instances_train2017.json, but no such file": 1}
    said = "train2017/: 2 photos with less than 1000 pixels of these classes are left alone"
    assert dataset.manifest["notes"] == [said]
    (photo, mask), (_, cat) = dataset.pairs("train")
    assert np.array_equal(photo, decoded(photos[1])), "as it is"
    expected = np.zeros((60, 80), np.uint8)
    expected[10:40, 20:50] = 8
    expected[30:50, 40:70], expected[40:55, 60:75], expected[:, :10] = 15, 15, 15
    expected[30:40, 40:50] = VOID
    assert np.array_equal(mask, expected)
    assert np.array_equal(cat, np.pad(np.full((40, 40), 8), ((10, 10), (10, 30))))
    ((_, tall),) = dataset.pairs("val")
    assert tall.shape == (80, 60) and (tall[10:60, 10:50] == 7).all() and (tall == 7).sum() == 2000


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (Coco(), "has no category 'bicycle'; did you mean"),
        (Coco(categories="nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (ImageNet12(), "expected imagenet/ with folders like n02690373/, and coco/ with annotations/"),
        (ImageNet12(coco="."), "has no category 'truck'"),
    ],
)  # fmt: skip
def test_wrong_folders_and_categories_are_told(tmp_path: Path, reader: Any, said: str) -> None:
    root = coco(tmp_path / "t", "train2017", {1: jpeg(1)}, [])
    file = root / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().replace('"truck"', '"lorry"'))
    with pytest.raises(DataError, match=said):
        reader.samples(root)
    with pytest.raises(DataError, match=r"expected annotations/instances_train2017\.json .*; found 1\.jpg"):
        Coco().samples(put(tmp_path / "u" / "1.jpg", b"").parent)
    put(root / "annotations" / "instances_val2017.json", "{]")
    with pytest.raises(DataError, match=r"instances_val2017\.json: cannot be read as annotations of COCO"):
        Coco(categories=str(put(tmp_path / "c.yaml", "a: {coco: [cat]}\nb: {coco: [car]}"))).samples(root)
    with pytest.raises(DataError, match="coco cat is in two categories, a and b"):
        categories_of(put(tmp_path / "d.yaml", "a: {coco: [cat]}\nb: {coco: [cat]}"))


# --- reader imagenet-12 ---------------------------------------------------------------------------------------------

PHOTOS = {k: jpeg(k, width=200, height=160) for k in range(1, 13)}
OBJECTS = [
    thing(1, GIRAFFE, (10.4, 20.2, 100.3, 120)), thing(1, HORSE, (0, 0, 199, 159)),  # giraffes are fewer
    thing(2, HORSE, (-3, 5, 120, 170)), thing(2, HORSE, (100, 5, 97, 97)),  # the larger one, inside its photo
    thing(3, HORSE, (0, 0, 95, 150)), thing(4, HORSE, (0, 0, 150, 150), iscrowd=1), thing(5, PERSON, (0, 0, 150, 150)),
    thing(6, HORSE, (0, 0, 150, 150)), thing(7, GIRAFFE, (0, 0, 96, 96)),
    *(thing(k, HORSE, (5, 5, 150, 150)) for k in range(8, 13)),
]  # fmt: skip


def twelve(root: Path) -> Path:
    training, _ = imagenet(["n02690373", "n02389026", "n01440764"], train=4, val=1)
    in_folders(root / "imagenet" / "train", training)
    coco(root / "coco", "train2017", PHOTOS, OBJECTS)
    (root / "coco" / "train2017" / "000000000006.jpg").unlink()
    return root


def by_key(found: Found) -> dict[str, Any]:
    return {sample.key: sample for sample in found.samples}


def test_crops_of_objects_join_class_folders_and_are_the_pixels_of_their_box(tmp_path: Path) -> None:
    root = twelve(tmp_path / "t")
    found = ImageNet12(images=None).samples(root)
    samples = by_key(found)
    of_coco = {key: s.box for key, s in samples.items() if s.box}
    assert of_coco == {
        "giraffe/000000000001-100.jpg": (10, 20, 111, 141), "giraffe/000000000007-108.jpg": (0, 0, 96, 96),
        "horse/000000000002-102.jpg": (0, 5, 117, 160),
        **{f"horse/{k:012d}-{k + 101}.jpg": (5, 5, 155, 155) for k in range(8, 13)},
    }  # fmt: skip
    assert {key.split("_")[0] for key in samples.keys() - of_coco} == {"airplane/n02690373", "horse/n02389026"}
    assert found.skipped == [("coco/train2017/000000000006.jpg", "in instances_train2017.json, but no such file")]
    assert "COCO: 2 objects are left alone, which are smaller than 96 pixels, or crowds" in found.notes
    assert "giraffe: no folder n02439033/" in found.notes and "airplane: no folder n02690373/" not in found.notes
    options = {"stored": 16, "resolution": 16, "val": 0.25, "test": 0.25, "min_images": 4}
    dataset: Dataset = blurtrain.prepare(root, "d", tmp_path / "data", reader="imagenet-12 images=6", **options)
    dataset.check()
    assert dataset.classes == ["airplane", "horse"]
    assert dataset.manifest["counts"] == {"train": 2 + 2, "val": 1 + 2, "test": 1 + 2}
    for row, pixels in zip(dataset.store.rows, dataset.store.read(np.arange(len(dataset.store))), strict=True):
        sample = samples[row["path"]]
        image = Image.open(root / sample.file)
        image = image.crop(sample.box) if sample.box else image
        assert np.array_equal(pixels, image.resize((16, 16), Image.Resampling.BILINEAR)), row["path"]


def test_either_source_may_be_missing_and_layouts_give_the_same_samples(tmp_path: Path) -> None:
    root = twelve(tmp_path / "t")
    whole = by_key(ImageNet12(images=None).samples(root))
    (root / "imagenet" / "train").rename(root / "in")
    (root / "imagenet").rmdir()
    (root / "coco" / "images").mkdir()
    (root / "coco" / "train2017").rename(root / "coco" / "images" / "train2017")
    moved = by_key(ImageNet12(images=None, imagenet="in").samples(root))
    plain = {key: (s.label, s.box, s.split) for key, s in whole.items()}
    assert {key: (s.label, s.box, s.split) for key, s in moved.items()} == plain
    found = ImageNet12(images=None).samples(root)
    assert {s.label for s in found.samples} == {"giraffe", "horse"}
    assert found.notes[0] == "nothing of imagenet: there is no imagenet/"
    some = ImageNet12(images=3, imagenet="in").samples(root)
    assert set(by_key(some)) < set(whole) and len(some.samples) == len(whole) - 8
    assert "8 images are left alone, beyond 3 of their category" in some.notes
    assert "giraffe: 2 images, less than 3" in some.notes


def test_categories_that_come_with_the_project_are_twelve_and_voc_s_twenty() -> None:
    twelve, voc = (categories_of(FOLDER / f"{name}.yaml") for name in ("imagenet-12", "voc"))
    assert len(twelve) == 12 and all(names.imagenet for names in twelve.values())
    assert len(voc) == 20 and list(voc)[14] == "person" and all(len(names.coco) == 1 for names in voc.values())
