"""Masks of the images of a pixel store, each at the size its image is stored at, without loss.

    <root>/.stores/<id>/masks.bin    one after the other, deflated
    <root>/.stores/<id>/masks.csv    path (that of the image), sha256 of the source, crc32 of the mask, and its bytes in
                                     the file; no bytes: there is none

They are in the order of the pixel store, so that an image's place finds its mask.
"""

import csv
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.canvas import as_seen
from blurtrain.data.mask_file import VOID
from blurtrain.data.store import AGAIN, PixelStore
from blurtrain.errors import DataError

COLUMNS = ("path", "sha256", "crc32", "bytes")


@dataclass(frozen=True)
class MaskStore:
    """A prepared store of masks, by its folder, and that of their images."""

    folder: Path
    images: PixelStore

    @property
    def file(self) -> Path:
        """The masks, one after the other, deflated."""
        return self.folder / "masks.bin"

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """What masks.csv says of each. Raises DataError where it cannot be read, or is not of as many images."""
        try:
            with (self.folder / "masks.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeError, csv.Error) as error:
            raise DataError(f"{self.folder}: not a store of masks: {error}; {AGAIN}") from None
        if len(rows) != len(self.images):
            raise DataError(f"{self.folder}: has {len(rows)} masks for {len(self.images)} images; {AGAIN}")
        return rows

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Where each ends in the file, after a 0."""
        try:
            lengths = [int(row["bytes"]) for row in self.rows]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{self.folder}/masks.csv: is damaged; {AGAIN}") from None
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self.rows)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The mask [height, width] of the image at a place, as it is seen; all VOID where it has none. Raises DataError
        where it cannot be read or is damaged."""
        with self._opened() as file:
            return self._read(file.fileno(), index)

    def read(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Masks [n, *canvas] as `PixelStore.read` gives their images: portrait ones transposed, and what is around them
        VOID. Raises DataError as `mask` does."""
        masks = np.full((len(indices), *self.images.canvas), VOID, np.uint8)
        with self._opened() as file:
            for index, canvas in zip(indices.tolist(), masks, strict=True):
                as_seen(canvas, self.images.sides[index])[:] = self._read(file.fileno(), index)
        return masks

    def check(self) -> None:
        """Compare every mask with the checksum taken when it was stored; raises DataError."""
        for _ in self.checked_images():
            pass

    def checked_images(self, first: int = 0, every: int = 1) -> Iterator[int]:
        """The places of every so many-th image, as its mask is found to be what was stored; raises DataError."""
        if self._size() != self._ends[-1]:
            raise DataError(f"{self.file}: has {self._size()} bytes in place of {self._ends[-1]}; {AGAIN}")
        for index in range(first, len(self), every):
            row = self.rows[index]
            if int(row["bytes"]) and checksum(self.mask(index)) != row["crc32"]:
                raise self._damaged(index)
            yield index

    def _size(self) -> int:
        try:
            return self.file.stat().st_size
        except OSError as error:
            raise DataError(f"{self.file}: cannot be read: {error.strerror}; {AGAIN}") from None

    def _opened(self) -> FileIO:
        try:
            return self.file.open("rb", buffering=0)
        except OSError as error:
            raise DataError(f"{self.file}: cannot be read: {error.strerror}; {AGAIN}") from None

    def _read(self, file: int, index: int) -> NDArray[np.uint8]:
        height, width = self.images.sides[index].tolist()
        start, end = self._ends[index : index + 2].tolist()
        if start == end:
            return np.full((height, width), VOID, np.uint8)
        try:
            content = zlib.decompress(os.pread(file, end - start, start))
            return np.frombuffer(content, np.uint8).reshape(height, width)
        except (zlib.error, ValueError):
            raise self._damaged(index) from None

    def _damaged(self, index: int) -> DataError:
        return DataError(f"{self.file}: mask of image {index} ({self.rows[index]['path']}) is damaged; {AGAIN}")


def checksum(mask: NDArray[np.uint8]) -> str:
    """CRC-32 of a mask's pixels [H, W], as masks.csv has it."""
    return f"{zlib.crc32(np.ascontiguousarray(mask).data):08x}"
