"""Photos that anybody may have sent: their kind and size are looked at before a pixel is decoded."""

from PIL import Image

from blurtrain.data.decode import opened
from blurtrain.errors import DataError

KINDS = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF")
"""What is decoded. Others are not even tried: of some, reading starts another program."""
MEGAPIXELS = 60.0
ASPECT = 100.0
"""Longer side by the smaller one, at most: no camera makes others, and to be shown to a network they would be padded or
enlarged to many times their size."""
SCANS = 200
"""Of a JPEG. A progressive one has about ten; each takes as long as the photo is large, however small its file."""
_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP",
    b"GIF8": "GIF",
}  # fmt: skip


def kind_of(content: bytes) -> str | None:
    """One of KINDS, by the first bytes of a file; None for all others."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    return next((kind for start, kind in _BEGINNINGS.items() if content.startswith(start)), None)


def photo(content: bytes, megapixels: float = MEGAPIXELS) -> Image.Image:
    """The photo in a file, 8-bit RGB, turned by EXIF orientation.

    Raises DataError with the reason: empty, none of KINDS, more than `megapixels`, ASPECT (both before decoding) or
    SCANS, damaged.
    """
    kind = kind_of(content)
    if content and kind is None:
        raise DataError(f"no photo, by its content: it must be {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if kind == "JPEG" and content.count(b"\xff\xda") > SCANS:
        raise DataError(f"a JPEG of more than {SCANS} scans")
    return opened(content, megapixels, ASPECT)
