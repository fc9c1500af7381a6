"""Stores of raw pixels and of JPEG: ids that last, pixels that all readers agree on, damage that is found."""

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from blurtrain.data import beton, ffcv_decoder, jpeg
from blurtrain.data.beton import Encoding
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.decode import decode
from blurtrain.data.preparation import Recipe, prepare, writer
from blurtrain.data.preparation.readers import Sample
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError

reader_ffcv = pytest.importorskip("blurtrain.data.reader_ffcv", reason="needs FFCV")


@pytest.fixture
def portable(tmp_path: Path) -> Path:
    """A tree whose bytes are the same with every version of every library."""
    for kind in ("cup", "ball"):
        (tmp_path / "tree" / kind).mkdir(parents=True)
        for k in range(4):
            pixels = bytes((7 * i * (k + 1) + len(kind)) % 256 for i in range(192))
            (tmp_path / "tree" / kind / f"{k}.ppm").write_bytes(b"P6 8 8 255\n" + pixels)
    return tmp_path / "tree"


@pytest.fixture
def copy(jpg: Dataset, tmp_path: Path) -> Dataset:
    """A copy of `jpg` that may be damaged."""
    shutil.copytree(jpg.folder.parent, tmp_path / "copy")
    return open_dataset(tmp_path / "copy", jpg.name)


def samples(*paths: str) -> list[Sample]:
    return [Sample(path, path) for path in paths]


# --- identity -------------------------------------------------------------------------------------------------------


def test_ids_stay_and_an_encoding_is_part_of_them(portable: Path, tmp_path: Path) -> None:
    def prepared(name: str, **options: Any) -> tuple[str, str]:
        dataset, fresh = prepare(tmp_path / "data", name, Recipe(images=str(portable), stored=16, **options))
        assert fresh
        dataset.check()
        return dataset.data_id, dataset.manifest["store"]

    raw = prepared("raw")
    assert raw == ("4d60a3499d2be2c9", "f208869ba895f6bd")  # as runs of the first version know them
    others = [prepared("jpg", encoding="jpg"), prepared("fine", encoding="jpg", quality=95)]
    assert len({raw[0], *(data_id for data_id, _ in others)}) == len({raw[1], *(store for _, store in others)}) == 3
    assert prepared("same", encoding="jpg", quality=90) == others[0]


def test_datasets_prepared_before_there_was_an_encoding_are_not_prepared_again(prepared: Dataset, tree: Path) -> None:
    assert not {"encoding", "quality"} & set(prepared.manifest["request"])
    recipe = Recipe(images=str(tree), resolution=64, encoding="raw")
    assert prepare(prepared.folder.parent, prepared.name, recipe)[1] is False


@pytest.mark.parametrize("options", [{"quality": 90}, {"encoding": "jpg", "quality": 96}, {"encoding": "png"}])
def test_recipes_that_do_not_fit_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"quality|encoding"):
        Recipe(images="x", **options)


# --- pixels ---------------------------------------------------------------------------------------------------------


def test_jpeg_pixels_are_near_the_sources_and_the_same_with_ffcv(jpg: Dataset, tree: Path) -> None:
    store = jpg.store
    assert (store.encoding, store.size, len(store)) == ("jpg", 73, 42)
    pixels = store.read(np.arange(42))
    for row, stored in zip(store.rows, pixels, strict=True):
        error = stored.astype(int) - decode((tree / row["path"]).read_bytes(), 73)
        assert 0 < np.abs(error).mean() < 8, row["path"]
    brought = reader_ffcv.FFCVReader(store, 2, 60).batches(np.arange(42), 10)
    assert np.array_equal(np.concatenate([batch.numpy().copy() for batch in brought]), pixels)


@pytest.mark.parametrize("quality", [30, 75, 90, 95])
@pytest.mark.parametrize("size", [8, 17, 64])
def test_noise_is_decoded_alike_by_pillow_and_by_ffcv(quality: int, size: int) -> None:
    from ffcv.libffcv import imdecode

    decode = ffcv_decoder.ffcv_decoder()
    for seed in range(20):
        rng = np.random.default_rng([seed, size])
        content = jpeg.encode(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), quality)
        theirs = np.zeros((size, size, 3), np.uint8)
        assert imdecode(np.frombuffer(content, np.uint8), theirs, size, size, size, size) == 0
        assert np.array_equal(jpeg.decode(content), theirs)
        assert decode and np.array_equal(decode(content, (size, size)), theirs)


@pytest.mark.parametrize("encoding", ["raw", "jpg"])
def test_the_file_is_the_one_that_ffcv_writes(encoding: Encoding, tmp_path: Path) -> None:
    """Byte for byte, with one worker; of images that fill more than one of its pages."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    rng, size = np.random.default_rng(0), 400
    contents = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8).tobytes() for _ in range(40)]
    if encoding == "jpg":
        contents = [jpeg.encode(np.frombuffer(c, np.uint8).reshape(size, size, 3), 95) for c in contents]
    with beton.BetonWriter(tmp_path / "ours", len(contents), (size, size), encoding) as file:
        for content in contents:
            file.append(content)

    def place(image: Any, content: bytes, malloc: Any) -> None:
        """As FFCV's own field does once it has encoded the pixels."""
        image["mode"], image["width"], image["height"] = beton.MODES[encoding], size, size
        image["data_ptr"], page = malloc(len(content))
        page[:] = np.frombuffer(content, np.uint8)

    field = RGBImageField()
    field.encode = place
    fields = {"image": field, "index": IntField()}
    DatasetWriter(str(tmp_path / "theirs"), fields, num_workers=1).from_indexed_dataset(
        [(c, k) for k, c in enumerate(contents)]
    )
    ours, theirs = ((tmp_path / name).read_bytes() for name in ("ours", "theirs"))
    assert len(ours) > 2 * 2**23 and ours == theirs


def test_images_that_cannot_be_decoded_leave_no_trace_in_what_ffcv_reads(portable: Path, tmp_path: Path) -> None:
    (portable / "cup" / "0.ppm").write_bytes(b"no image")
    recipe = Recipe(images=str(portable), stored=16, skip_unreadable=True)
    store = prepare(tmp_path / "data", "x", recipe)[0].store
    brought = reader_ffcv.FFCVReader(store, 2, 60).batches(np.arange(7), 3)
    pixels = np.concatenate([batch.numpy().copy() for batch in brought])
    expected = [decode((portable / row["path"]).read_bytes(), 16) for row in store.rows]
    assert len(store) == 7 and np.array_equal(pixels, expected)


@pytest.mark.parametrize("encoding", ["raw", "jpg"])
def test_data_are_prepared_without_ffcv(
    encoding: Encoding, portable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(images=str(portable), stored=16, encoding=encoding)
    with_ffcv = prepare(tmp_path / "with", "x", recipe)[0]
    monkeypatch.setitem(sys.modules, "blurtrain.data.reader_ffcv", None)
    monkeypatch.setitem(sys.modules, "ffcv", None)
    without = prepare(tmp_path / "without", "x", recipe)[0]
    assert without.data_id == with_ffcv.data_id
    assert without.store.beton.read_bytes() == with_ffcv.store.beton.read_bytes()


def test_what_ffcv_would_decode_otherwise_is_not_published(
    portable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where FFCV and Pillow were built with libraries that do not agree."""
    decode = ffcv_decoder.ffcv_decoder()
    assert decode
    monkeypatch.setattr(ffcv_decoder, "ffcv_decoder", lambda: lambda *image: decode(*image) ^ 1)
    with pytest.raises(DataError, match=r"FFCV and Pillow decode JPEG differently, image 0 for one; prepare with"):
        prepare(tmp_path / "data", "x", Recipe(images=str(portable), stored=16, encoding="jpg"))
    assert list((tmp_path / "data" / ".stores").iterdir()) == []


def test_large_images_find_room_in_ffcvs_pages(tmp_path: Path) -> None:
    (tmp_path / "t" / "a").mkdir(parents=True)
    for k in range(2):
        Image.new("RGB", (8, 8), (k, 99, 7)).save(tmp_path / "t" / "a" / f"{k}.png")
    some = samples("a/0.png", "a/1.png")
    with writer.written_stores(tmp_path / "data", tmp_path / "t", some, writer.Wanted(1700)) as (written, *_):
        assert len(written.samples) == 2
    assert written.store.read(np.array([1]))[0, -1, -1].tolist() == [1, 99, 7]


# --- damage ---------------------------------------------------------------------------------------------------------


def changed(dataset: Dataset, content: bytes, offset: int) -> PixelStore:
    with dataset.store.beton.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    return PixelStore(dataset.store.folder)


@pytest.mark.parametrize("image", [0, 41])
def test_a_damaged_jpeg_is_found(copy: Dataset, image: int) -> None:
    _, start, length = copy.store.extents[image].tolist()
    path = copy.store.rows[image]["path"]
    whole = copy.store.beton.read_bytes()[start : start + length]
    store = changed(copy, bytes([whole[length // 2] ^ 0x55]), start + length // 2)
    with pytest.raises(DataError, match=rf"image {image} (\({path}\) are|is) damaged"):
        store.check()
    store = changed(copy, b"no JPEG", start)
    with pytest.raises(DataError, match=rf"image {image} is damaged: .*; prepare the dataset again"):
        store.read(np.array([image]))


def test_extents_that_do_not_fit_are_found_before_anyone_follows_them(copy: Dataset) -> None:
    extents, whole = copy.store.extents, copy.store.beton.read_bytes()
    place = whole.index(extents[:1].tobytes())
    for value in (2**40, 2**63):
        store = changed(copy, int(value).to_bytes(8, "little"), place + 16)
        with pytest.raises(DataError, match="its table of images is damaged"):
            len(store)
    store = changed(copy, int(extents["pointer"][0] + 1).to_bytes(8, "little"), place + 8)
    with pytest.raises(DataError, match="its table of images is damaged"):
        len(store)


def test_too_little_room_is_told_before_it_runs_out(
    portable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"data: needs 0\.0 GB more room to prepare 8 images"):
        prepare(tmp_path / "data", "x", Recipe(images=str(portable), stored=16))


def test_a_disk_that_is_full_is_told(portable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PixelStore, "beton", Path("/dev/full"))
    stores = writer.written_stores(tmp_path / "data", portable, samples("cup/0.ppm"), writer.Wanted(16))
    with pytest.raises(DataError, match="cannot be written: No space left on device"), stores:
        pass
    assert list((tmp_path / "data" / ".stores").iterdir()) == []


def test_the_accurate_transform_would_not_do() -> None:
    """Why draft mode: what Pillow decodes by default differs from what FFCV does."""
    smooth = np.add.outer(np.arange(64), np.arange(64))[..., None] * np.array([1, 2, 1]) % 256
    content = jpeg.encode(smooth.astype(np.uint8), 90)
    assert not np.array_equal(np.asarray(Image.open(io.BytesIO(content))), jpeg.decode(content))
