"""Where an image comes from: a file, a row of a table of images, a part of an image, or a frame of a video."""

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from blurtrain.files import sha256_of

Box = tuple[int, int, int, int]
"""left, top, right, bottom, in pixels; right and bottom are the first ones outside."""


class Source(NamedTuple):
    """What is decoded."""

    path: str
    box: Box | None = None
    """Of the image as it is seen, turned by EXIF orientation."""
    time: float | None = None
    """Seconds from the beginning of a video."""
    row: int | None = None
    """Of a table of images."""
    sha256: str = ""
    """What it should be; "": not known."""

    @property
    def part(self) -> str:
        """What of the bytes is decoded, "" for all; with the bytes' SHA-256 it says which image this is."""
        time = "" if self.time is None else f"at {self.time:.6f} s"
        box = "" if self.box is None else f"[{','.join(map(str, self.box))}]"
        return f"{time}{' ' * bool(time and box)}{box}"


def content_of(source: Source) -> bytes:
    """The bytes of an image file; raises OSError where it cannot be read, DataError where it is no table of images."""
    if source.row is None:
        return Path(source.path).read_bytes()
    from blurtrain.data.image_table import image_in

    return image_in(source.path, source.row)


def sha256_of_file(path: str) -> str:
    """64 hex digits, taken once of a file that is asked for again and again; raises OSError."""
    stat = os.stat(path)  # noqa: PTH116  (a path is a text here)
    return _sha256_of_file(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=1)
def _sha256_of_file(path: str, changed: tuple[int, int]) -> str:
    return sha256_of(Path(path))
