"""One image file as 8-bit RGB pixels, squared or at its own aspect, or a reason why not."""

import hashlib
import io
import math
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from blurtrain.data.depth import Shallow, check_depth, eight_bits
from blurtrain.data.source import Box, Source, content_of, sha256_of_file
from blurtrain.data.video import frame_at
from blurtrain.errors import DataError

MEGAPIXELS = 89.478485
"""Largest image that is decoded unless more is asked for: a small file may hold one that fills the memory."""
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
"""Of a JPEG, but for those that stand between its pixels."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation of EXIF 2.3."""


class Decoded(NamedTuple):
    """What has been read of one source."""

    sha256: str
    """Of the file; "" where it cannot be read."""
    image: Image.Image | None
    """8-bit RGB; None where it cannot be decoded."""
    reason: str = ""
    """What was wrong."""
    needed: int = 0
    stated: bool = False
    """See `depth.Shallow`."""


def decode(content: bytes, size: int, longest: int | None = None) -> NDArray[np.uint8]:
    """Decode (see `opened`) and resize to size x size, or to a smaller side of `size`; antialiased bilinear.

    longest: of the longer side, pixels; it is in proportion, to the nearest pixel, and where it would be longer, both
    ends are cut off alike. None: squared. Returns uint8 [height, width, 3]. Raises DataError with the reason
    for anything that cannot be decoded to its last pixel.
    """
    return resized(opened(content), size, longest)[0]


def sides_of(source: Source) -> tuple[int, int] | None:
    """Smaller and longer side of an image in pixels, from the head of its file; None where that cannot be read. Never
    raises."""
    try:
        if source.box is not None:
            left, top, right, bottom = source.box
            sides = right - left, bottom - top
        elif source.time is not None:
            sides = frame_at(source.path, source.time).size
        else:
            with Image.open(source.path if source.row is None else io.BytesIO(content_of(source))) as image:
                sides = image.size
        return min(sides), max(sides)
    except Exception:  # the reason is given by who decodes it
        return None


def size_as_seen(source: Source) -> tuple[int, int]:
    """Width and height of an image file, turned by EXIF orientation, from its head; raises OSError or DataError."""
    with _no_limits, Image.open(source.path if source.row is None else io.BytesIO(content_of(source))) as image:
        return image.size if _orientation(image) < 5 else image.size[::-1]


def longer_side(size: int, sides: tuple[int, int], geometric: bool = False) -> int:
    """That of an image of these `sides`, whose smaller one (`geometric`: the geometric mean of the two) becomes `size`;
    to the nearest pixel."""
    small, large = min(sides), max(sides)
    if geometric:
        return round(size * math.sqrt(large / small))
    return (2 * size * large + small) // (2 * small)


def resized(
    image: Image.Image,
    size: int,
    longest: int | None,
    method: Image.Resampling = Image.Resampling.BILINEAR,
    geometric: bool = False,
) -> tuple[NDArray[np.uint8], bool]:
    """See `decode`; also whether the image was cropped. Masks are resized as their photos, by NEAREST. geometric: not
    the smaller side becomes `size`, but the geometric mean of both, of what is left of the image."""
    if longest is None:
        return np.asarray(image.resize((size, size), method)), False
    small, large = min(image.size), max(image.size)
    longer = longer_side(size, image.size, geometric)
    cropped = longer > longest
    aspect = (longest / size) ** 2 if geometric else longest / size
    kept = min(large, small * aspect) if cropped else large  # of the source's longer side
    longer, first, last = min(longer, longest), (large - kept) / 2, (large + kept) / 2
    smaller = max(1, round(size * math.sqrt(small / kept))) if geometric else size
    if image.width >= image.height:
        lying = image.resize((longer, smaller), method, (first, 0, last, small))
        return np.asarray(lying), cropped
    return np.asarray(image.resize((smaller, longer), method, (0, first, small, last))), cropped


def opened(content: bytes, megapixels: float | None = None, aspect: float | None = None) -> Image.Image:
    """An image file as 8-bit RGB, turned by EXIF orientation.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped, as torchvision does. Raises
    DataError with the reason for anything that cannot be decoded to its last pixel, that has more than `megapixels`
    (millions; by default MEGAPIXELS), whose longer side is more than `aspect` times the smaller one (None: any), or
    whose 16 bits are all small, so that fewer of them seem to be used. Sizes are looked at before decoding.
    """
    shallow = _opened(content, megapixels, None, aspect)
    if shallow.needed:
        check_depth(shallow.needed)
    return shallow.image


def _opened(content: bytes, megapixels: float | None, bits: int | None, aspect: float | None = None) -> Shallow:
    """See `opened`; of 16 bits, `bits` are used."""
    try:
        with _no_limits:
            image: Image.Image = Image.open(io.BytesIO(content))
            _check_size(image.size, megapixels or MEGAPIXELS, aspect)
            image.load()
        if image.format == "JPEG" and content.endswith(bytes(64)) and not _ends(content):
            raise DataError("the rest of this JPEG is zeros: it was not copied, or saved, to its end")
        shallow = eight_bits(image, content, bits)
        orientation, image = _orientation(image), shallow.image
        # Not by Pillow's own function, which writes the EXIF anew and fails where it cannot.
        image = image.transpose(turn) if (turn := _TURNS.get(orientation)) is not None else image
        return shallow._replace(image=image.convert("RGB"))
    except (DataError, MemoryError):  # that there is no memory is no fault of the image
        raise
    except UnidentifiedImageError:  # its own message names a place in memory
        raise DataError("no image, by its content" if content else "empty file") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ... for damaged files
        raise DataError(str(error) or type(error).__name__) from None


class _NoLimits:
    """Without Pillow's limits to pixels, which are looked at here, and to text that comes with a PNG. They are those of
    the whole process: the first thread to enter lifts them, the last one to leave sets them again."""

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.before: tuple[int | None, int, int]

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
                self._set(None, 2**26, 2**28)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self._set(*self.before)

    def _set(self, pixels: int | None, chunk: int, memory: int) -> None:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = pixels, chunk, memory


_no_limits = _NoLimits()


def _check_size(sides: tuple[int, int], megapixels: float, aspect: float | None) -> None:
    if (found := sides[0] * sides[1] / 1e6) > megapixels:
        raise DataError(
            f"{sides[0]} x {sides[1]} are {found:.0f} megapixels, more than {megapixels:g}; --megapixels raises that"
        )
    if aspect is not None and max(sides) > aspect * min(sides):
        raise DataError(f"{sides[0]} x {sides[1]}: one side is more than {aspect:g} times as long as the other")


def _ends(jpeg: bytes) -> bool:
    """Whether the file comes to its marker of the end. (Behind that, more may follow.)"""
    at = 2
    while marker := _MARKER.search(jpeg, at):
        if marker[1] == b"\xd9":
            return True
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged in one of many ways: the pixels are there all the same
        return 1


def read(
    source: Source, megapixels: float | None = None, bits: int | None = None, content: bytes | None = None
) -> Decoded:
    """A source, decoded as by `opened`, but that of 16 bits `bits` are used. Never raises.

    content: of its file, where that has been read.
    """
    digest = ""
    try:
        if content is not None:
            digest, whole = _decoded(content, megapixels, bits)
        else:
            digest, whole = (_whole if source.box is None else _kept)(source._replace(box=None), megapixels, bits)
        if source.sha256 and source.sha256 != digest:
            raise DataError(f"hash differs from the list: its SHA-256 is {digest}")
        if isinstance(whole, DataError):
            raise whole
        image = whole.image if source.box is None else _part(whole.image, source.box)
        return Decoded(digest, image, "", whole.needed, whole.stated)
    except OSError as error:
        return Decoded(digest, None, error.strerror or str(error))
    except DataError as error:
        return Decoded(digest, None, str(error))


def _whole(source: Source, megapixels: float | None, bits: int | None) -> tuple[str, Shallow | DataError]:
    """The SHA-256 of a file (or row), and the image in it, or the frame, or why there is none. Raises OSError."""
    if (time := source.time) is not None:
        return sha256_of_file(source.path), _tried(lambda: Shallow(frame_at(source.path, time)))
    return _decoded(content_of(source), megapixels, bits)


def _decoded(content: bytes, megapixels: float | None, bits: int | None) -> tuple[str, Shallow | DataError]:
    return hashlib.sha256(content).hexdigest(), _tried(lambda: _opened(content, megapixels, bits))


_kept = lru_cache(maxsize=1)(_whole)
"""Of an image with several parts, which come one after the other."""


def _tried(decode: Callable[[], Shallow]) -> Shallow | DataError:
    try:
        return decode()
    except DataError as error:
        return error
    except MemoryError:
        return DataError("not enough memory to decode it")


def _part(image: Image.Image, box: Box) -> Image.Image:
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise DataError(f"box outside the image: [{left}, {top}, {right}, {bottom}] in {image.width} x {image.height}")
    return image.crop(box)
