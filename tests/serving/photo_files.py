"""Photos as files, small and drawn at random; and files that are meant to do harm."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photo(seed: int, width: int = 120, height: int = 80) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 10
    waves = np.stack([np.sin(rng.uniform(0.1, 2) * x + rng.uniform(0.1, 2) * y + k) for k in range(3)], axis=-1)
    pixels = 128 + 100 * waves * rng.uniform(0, 1, 3) + rng.uniform(-25, 25, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def huge_png(side: int) -> bytes:
    """A file of 1 kB that says it holds side x side pixels, and does hold as many rows of zeros as fit into it."""
    return png(side, side)


def png(width: int, height: int) -> bytes:
    """A file that says it holds so many pixels, and does hold 120 kB of zeros."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(121_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def bomb_of_scans() -> bytes:
    """A JPEG of 16 x 16 pixels that is decoded 300 times over."""
    progressive = encoded(Image.new("RGB", (16, 16)), progressive=True)
    scan = progressive.rindex(b"\xff\xda")
    return progressive[:scan] + progressive[scan:-2] * 300 + b"\xff\xd9"
