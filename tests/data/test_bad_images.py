"""What people's folders hold besides good images: each is stored right, or listed with its path and reason."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import blurtrain
from blurtrain.errors import DataError

SIZE = 16
NOISE = np.random.default_rng(0).integers(0, 256, (18, 24, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few kB that says it is so many pixels high and wide."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(20_000))) + chunk(b"IEND", b"")


def good() -> dict[str, tuple[bytes, Image.Image]]:
    """Files, and what they show."""
    colour, grey = Image.fromarray(NOISE), Image.fromarray(NOISE[..., 0])
    palette, turned = colour.quantize(16), Image.Exif()
    turned[274] = 6
    cmyk = encoded(colour.convert("CMYK"), "jpeg", quality=95)
    deep = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    frames = [Image.fromarray(NOISE[:, ::-1]).quantize(16)]
    animated = encoded(palette, "gif", save_all=True, append_images=frames)
    return {
        "cmyk.jpg": (cmyk, Image.open(io.BytesIO(cmyk)).convert("RGB")),
        "deep.png": (encoded(deep, "png"), grey.convert("RGB")),
        "alpha.png": (encoded(palette, "png", transparency=3), palette.convert("RGB")),
        "turned.png": (encoded(colour, "png", exif=turned), colour.transpose(Image.Transpose.ROTATE_270)),
        "animated.gif": (animated, Image.open(io.BytesIO(animated)).convert("RGB")),
        'odd, "name"\n\u2603 \u00e9.png': (encoded(colour, "png"), colour),
    }


def bad() -> dict[str, tuple[bytes, str]]:
    """Files, and why they cannot be decoded."""
    jpg = encoded(Image.fromarray(NOISE), "jpeg")
    return {
        "empty.jpg": (b"", "empty file"),
        "truncated.jpg": (jpg[: len(jpg) // 2], "runcated"),
        "page.jpg": (b"<!DOCTYPE html><title>404</title>", "no image, by its content"),
        "bomb.png": (bomb(20_000), "20000 x 20000 are 400 megapixels, more than 89"),
    }


@pytest.mark.parametrize("reader", ["tree", "list"])
def test_each_is_stored_right_or_listed_with_its_reason(tmp_path: Path, reader: str) -> None:
    images, data = tmp_path / "t", tmp_path / "data"
    for label in ("a", "b"):
        (images / label).mkdir(parents=True)
        for name, (content, _) in good().items():
            (images / label / f"{label}-{name}").write_bytes(content)
    for name, (content, _) in bad().items():
        (images / "a" / name).write_bytes(content)
    (images / "a" / "nowhere.png").symlink_to("there-is-none")
    if reader == "list":
        paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.*") if path.is_file())
        quoted = ['"' + path.replace('"', '""') + '"' for path in [*paths, "a/nowhere.png"]]
        lines = [f"{path},{path[1]}" for path in quoted]
        (images / "t.csv").write_text("\n".join(["path,label", *lines]))
    with pytest.raises(DataError, match=r"5 of 17 images cannot be decoded \(a/bomb\.png: 20000 x 20000"):
        blurtrain.prepare(images, "d", data, reader=reader, stored=SIZE, resolution=SIZE, val=0)
    dataset = blurtrain.prepare(
        images, "d", data, reader=reader, stored=SIZE, resolution=SIZE, val=0, skip_unreadable=True
    )
    reasons = dataset.manifest["unreadable"]
    assert list(reasons) == sorted(["a/nowhere.png", *(f"a/{name}" for name in bad())])
    for name, (_, reason) in bad().items():
        assert reason in reasons[f"a/{name}"]
    assert reasons["a/nowhere.png"] == "No such file or directory"
    dataset.check()
    rows, pixels = dataset.store.rows, dataset.store.read(np.arange(12))
    for row, stored in zip(rows, pixels, strict=True):
        shown = good()[row["path"].split("/")[-1][2:]][1]
        assert np.array_equal(stored, np.asarray(shown.resize((SIZE, SIZE), Image.Resampling.BILINEAR))), row["path"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_a_file_without_permission_is_listed(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "t" / label).mkdir(parents=True)
        for k in range(4):
            Image.fromarray(np.roll(NOISE, k, 0)).save(tmp_path / "t" / label / f"{label}{k}.png")
    (tmp_path / "t" / "a" / "a1.png").chmod(0)
    with pytest.raises(DataError, match=r"a/a1\.png: Permission denied"):
        blurtrain.prepare(tmp_path / "t", "d", tmp_path / "data", stored=SIZE, resolution=SIZE)
