"""Stores that keep the aspect of images: shapes and pixels are Pillow's, alike from every loader; what is refused."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from blurtrain.cli import main
from blurtrain.data import jpeg
from blurtrain.data.canvas import as_seen
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.decode import decode
from blurtrain.data.loader import open_loader
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError
from blurtrain.settings import Loader, Settings
from blurtrain.training.train import train

SOURCES = {  # width, height; and as they are at a smaller side of 41, at most twice as long
    "landscape": ((60, 40), (62, 41)),
    "portrait": ((40, 60), (41, 62)),
    "square": ((50, 50), (41, 41)),
    "nearly": ((40, 41), (41, 42)),
    "enlarged": ((40, 20), (82, 41)),
    "panorama": ((200, 30), (82, 41)),
    "tower": ((30, 200), (41, 82)),
}
CROPPED = ("panorama", "tower")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of landscape, portrait, square and very long images: noise on a ramp, and so no two sides alike."""
    root = tmp_path_factory.mktemp("mixed")
    for number, kind in enumerate(("cup", "ball", "cat")):
        (root / kind).mkdir()
        for name, ((width, height), _) in SOURCES.items():
            rng = np.random.default_rng([number, width, height])
            ramp = np.linspace(0, 150, height)[:, None, None] + np.linspace(0, 80, width)[:, None] * [1, 0, 0.5]
            pixels = (ramp + rng.uniform(0, 20, (height, width, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def datasets(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """`mixed` by encoding. Not to be changed."""
    root = tmp_path_factory.mktemp("kept")
    kept: dict[str, Any] = {"images": str(mixed), "aspect": "kept", "stored": 41, "tested": 38, "resolution": 32}
    return {name: prepare(root, name, Recipe(**kept, encoding=name))[0] for name in ("raw", "jpg")}


@pytest.fixture(params=["raw", "jpg"])
def dataset(request: pytest.FixtureRequest, datasets: dict[str, Dataset]) -> Dataset:
    return datasets[request.param]


@pytest.fixture
def copy(mixed: Path, tmp_path: Path) -> Dataset:
    """One that may be damaged."""
    recipe = Recipe(images=str(mixed), aspect="kept", stored=41, resolution=32)
    return prepare(tmp_path / "copy", "copy", recipe)[0]


def seen(store: PixelStore) -> dict[str, NDArray[np.uint8]]:
    """Every image without what fills its canvas, by its path."""
    canvases = store.read(np.arange(len(store)))
    return {row["path"]: as_seen(*each) for row, *each in zip(store.rows, canvases, store.sides, strict=True)}


# --- shapes and pixels ----------------------------------------------------------------------------------------------


def test_the_smaller_side_is_fixed_and_the_longer_one_in_proportion(dataset: Dataset) -> None:
    store = dataset.store
    assert (store.canvas, store.size, store.squared, dataset.squared) == ((41, 82), 41, False, False)
    for row, (height, width) in zip(store.rows, store.sides.tolist(), strict=True):
        assert (width, height) == SOURCES[Path(row["path"]).stem][1]


def test_the_longer_side_is_rounded_to_the_nearest_pixel() -> None:
    for width in range(20, 61):
        content = io.BytesIO()
        Image.new("RGB", (width, 20)).save(content, "png")
        height, seen, _ = decode(content.getvalue(), 33, longest=100).shape
        assert height == 33 and abs(seen - Fraction(33 * width, 20)) <= Fraction(1, 2)


@pytest.mark.parametrize("which", ["store", "test_store"])
def test_pixels_are_those_of_pillows_resize(datasets: dict[str, Dataset], mixed: Path, which: str) -> None:
    store: PixelStore = getattr(datasets["raw"], which)
    images = seen(store)
    assert images
    for path, pixels in images.items():
        source = Image.open(mixed / path)
        width, height = SOURCES[Path(path).stem][1] if which == "store" else pixels.shape[1::-1]
        box = None
        if Path(path).stem in CROPPED:  # its central part, 60 of 200 pixels
            box = (70, 0, 130, 30) if source.width > source.height else (0, 70, 30, 130)
            cut = np.asarray(source.crop(box).resize((width, height), Image.Resampling.BILINEAR))
            inside = np.s_[2:-2, 2:-2]  # at the ends Pillow sees the pixels that are cut off, too
            assert np.abs(pixels[inside].astype(int) - cut[inside]).max() <= 1
        assert np.array_equal(pixels, source.resize((width, height), Image.Resampling.BILINEAR, box))


def test_portrait_images_lie_transposed_and_edges_fill_the_canvas(datasets: dict[str, Dataset], mixed: Path) -> None:
    store = datasets["raw"].store
    for canvas, row in zip(store.read(np.arange(len(store))), store.rows, strict=True):
        if "portrait" in row["path"]:
            upright = np.asarray(Image.open(mixed / row["path"]).resize((41, 62), Image.Resampling.BILINEAR))
            assert np.array_equal(canvas[:, :62], np.swapaxes(upright, 0, 1))
            assert (canvas[:, 62:] == canvas[:, 61:62]).all()


def test_jpeg_is_near_to_that_up_to_the_borders(datasets: dict[str, Dataset]) -> None:
    raw, jpg = seen(datasets["raw"].store), seen(datasets["jpg"].store)
    for path, pixels in jpg.items():
        error = np.abs(pixels.astype(int) - raw[path])
        inside, border = error[4:-4, 4:-4].mean(), np.concatenate([error[:, -2:].ravel(), error[-2:].ravel()]).mean()
        assert 0 < inside < 8 and border < 1.5 * inside + 1, path


def test_what_fills_a_canvas_costs_the_image_nothing_in_jpeg(tmp_path: Path) -> None:
    """A bright image, whose last block of 8 x 8 pixels is half beside it: rings, were it filled up with black."""
    for k, width in enumerate((36, 64)):
        (tmp_path / "t" / "ab"[k]).mkdir(parents=True)
        Image.new("RGB", (width, 32), (250, 240, 230)).save(tmp_path / "t" / "ab"[k] / f"{k}.png")
    recipe = {"images": str(tmp_path / "t"), "aspect": "kept", "stored": 32, "resolution": 32, "val": 0, "test": 0}
    store = prepare(tmp_path / "data", "x", Recipe(**recipe, encoding="jpg", quality=30))[0].store
    assert np.abs(seen(store)["a/0.png"].astype(int) - [250, 240, 230]).max() <= 2
    black = np.zeros((32, 64, 3), np.uint8)
    black[:, :36] = (250, 240, 230)
    assert np.abs(jpeg.decode(jpeg.encode(black, 30))[:, :36].astype(int) - [250, 240, 230]).max() > 5


def test_the_canvas_is_as_wide_as_the_longest_image(mixed: Path, tmp_path: Path) -> None:
    for label, name in (("a", "portrait"), ("b", "square")):
        (tmp_path / "t" / label).mkdir(parents=True)
        (tmp_path / "t" / label / f"{name}.png").write_bytes((mixed / "cup" / f"{name}.png").read_bytes())
    recipe = {"images": str(tmp_path / "t"), "aspect": "kept", "stored": 41, "resolution": 41, "val": 0, "test": 0}
    assert prepare(tmp_path / "data", "x", Recipe(**recipe))[0].store.canvas == (41, 62)
    assert prepare(tmp_path / "data", "less", Recipe(**recipe, longest=1.25))[0].store.canvas == (41, 51)
    squares = prepare(tmp_path / "data", "squares", Recipe(**recipe, longest=1))[0]
    assert (squares.store.canvas, squares.squared) == ((41, 41), True)
    squares.check()
    source = Image.open(mixed / "cup" / "portrait.png")
    centre = source.resize((41, 41), Image.Resampling.BILINEAR, (0, 10, 40, 50))
    assert np.array_equal(squares.store.read(np.array([0]))[0], centre)


def test_the_statistics_are_of_the_images_and_not_of_what_is_around_them(dataset: Dataset) -> None:
    images = list(seen(dataset.store).values())
    pixels = np.concatenate([images[k].reshape(-1, 3) for k in dataset.split("train")[0]]) / 255
    assert np.allclose(dataset.manifest["mean"], pixels.mean(0), atol=1e-12)
    assert np.allclose(dataset.manifest["sd"], pixels.std(0), atol=1e-12)


@pytest.mark.images
def test_real_photographs(images_root: Path, tmp_path: Path) -> None:
    """As they come: 100 JPEGs, most of them 500 px long."""
    photos = images_root / "voc" / "JPEGImages"
    assert len(list(photos.iterdir())) == 100
    for k, photo in enumerate(sorted(photos.iterdir())):
        (tmp_path / "t" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / "ab"[k % 2] / photo.name).symlink_to(photo)
    recipe = Recipe(images=str(tmp_path / "t"), aspect="kept", stored=96, tested=90, resolution=64)
    dataset = prepare(tmp_path / "data", "photos", recipe)[0]
    dataset.check()
    for path, pixels in seen(dataset.store).items():
        with Image.open(tmp_path / "t" / path) as source:
            scale = 96 / min(source.size)
            width, height = (int(np.floor(side * scale + 0.5)) for side in source.size)
            assert np.array_equal(pixels, source.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


# --- loaders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ffcv", "resident", "pytorch"])
def test_every_loader_brings_the_same_pixels_and_sides(dataset: Dataset, kind: Any) -> None:
    if kind == "ffcv":
        pytest.importorskip("blurtrain.data.reader_ffcv", reason="needs FFCV")
    store = dataset.store
    loader = open_loader(Loader(kind=kind, workers=2), dataset, torch.device("cpu"))
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(store)), 2))
    batches = list(loader.epoch(order, 8))
    assert np.array_equal(np.concatenate([batch.indices for batch in batches]), order)
    canvases = torch.cat([batch.images for batch in batches])
    assert canvases.shape == (len(order), 3, 41, 82)
    assert np.array_equal(canvases.permute(0, 2, 3, 1).numpy(), store.read(order))
    sides = np.concatenate([batch.sides for batch in batches if batch.sides is not None])
    assert np.array_equal(sides, store.sides[order])


def test_squared_images_come_without_sides(prepared: Dataset) -> None:
    assert prepared.squared and prepared.store.sides.tolist() == [[73, 73]] * len(prepared.store)
    loader = open_loader(Loader(kind="resident"), prepared, torch.device("cpu"))
    assert next(loader.epoch(np.arange(4), 4)).sides is None


# --- datasets -------------------------------------------------------------------------------------------------------


def test_the_manifest_says_how_images_are_kept_and_how_many_are_not_whole(dataset: Dataset, prepared: Dataset) -> None:
    keys = ("aspect", "longest", "tested", "cropped", "stored_size", "resolution")
    assert [dataset.manifest[key] for key in keys] == ["kept", 2.0, 38, 6, 41, 32]
    assert dataset.tested == 38
    dataset.check()
    new = {"aspect", "longest", "tested"}
    assert not new & {*prepared.manifest, *prepared.manifest["request"]} and prepared.tested == 64
    assert list(prepared.store.rows[0]) == ["path", "sha256", "crc32"]


def test_evaluation_is_on_the_test_store_where_that_has_the_smaller_side(dataset: Dataset) -> None:
    images = dataset.evaluation_images("test", 38)
    assert (images.pixels, images.store.size, images.store.encoding) == ("source", 38, "raw")
    assert [images.store.rows[k]["path"] for k in images.indices] == [
        dataset.store.rows[k]["path"] for k in dataset.split("test")[0]
    ]
    for split, side in (("test", 32), ("test", 41), ("train", 38)):
        assert dataset.evaluation_images(split, side).store == dataset.store


def test_ids_cover_the_aspect_and_the_longest_side(mixed: Path, tmp_path: Path) -> None:
    def prepared(name: str, **options: Any) -> tuple[str, str]:
        dataset, fresh = prepare(tmp_path, name, Recipe(images=str(mixed), stored=41, resolution=32, **options))
        assert fresh and not prepare(tmp_path, name, Recipe(**dataset_recipe(dataset)))[1]
        return dataset.data_id, dataset.manifest["store"]

    def dataset_recipe(dataset: Dataset) -> dict[str, Any]:
        return {key: value for key, value in dataset.manifest["request"].items() if key in Recipe.model_fields}

    square, kept = prepared("square"), prepared("kept", aspect="kept")
    shorter = prepared("shorter", aspect="kept", longest=1.5)
    assert len({square, kept, shorter}) == len({store for _, store in (square, kept, shorter)}) == 3
    assert prepared("tested", aspect="kept", tested=40, longest=2) == kept, "tested is of another store"
    assert prepared("also", tested=32) == square


def test_the_command_prepares_and_lists_them(mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--aspect", "kept", "--stored", "41", "--tested", "38", "--resolution", "32", "--longest", "1.5"]
    where = ["--data", str(tmp_path / "data")]
    assert ended(["data", "prepare", str(mixed), "--name", "x", *options, *where]) == 0
    out, err = capsys.readouterr()
    assert "41 px smaller side, aspect kept" in out
    assert "9 images are longer than 1.5:1, and were cropped to it" in err
    grid = tmp_path / "grid.yaml"
    recipe = {"images": str(mixed), "aspect": "kept", "stored": 41, "tested": 38, "resolution": 32, "longest": 1.5}
    grid.write_text(json.dumps({"data": {"x": recipe}, "axes": {"dataset": ["x"], "regime": ["clear"]}}))
    assert ended(["data", "prepare", "--grid", str(grid), *where]) == 0
    assert "already prepared" in capsys.readouterr().out
    assert ended(["data", "list", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)[0]["aspect"] == "kept"


def ended(command: list[str]) -> int:
    try:
        return int(main(command) or 0)
    except SystemExit as end:
        return int(end.code or 0)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tested": 38}, "tested=38 goes with aspect=kept: square images are tested at the resolution, 224"),
        ({"longest": 1.5}, "longest=1.5 goes with aspect=kept: squares have no longer side"),
        ({"aspect": "kept", "longest": 0.5}, "longest"),
        ({"aspect": "keep"}, "'square' or 'kept'"),
        ({"aspect": "kept", "stored": 40000}, "stored and tested times longest=2 must be at most 65500 pixels"),
    ],
)
def test_recipes_that_do_not_fit_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe(images="x", **options)


def test_training_and_evaluation_that_need_squares_say_what_helps(
    datasets: dict[str, Dataset], tiny: Callable[..., Settings], tmp_path: Path
) -> None:
    dataset = datasets["raw"]
    here = {"root": str(dataset.folder.parent), "resolution": 32}
    settings = tiny(dataset="raw", data=here, optimisation={"batch_size": 4})
    with pytest.raises(DataError, match=r"'raw' keeps the aspect of its images: train on it with augmentation\.scaled"):
        train(settings, tmp_path)
    from blurtrain.evaluation.images import Images

    with pytest.raises(DataError, match=r"'raw' keeps the aspect of its images: set evaluation\.protocol"):
        Images.of(dataset, settings.evaluation, 38)


def changed(dataset: Dataset, change: Callable[[dict[str, str]], object]) -> Dataset:
    path = dataset.store.folder / "images.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    for row in rows:
        change(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return open_dataset(dataset.folder.parent, dataset.name)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("width"),
        lambda row: row.update(height="forty"),
        lambda row: row.update(height="40", width="40"),
        lambda row: row.update(width="90"),
    ],
)
def test_sides_that_cannot_be_are_found_before_anyone_uses_them(copy: Dataset, change: Any) -> None:
    damaged = changed(copy, change)
    with pytest.raises(DataError, match=r"images\.csv: does not give the sides of each image; prepare"):
        open_loader(Loader(kind="resident"), damaged, torch.device("cpu"))


@pytest.mark.parametrize("name", ["landscape", "portrait"])
def test_the_check_finds_sides_that_were_changed(copy: Dataset, name: str) -> None:
    def swap(row: dict[str, str]) -> None:
        if name in row["path"]:
            row["height"], row["width"] = row["width"], row["height"]

    with pytest.raises(DataError, match=rf"pixels of image \d+ \(.*/{name}\.png\) are damaged"):
        changed(copy, swap).check()


def test_the_check_finds_a_pixel_that_was_changed_in_an_image_and_not_one_beside_it(copy: Dataset) -> None:
    index = next(k for k, row in enumerate(copy.store.rows) if "portrait" in row["path"])
    start = int(copy.store.extents[index]["pointer"])
    content = bytearray(copy.store.beton.read_bytes())
    for column, whole in ((62, True), (61, False)):  # of the canvas; the image lies in 62 of its 82
        damaged = bytearray(content)
        damaged[start + 3 * column] ^= 0x55
        copy.store.beton.write_bytes(damaged)
        store = dataclasses.replace(copy.store)
        if whole:
            store.check()
        else:
            with pytest.raises(DataError, match=rf"pixels of image {index} "):
                store.check()
