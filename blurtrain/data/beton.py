"""FFCV's file format as a pixel store has it, laid out and written without FFCV.

A file of format version 2, with an RGB field and an integer field: header, fields, samples, pages of pixels (an image
lies within one page), and at its end the extent of each image. For the same images it is, bit for bit, what FFCV 1.0
writes with one worker. Its own writer is not used: it hangs for ever where one of its workers dies, wants everything
on the disk a second time, and cannot be had everywhere.
"""

import math
import os
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

Encoding = Literal["raw", "jpg"]
MODES: dict[Encoding, int] = {"jpg": 0, "raw": 1}

VERSION = 2
HEADER = np.dtype([("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("n", "<u8"), ("extents", "<u8")])
FIELD = np.dtype([("kind", "u1"), ("name", "S16"), ("arguments", "V1024")])
FIELDS = np.array([(2, b"image", b""), (1, b"index", b"")], FIELD)  # FFCV's numbers of its RGB and integer fields
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
SAMPLE = np.dtype([("image", IMAGE), ("index", "<i8")], align=True)
EXTENT = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("bytes", "<u8")])

SAMPLES_START = HEADER.itemsize + FIELDS.nbytes
LARGEST_SIDE = 65_500  # pixels, of a JPEG file; FFCV's format has 35 more
_LEAST_PAGE = 2**23  # bytes, FFCV's default
_JPEG_HEADERS = 2**16


class BetonWriter:
    """Writes images of one shape, `canvas` (height, width), of which there are at most `capacity`, one after the other.

    As a context; the file is whole when that ends without an exception. Raises OSError where it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        capacity: int,
        canvas: tuple[int, int],
        encoding: Encoding,
        pointers: NDArray[np.uint64] | None = None,
        lengths: NDArray[np.uint64] | None = None,
    ):
        """pointers, lengths: where the images begin that the file holds from an earlier attempt, in the order in which
        they were written, and how many bytes they have; what lies behind them is cut off."""
        self._canvas, self._mode, raw = canvas, MODES[encoding], 3 * math.prod(canvas)
        # Noise at the best quality becomes a JPEG file that is larger than its raw pixels, but not twice as large.
        largest = raw if encoding == "raw" else 2 * raw + _JPEG_HEADERS
        self._page = max(_LEAST_PAGE, 1 << (largest - 1).bit_length())
        self._end = _multiple(SAMPLES_START + capacity * SAMPLE.itemsize, self._page)
        self._pointers, self._lengths = array("Q"), array("Q")
        if pointers is not None and lengths is not None and len(pointers):
            self._pointers.frombytes(pointers.tobytes())
            self._lengths.frombytes(lengths.tobytes())
            self._end = self._pointers[-1] + self._lengths[-1]
        self._file = path.open("r+b" if self._pointers else "wb")
        if self._pointers:
            self._file.truncate(self._end)
        self.order: Sequence[int] | NDArray[np.integer] | None = None
        """Which of the images written is the first one, the second one, ...; None: as they were written."""

    def append(self, content: bytes) -> tuple[int, int]:
        """Write the next image, as raw pixels or as a JPEG file; returns where it begins, and its length."""
        left = -self._end % self._page
        pointer = self._end + (left if left < len(content) else 0)
        self._file.seek(pointer)
        self._file.write(content)
        self._pointers.append(pointer)
        self._lengths.append(len(content))
        self._end = pointer + len(content)
        return pointer, len(content)

    def flush(self) -> None:
        """So that what has been appended is in the file if this process is killed."""
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._write_tables()
                self._file.flush()
                os.fsync(self._file.fileno())  # or a power cut leaves zeros in a file of the right size

    def _write_tables(self) -> None:
        n = len(self._pointers)
        pointers, lengths = np.array(self._pointers, np.uint64), np.array(self._lengths, np.uint64)
        if self.order is not None:
            pointers, lengths = pointers[self.order], lengths[self.order]
        samples, extents = np.zeros(n, SAMPLE), np.zeros(n, EXTENT)
        samples["index"] = extents["sample"] = np.arange(n)
        images = samples["image"]
        images["mode"], (images["height"], images["width"]) = self._mode, self._canvas
        images["pointer"] = extents["pointer"] = pointers
        extents["bytes"] = lengths
        tables = _multiple(self._end, self._page)
        self._file.seek(tables)
        self._file.write(extents.tobytes())
        self._file.seek(0)
        header = np.array((VERSION, len(FIELDS), self._page, n, tables), HEADER)
        self._file.write(header.tobytes() + FIELDS.tobytes() + samples.tobytes())


def _multiple(bytes: int, page: int) -> int:
    """The least multiple of `page` that is at least `bytes`."""
    return -(-bytes // page) * page
