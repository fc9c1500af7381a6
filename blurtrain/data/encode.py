"""One image as it is stored: decoded once, and encoded for each store that has it. What the processes that prepare do.

Imports little, as every one of those processes has it in its memory.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurtrain.blur_types.mosaic import TILES, mosaic
from blurtrain.data import jpeg
from blurtrain.data.canvas import as_seen
from blurtrain.data.decode import read, resized
from blurtrain.data.source import Source


class Form(NamedTuple):
    """How the images of a store are stored."""

    size: int
    """Smaller side (or geometric mean of both), in pixels."""
    longest: int | None = None
    """The longer side of the longest image, where aspect is kept; none: squared."""
    jpeg_quality: int | None = None
    """1..95; None: raw pixels."""
    mosaic: bool = False
    """Whether a mosaic of each image is stored, of side `size`, and not the image; see `blur_types.mosaic`."""
    geometric: bool = False
    """Whether `size` is the geometric mean of height and width, of images that keep their aspect."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width that there are for each image."""
        return self.size, self.longest or self.size


class Encoded(NamedTuple):
    """An image that is to be stored, in one form."""

    content: bytes
    height: int
    width: int
    cropped: bool
    crc32: int
    """Of the pixels, as they are decoded."""
    encoded: int
    """Of the bytes."""
    sums: NDArray[np.uint64]
    """[6]: of the pixels of each channel, and of their squares."""


class Prepared(NamedTuple):
    """What has become of a source."""

    sha256: str
    """Of its file; "" where that cannot be read."""
    reason: str
    """Why there is no image; "" where there is one."""
    needed: int
    stated: bool
    """See `depth.Shallow`."""
    forms: Sequence[Encoded]
    """One a form."""


Work = tuple[Source, Sequence[Form], bytes | None]
"""A source, the forms that it is wanted in, and the bytes of its file where those have been read."""


def prepared(work: Sequence[Work], megapixels: float | None, bits: int | None) -> list[Prepared]:
    """The images of some sources, each in the forms that it is wanted in. Never raises."""
    return [_prepared(*each, megapixels, bits) for each in work]


def _prepared(
    source: Source, forms: Sequence[Form], content: bytes | None, megapixels: float | None, bits: int | None
) -> Prepared:
    digest, image, reason, needed, stated = read(source, megapixels, bits, content)
    encoded = [] if image is None else [_encoded(image, form) for form in forms]
    return Prepared(digest, reason, needed, stated, encoded)


def _encoded(image: Image.Image, form: Form) -> Encoded:
    """In the top left corner of its canvas, which a squared one fills."""
    if form.mosaic:
        pixels, cropped = mosaic(image, form.size // TILES), False
    else:
        pixels, cropped = resized(image, form.size, form.longest, geometric=form.geometric)
    height, width, _ = pixels.shape
    lying = pixels if height <= width else pixels.transpose(1, 0, 2)
    below, beside = (whole - there for whole, there in zip(form.canvas, lying.shape, strict=False))
    if below > 0 or beside > 0:
        # Filled up with its own edge, which JPEG's blocks of 8 x 8 pixels then carry on, and do not mix with black.
        lying = np.pad(lying, ((0, below), (0, beside), (0, 0)), "edge")
    canvas = np.ascontiguousarray(lying)
    content = canvas.tobytes() if form.jpeg_quality is None else jpeg.encode(canvas, form.jpeg_quality)
    encoded = zlib.crc32(content)
    if form.jpeg_quality is None and canvas is pixels:
        return Encoded(content, height, width, cropped, encoded, encoded, _sums(pixels))
    stored = canvas if form.jpeg_quality is None else jpeg.decode(content)
    seen = np.ascontiguousarray(as_seen(stored, np.array([height, width])))
    return Encoded(content, height, width, cropped, zlib.crc32(seen.data), encoded, _sums(seen))


def _sums(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    # By counts of the 256 values: exact, and faster than squares of all pixels as larger integers.
    counts = np.array(Image.fromarray(pixels).histogram(), np.uint64).reshape(3, 256)
    levels = np.arange(256, dtype=np.uint64)
    return np.concatenate([counts @ levels, counts @ levels**2])
