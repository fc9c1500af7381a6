"""Masks beside photos: aligned to the pixel from the files to training, kept without loss, and part of the data id."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from raw_layouts import put, sbd, voc

import blurtrain
from blurtrain.cli import main
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset, remove
from blurtrain.data.mask_crops import training_masks
from blurtrain.data.mask_file import VOID, palette, read_mask, write_mask
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preparation.readers.voc import Voc
from blurtrain.errors import DataError
from blurtrain.settings import Augmentation, BlurUnits, Scaled

SHAPES = {"2007_000032": (75, 100), "2007_000039": (100, 75), "2007_000063": (60, 200), "2008_000002": (80, 80)}
PERSON, CAT = 15, 8


def board(height: int, width: int, square: int = 20, lying: bool = False) -> tuple[bytes, NDArray[np.uint8]]:
    """A checkerboard as a photo, and its white squares as cats in a mask, of black persons; a corner is void.

    lying: the file has to be turned, by its EXIF orientation."""
    rows, columns = (np.arange(side) // square for side in (height, width))
    white = (rows[:, None] + columns) % 2 == 1
    photo = io.BytesIO()
    pixels, exif = np.where(white, 255, 0).astype(np.uint8), Image.Exif()
    exif[274] = 6 if lying else 1
    Image.fromarray(np.rot90(pixels) if lying else pixels).save(photo, "PNG", exif=exif)
    mask = np.where(white, CAT, PERSON).astype(np.uint8)
    mask[:3, :3] = VOID
    return photo.getvalue(), mask


def pictures() -> dict[str, tuple[bytes, NDArray[np.uint8]]]:
    return {name: board(*shape, lying=k == 1) for k, (name, shape) in enumerate(SHAPES.items())}


LISTS = {"train": list(SHAPES)[:3], "val": list(SHAPES)[3:], "trainval": list(SHAPES)}


def prepared(root: Path, data: Path, name: str = "d", reader: str = "voc", **recipe: Any) -> Dataset:
    dataset = blurtrain.prepare(root, name, data, reader=reader, **{"stored": 48, "resolution": 40, **recipe})
    dataset.check()
    return dataset


def misplaced(photo: NDArray[np.uint8] | torch.Tensor, mask: NDArray[np.uint8] | torch.Tensor) -> int:
    """How many pixels are cat where the photo is black, or person where it is white; not where it is grey."""
    grey, mask = np.asarray(photo)[..., 0].astype(float), np.asarray(mask)
    clear = (abs(grey - 127.5) > 8) & (mask != VOID)
    assert clear.mean() > 0.6 and {PERSON, CAT} <= set(np.unique(mask)) <= {PERSON, CAT, VOID}
    return int((clear & ((grey > 127.5) != (mask == CAT))).sum())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """A tree of VOC, and the dataset prepared from it. Not to be changed."""
    folder = tmp_path_factory.mktemp("voc")
    voc(folder / "VOCdevkit" / "VOC2012", pictures(), LISTS)
    return folder / "VOCdevkit", prepared(folder / "VOCdevkit", folder / "data")


# --- preparation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aspect", ["square", "kept"])
def test_photo_and_mask_are_aligned_to_the_pixel(tmp_path: Path, made: tuple[Path, Dataset], aspect: str) -> None:
    root, dataset = made
    if aspect == "kept":
        dataset = prepared(root, tmp_path / "data", aspect="kept", longest=1.5)
    assert dataset.manifest["counts"] == {"train": 3, "val": 1}
    assert dataset.classes[:2] == ["background", "aeroplane"] and len(dataset.classes) == 21
    assert (dataset.classes[PERSON], dataset.classes[CAT]) == ("person", "cat")
    pairs = [*dataset.pairs("train"), *dataset.pairs("val"), *dataset.pairs("val", side=40)]
    assert len(pairs) == 5
    for photo, mask in pairs:
        assert photo.shape[:2] == mask.shape and misplaced(photo, mask) == 0
    if aspect == "kept":
        assert [mask.shape for _, mask in pairs] == [(48, 64), (64, 48), (48, 72), (48, 48), (40, 40)]
    # The same, as batches on their canvases.
    assert dataset.masks is not None and dataset.test_masks is not None
    canvases, masks = dataset.store.read(np.arange(4)), dataset.masks.read(np.arange(4))
    assert masks.shape == canvases.shape[:3]
    for canvas, mask, (height, width) in zip(canvases, masks, dataset.store.sides.tolist(), strict=True):
        assert misplaced(canvas, mask) == 0
        assert (mask[:, max(height, width) :] == VOID).all(), "there is no image"


def test_masks_keep_their_classes_and_their_void_by_nearest_neighbours(tmp_path: Path) -> None:
    photo, _ = board(40, 40)
    mask = np.random.default_rng(0).choice(np.array([0, 3, 20, VOID], np.uint8), (40, 40))
    root = voc(tmp_path / "t", dict.fromkeys(SHAPES, (photo, mask)), LISTS)
    dataset = prepared(root, tmp_path / "data", duplicates="allowed", stored=40, resolution=20)
    (_, whole), *_ = dataset.pairs("train")
    ((_, half),) = dataset.pairs("val", side=20)
    assert np.array_equal(whole, mask)
    assert np.array_equal(half, mask[1::2, 1::2]), "pixel i of 20 has its centre at 2 i + 1, where pixel 2 i + 1 begins"
    counts = np.bincount(mask.reshape(-1), minlength=256)[1:21]
    assert set(dataset.view["label"]) == {1 + counts.argmax()}, "the label is the largest class but for background"


def test_masks_are_part_of_the_data_id(tmp_path: Path, made: tuple[Path, Dataset]) -> None:
    root, one = made
    _, mask = board(*SHAPES["2007_000039"])
    mask[50, 50] = 3
    changed = Path(shutil.copytree(root, tmp_path / "VOCdevkit"))
    data = Path(shutil.copytree(one.folder.parent, tmp_path / "data"))
    write_mask(changed / "VOC2012" / "SegmentationClass" / "2007_000039.png", mask)
    with pytest.raises(DataError, match=r"was prepared otherwise \(files, images, source\)"):
        prepared(changed, data)
    other = prepared(changed, data, "other")
    assert other.manifest["store"] == one.manifest["store"], "the photos are the same"
    assert other.manifest["masks"] != one.manifest["masks"] and other.data_id != one.data_id
    assert other.manifest["test_masks"] == one.manifest["test_masks"]
    remove(data, ["other"])
    Dataset(data / "d").check()


def test_damaged_masks_are_found_and_replaced(tmp_path: Path, made: tuple[Path, Dataset]) -> None:
    root, one = made
    dataset = Dataset(Path(shutil.copytree(one.folder.parent, tmp_path / "data")) / "d")
    assert dataset.masks is not None
    content = bytearray(dataset.masks.file.read_bytes())
    content[-20] ^= 1
    dataset.masks.file.write_bytes(content)
    with pytest.raises(DataError, match=r"mask of image 3 \(2008_000002\.jpg\) is damaged; prepare the dataset again"):
        dataset.check()
    recipe = Recipe(images=str(root.resolve()), reader="voc", stored=48, resolution=40)  # type: ignore[arg-type]
    assert not prepare(tmp_path / "data", "d", recipe)[1], "it looks as it was, and nobody has asked for more"
    prepare(tmp_path / "data", "d", recipe, replace=True)[0].check()


# --- training -------------------------------------------------------------------------------------------------------


def transform(**augmentation: Any) -> Transform:
    settings = Augmentation(colour=0, erasing=0, **augmentation)
    return Transform(settings, 40, (0.0,) * 3, (1 / 255,) * 3, BlurUnits(), seed=1)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """Boards that are stored as they are, so that their squares end where pixels do: squared, and of many aspects."""
    root = tmp_path_factory.mktemp("boards")
    squares = {name: board(48, 48, square) for name, square in zip(SHAPES, (7, 8, 11, 16), strict=True)}
    shapes = zip(SHAPES, [(48, 64), (64, 48), (48, 80), (48, 48)], strict=True)
    aspects = {name: board(*shape, 9) for name, shape in shapes}
    return (
        prepared(voc(root / "squares", squares, LISTS), root / "data", "squares"),
        prepared(voc(root / "aspects", aspects, LISTS), root / "data", "aspects", aspect="kept", longest=2),
    )


SCALED = Scaled(object_scales=(44, 48), network_scales=(44, 60), defined_at=48, quantise=False)


@pytest.mark.parametrize(
    ("which", "augmentation", "grey"),
    [
        (0, {"crop_scale": (0.3, 1.0)}, 8),
        (0, {"crop_scale": (0.8, 1.0), "rotation": 20, "zoom": 0.2, "translation": 0.1}, 40),
        (1, {"scaled": SCALED}, 40),
    ],
    ids=["crops", "warps", "scales"],
)
def test_training_masks_follow_crops_flips_scales_and_warps_to_the_pixel(
    boards: tuple[Dataset, Dataset], which: int, augmentation: dict[str, Any], grey: float
) -> None:
    """grey: how far from the middle a pixel of a photo may be that is of either class, as what is resampled twice is
    soft there."""
    dataset, indices = boards[which], np.arange(4)
    assert dataset.masks is not None
    images = torch.from_numpy(dataset.store.read(indices)).permute(0, 3, 1, 2)
    masks = torch.from_numpy(dataset.masks.read(indices))
    sides = None if dataset.squared else dataset.store.sides
    change = transform(flip=0.5, interpolation="bilinear", **augmentation)
    shown = set()
    for epoch in range(6):
        seen = change.train(images, indices, epoch, sides=sides)
        found = training_masks(change, masks, indices, epoch, sides)
        assert found.shape == (4, 40, 40) and found.dtype == torch.uint8
        for photo, mask in zip(seen[:, 0].numpy(), found.numpy(), strict=True):
            clear = (abs(photo - 127.5) > grey) & (mask != VOID)
            assert not (clear & ((photo > 127.5) != (mask == CAT))).any()
            assert clear.mean() > 0.7
            shown.add(mask.tobytes())
    assert len(shown) > 12, "geometry differs from epoch to epoch"


# --- reader voc -----------------------------------------------------------------------------------------------------


def test_masks_of_the_semantic_boundaries_dataset_are_trained_on_but_for_val(tmp_path: Path) -> None:
    every = pictures()
    more = {name: every[name][1] for name in list(every)[1:]}
    first = {name: every[name] for name in ("2007_000032", "2008_000002")}
    root = tmp_path / "t"
    base = voc(root / "VOC2012", first, {"train": ["2007_000032"], "val": ["2008_000002"]})
    for name in list(every)[1:3]:  # VOC has the photos, too
        put(base / "JPEGImages" / f"{name}.jpg", every[name][0])
    sbd(root / "benchmark_RELEASE" / "dataset", more)
    found = Voc().samples(root)
    assert {s.key: s.split for s in found.samples} == {f"{n}.jpg": "val" if "2008" in n else "train" for n in every}
    assert found.notes == [
        "1 further masks are left alone: their photos are in val.txt",
        "1 photos to train on with masks of VOC, 2 with further ones",
    ]
    assert next(s.mask for s in found.samples if s.split == "val").startswith("VOC2012/SegmentationClass/")
    one = prepared(root, tmp_path / "data")
    assert len(Voc(more=False).samples(root).samples) == 2
    for name, mask in more.items():  # as PNG, as other people have them
        folder = base / "SegmentationClassAug"
        folder.mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / f"{name}.png")
    put(base / "ImageSets" / "Segmentation" / "train_aug.txt", "".join(
        f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png\n" for n in list(every)[:3]))  # fmt: skip
    two = prepared(root, tmp_path / "data", "two")
    assert two.data_id != one.data_id, "other bytes of masks"
    for (photo, mask), (other, same) in zip(one.pairs("train"), two.pairs("train"), strict=True):
        assert np.array_equal(photo, other) and np.array_equal(mask, same) and misplaced(photo, mask) == 0


def test_without_lists_all_masks_are_taken_and_splits_drawn(tmp_path: Path) -> None:
    found = Voc().samples(voc(tmp_path / "t", pictures(), {}))
    assert {sample.split for sample in found.samples} == {""} and len(found.samples) == 4
    assert "splits are drawn" in found.notes[0]


def test_what_is_wrong_with_a_mask_is_listed_by_file_and_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"2009_{k:06d}" for k in range(9)]
    root = voc(
        tmp_path / "t", {n: board(60 + k, 80) for k, n in enumerate(names)}, {"train": names[:8], "val": names[8:]}
    )
    masks = root / "SegmentationClass"
    write_mask(masks / f"{names[0]}.png", board(60, 81)[1])
    write_mask(masks / f"{names[1]}.png", np.full((61, 80), 21, np.uint8))
    put(masks / f"{names[2]}.png", "<html>404</html>")
    put(masks / f"{names[3]}.png", (masks / f"{names[7]}.png").read_bytes()[:80])
    (masks / f"{names[4]}.png").unlink()
    (root / "JPEGImages" / f"{names[5]}.jpg").unlink()
    rgb = np.random.default_rng(0).integers(0, 256, (66, 80, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(masks / f"{names[6]}.png")
    with pytest.raises(DataError, match=r"5 of 7 images cannot be decoded .*mask of 81 x 60 pixels for a"):
        prepared(root, tmp_path / "data")
    words = ["data", "prepare", str(root), "--name", "d", "--data", str(tmp_path / "data"), "--reader", "voc"]
    with pytest.raises(SystemExit) as done:
        main([*words, "--stored", "48", "--resolution", "40", "--skip-unreadable"])
    said = capsys.readouterr().err
    assert done.value.code == 0
    assert "found 2 of 9: 1 no mask, 1 no such photo, 1 mask of 81 x 60 pixels for a photo of 80 x 60, " in said
    for name, why in [
        (names[0], "mask of 81 x 60 pixels for a photo of 80 x 60"),
        (names[1], "mask has value 21, which is no class (0..20, or 255 for void)"),
        (names[2], "no mask, by its content"),
        (names[6], "which is none of VOC's"),
    ]:
        assert any(name in line and why in line for line in said.splitlines()), name
    dataset = Dataset(tmp_path / "data" / "d")
    dataset.check()
    assert dataset.manifest["counts"] == {"train": 1, "val": 1} and len(dataset.manifest["unreadable"]) == 5
    assert [misplaced(*pair) for pair in dataset.pairs("train")] == [0]


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"train": ["a"]}, r"must hold both train\.txt and val\.txt, or none; found train\.txt"),
        ({"train": ["a"], "val": ["a"]}, r"a is both in train\.txt and in val\.txt"),
        ({"train": ["b"], "val": ["c"]}, "none of 2 photos has a mask; found ImageSets/, JPEGImages/, Segm"),
    ],
)
def test_wrong_lists_are_told(tmp_path: Path, lists: dict[str, list[str]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Voc().samples(voc(tmp_path / "t", {"a": board(60, 60)}, lists))
    with pytest.raises(DataError, match=r"expected VOCdevkit/VOC2012/ \(or what is in it\).*found 1\.txt"):
        Voc().samples(put(tmp_path / "u" / "1.txt", "x").parent)


def test_a_dataset_without_masks_says_so(prepared: Dataset) -> None:
    assert prepared.masks is None and prepared.test_masks is None
    with pytest.raises(DataError, match="has no masks; reader voc"):
        next(prepared.pairs("train"))


# --- mask files -----------------------------------------------------------------------------------------------------


def test_mask_files_of_all_kinds_give_the_same_numbers() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 7, 20, VOID], np.uint8), (5, 6))
    colours = palette()
    assert colours[:3].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]] and colours[15].tolist() == [192, 128, 128]
    assert colours[20].tolist() == [0, 64, 128] and colours[255].tolist() == [224, 224, 192]  # of VOC's development kit
    indexed = Image.fromarray(mask)
    indexed.putpalette(colours.tobytes())
    for image in (indexed, Image.fromarray(mask), indexed.convert("RGB"), Image.fromarray(mask.astype(np.uint16))):
        content = io.BytesIO()
        image.save(content, "PNG")
        assert np.array_equal(read_mask(content.getvalue(), ".png", (6, 5), 21), mask), image.mode


@pytest.mark.images
def test_real_photos_of_voc(images_root: Path, tmp_path: Path) -> None:
    dataset = prepared(images_root / "voc", tmp_path / "data", aspect="kept", stored=96, resolution=96)
    assert sum(dataset.manifest["counts"].values()) == 100
    values = set[int]()
    for photo, mask in dataset.pairs("train"):
        assert photo.shape[:2] == mask.shape
        values |= set(np.unique(mask).tolist())
    assert VOID in values and values <= {*range(21), VOID}
