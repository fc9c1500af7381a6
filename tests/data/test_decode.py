"""Decoding: every kind of image file becomes square 8-bit RGB, or is refused with its reason."""

import hashlib
import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from blurtrain.data.decode import decode, opened, read
from blurtrain.data.source import Source
from blurtrain.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def resized(pixels: np.ndarray, size: int = 20) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def test_at_its_own_size_an_image_keeps_its_pixels() -> None:
    square = COLOUR[:20, :20]
    pixels = decode(encoded(Image.fromarray(square)), 20)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, square)


def test_another_shape_is_squared_by_an_antialiased_bilinear_resize() -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR)), 12), resized(COLOUR, 12))
    # Antialiased: pixels all count, so fine checks become their mean.
    fine = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(decode(encoded(Image.fromarray(fine)), 8).astype(int) - 127).max() <= 3


def test_grey_becomes_three_equal_channels() -> None:
    pixels = decode(encoded(Image.fromarray(GREY)), 20)
    assert np.array_equal(pixels, resized(GREY))
    assert (pixels == pixels[..., :1]).all()


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = GREY[:20, :20].astype(np.uint16) * 257
    for kind in ("png", "tiff"):
        pixels = decode(encoded(Image.fromarray(deep), kind), 20)
        assert np.array_equal(pixels, np.repeat(GREY[:20, :20, None], 3, axis=2)), kind


DEEP = RNG.integers(0, 4096, (20, 20)).astype(np.uint16)
DEEP[0, :2] = 0, 4095


def with_sbit(png: bytes, bits: int) -> bytes:
    """As a camera's software writes it."""
    at = png.index(b"IDAT") - 4
    chunk = b"sBIT" + bytes([bits])
    return png[:at] + struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[at:]


def test_twelve_bits_in_sixteen_are_scaled_where_the_file_states_them() -> None:
    expected = np.round(DEEP / 4095 * 255).astype(np.uint8)
    for content in (
        with_sbit(encoded(Image.fromarray(DEEP)), 12),
        encoded(Image.fromarray(DEEP), "tiff", tiffinfo={281: 4095}),
    ):
        assert np.array_equal(decode(content, 20)[..., 0], expected)
    # Here the values have been scaled up, as PNG's standard has it, and there the tag says what is largest by chance.
    scaled = DEEP * 16 + (DEEP >> 8)
    assert np.abs(decode(with_sbit(encoded(Image.fromarray(scaled)), 12), 20)[..., 0].astype(int) - expected).max() <= 1
    other = encoded(Image.fromarray(scaled), "tiff", tiffinfo={281: 65000})
    assert np.array_equal(decode(other, 20)[..., 0], np.round(scaled / 257).astype(np.uint8))


def test_small_values_in_sixteen_bits_are_not_taken_for_black(tmp_path: Path) -> None:
    colour = np.array(
        [[0, 15], [3, 9]], np.uint8
    )  # what Pillow reads of a colour image of 16 bits, of which 12 are used
    for name, pixels in (("grey", DEEP), ("colour", colour)):
        content = encoded(Image.fromarray(pixels))
        if name == "colour":
            content = png_of_sixteen_bit_colour(pixels)
        with pytest.raises(DataError, match=r"seem to use 12 of them: convert it to 8 bits first"):
            opened(content)
    (tmp_path / "deep.png").write_bytes(encoded(Image.fromarray(DEEP)))
    twelve, full = (read(Source(str(tmp_path / "deep.png")), bits=bits).image for bits in (12, 16))
    assert np.array_equal(np.asarray(twelve)[..., 0], np.round(DEEP / 4095 * 255).astype(np.uint8))
    assert np.array_equal(np.asarray(full)[..., 0], np.round(DEEP / 257).astype(np.uint8))
    assert (
        "holds values above 1023, which are more than 10 bits"
        in read(Source(str(tmp_path / "deep.png")), bits=10).reason
    )
    (tmp_path / "colour.png").write_bytes(png_of_sixteen_bit_colour(colour))
    assert "convert it to 8 bits first" in read(Source(str(tmp_path / "colour.png")), bits=12).reason


def png_of_sixteen_bit_colour(upper: np.ndarray) -> bytes:
    """RGB whose samples are `upper` * 256 + 255."""
    height, width = upper.shape
    samples = np.repeat((upper.astype(">u2") * 256 + 255)[..., None], 3, axis=2).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in samples)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_black_and_white_is_read() -> None:
    bits = GREY[:20, :20] > 127
    assert np.array_equal(decode(encoded(Image.fromarray(bits)), 20)[..., 0], bits * 255)


def test_palettes_are_looked_up() -> None:
    palette = Image.fromarray(COLOUR).quantize(16)
    assert palette.mode == "P"
    assert np.array_equal(decode(encoded(palette), 20), resized(np.asarray(palette.convert("RGB"))))
    assert np.array_equal(decode(encoded(palette, "gif"), 20), resized(np.asarray(palette.convert("RGB"))))


def test_transparency_is_dropped() -> None:
    rgba = np.dstack([COLOUR, RNG.integers(0, 256, (20, 30), dtype=np.uint8)])
    assert np.array_equal(decode(encoded(Image.fromarray(rgba)), 20), resized(COLOUR))


def test_cmyk_is_converted() -> None:
    flat = Image.new("CMYK", (30, 20), (0, 255, 255, 0))
    pixels = decode(encoded(flat, "jpeg", quality=95), 20)
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_camera_says(orientation: int) -> None:
    turns = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.ascontiguousarray(turns[orientation](COLOUR))
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR), exif=exif), 20), resized(upright))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_truncated_image_is_refused(kind: str, share: float) -> None:
    content = encoded(Image.fromarray(RNG.integers(0, 256, (80, 80, 3), dtype=np.uint8)), kind)
    decode(content, 20)
    with pytest.raises(DataError, match=r"[Tt]runcated"):
        decode(content[: int(share * len(content))], 20)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "^empty file$"),
        (b"This is no picture.\n", "^no image, by its content$"),
        (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "tiff"), r"pixels of kind F \(32 bit\): convert them"),
        (encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "tiff"), "pixels of kind I .32 bit"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode(content, 8)


def test_an_image_that_would_fill_the_memory_is_refused_unless_asked_for() -> None:
    panorama = encoded(Image.new("L", (30_000, 3_000), 255))
    with pytest.raises(DataError, match=r"30000 x 3000 are 90 megapixels, more than 89\.4785; --megapixels raises"):
        opened(panorama)
    assert opened(panorama, 100).size == (30_000, 3_000)
    assert Image.MAX_IMAGE_PIXELS == 89_478_485, "Pillow's own limit stays for others"


def test_threads_that_decode_at_once_leave_pillows_limits_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins within the first, and ends after it."""
    whole, within, ended, limits = Image.open, threading.Event(), threading.Event(), []

    def slow(file: Any) -> Image.Image:
        if threading.current_thread().name == "first":
            within.wait(60)
        else:
            within.set()
            ended.wait(60)
        limits.append(Image.MAX_IMAGE_PIXELS)
        return whole(file)

    monkeypatch.setattr(Image, "open", slow)
    photo = encoded(Image.fromarray(COLOUR))
    threads = [threading.Thread(target=opened, args=(photo,), name=name) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    threads[0].join(60)
    ended.set()
    threads[1].join(60)
    assert limits == [None, None] and Image.MAX_IMAGE_PIXELS == 89_478_485


def test_a_jpeg_whose_rest_is_zeros_is_refused() -> None:
    content = encoded(Image.fromarray(RNG.integers(0, 256, (80, 80, 3), dtype=np.uint8)), "jpeg")
    with pytest.raises(DataError, match="the rest of this JPEG is zeros"):
        opened(content[: len(content) // 2].ljust(len(content), b"\0"))
    behind = opened(content + b"\xff\xda" + bytes(999))  # as cameras put a film behind the picture
    assert behind.size == (80, 80)
    progressive = io.BytesIO()
    Image.fromarray(COLOUR).save(progressive, "jpeg", progressive=True)
    assert opened(progressive.getvalue() + bytes(999)).size == Image.fromarray(COLOUR).size


@pytest.mark.parametrize("field", [(0x128, 4, struct.pack("<I", 70_000)), (0x128, 8, struct.pack("<h", -1))])
def test_a_photo_is_turned_also_where_its_exif_cannot_be_written_again(field: tuple[int, int, bytes]) -> None:
    tag, kind, value = field
    entries = [(0x112, 3, struct.pack("<H", 6)), (tag, kind, value)]
    body = b"".join(struct.pack("<HHI", t, k, 1) + v.ljust(4, b"\0") for t, k, v in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + body + bytes(4)
    upper = np.zeros((20, 30, 3), np.uint8)
    upper[:10] = 255
    content = io.BytesIO()
    Image.fromarray(upper).save(content, "jpeg", quality=95, exif=exif)
    turned = np.asarray(opened(content.getvalue()))
    assert turned.shape == (30, 20, 3) and turned[:, -1].mean() > 200 > 60 > turned[:, 0].mean()


def test_long_text_in_a_png_is_passed_over() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 2_000_000, zip=True)
    content = io.BytesIO()
    Image.fromarray(COLOUR).save(content, "png", pnginfo=info)
    assert np.array_equal(np.asarray(opened(content.getvalue())), COLOUR)


def test_read_never_raises_and_always_gives_the_digest_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encoded(Image.fromarray(COLOUR)))
    (tmp_path / "bad.jpg").write_text("text")
    digest, image, reason, *_ = read(Source(str(tmp_path / "good.png")))
    assert (digest, reason) == (hashlib.sha256((tmp_path / "good.png").read_bytes()).hexdigest(), "")
    assert np.array_equal(np.asarray(image), COLOUR)
    assert read(Source(str(tmp_path / "bad.jpg")))[:2] == (hashlib.sha256(b"text").hexdigest(), None)
    assert read(Source(str(tmp_path / "bad.jpg"))).reason == "no image, by its content"
    assert read(Source(str(tmp_path / "none.png")))[:3] == ("", None, "No such file or directory")
