"""Which files are decoded as photos: by their content, and within limits that are looked at before decoding."""

import io

import numpy as np
import pytest
from photo_files import bomb_of_scans, encoded, huge_png, photo, png
from PIL import Image

from blurtrain.data.decode import read
from blurtrain.data.source import Source
from blurtrain.errors import DataError
from blurtrain.serving import photos


@pytest.mark.parametrize("kind", photos.KINDS)
def test_each_kind_is_known_by_its_content(kind: str) -> None:
    content = encoded(photo(1), kind.upper())
    assert photos.kind_of(content) == kind
    assert photos.photo(content).size == (120, 80) and photos.photo(content).mode == "RGB"


@pytest.mark.parametrize(
    "content",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n",
     b"RIFF\0\0\0\0WAVEfmt ", b"MZ\x90\0", encoded(photo(1), "PPM"), encoded(photo(1), "JPEG2000")],
)  # fmt: skip
def test_others_are_not_tried(content: bytes) -> None:
    assert photos.kind_of(content) is None
    with pytest.raises(DataError, match="no photo, by its content: it must be JPEG, PNG, WebP, TIFF, BMP or GIF"):
        photos.photo(content)


def test_a_bomb_is_refused_before_its_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(DataError, match="30000 x 30000 are 900 megapixels, more than 60"):
        photos.photo(huge_png(30_000))
    with pytest.raises(DataError, match=r"^decoded$"):
        photos.photo(huge_png(1_000))


@pytest.mark.parametrize(("width", "height"), [(1_000_000, 1), (1, 60_000_000), (2021, 20)])
def test_a_photo_that_is_one_line_is_refused_before_its_pixels_are_decoded(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    assert photos.photo(png(2000, 20)).size == (2000, 20)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(DataError, match=f"^{width} x {height}: one side is more than 100 times as long as the other$"):
        photos.photo(png(width, height))


def test_where_there_is_no_memory_it_is_not_the_photo_that_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(MemoryError):  # which the service answers by 503
        photos.photo(png(20, 20))
    assert read(Source("x"), content=png(20, 20)).reason == "not enough memory to decode it"


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    assert photos.photo(encoded(photo(2), progressive=True)).size == (120, 80)
    bomb = bomb_of_scans()
    Image.open(io.BytesIO(bomb)).load()  # it would be decoded
    with pytest.raises(DataError, match="a JPEG of more than 200 scans"):
        photos.photo(bomb)


def test_what_is_empty_or_cut_off_is_refused() -> None:
    with pytest.raises(DataError, match="empty file"):
        photos.photo(b"")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8))
    for kind in ("JPEG", "PNG", "TIFF", "BMP", "WebP"):
        whole = encoded(noise, kind.upper())
        with pytest.raises(DataError):
            photos.photo(whole[: len(whole) // 2])
