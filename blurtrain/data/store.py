"""The pixel store: every image of a dataset once, squared, as raw 8-bit RGB or as JPEG, in FFCV's file format.

    <root>/.stores/<id>/pixels.beton    fields: image, index
    <root>/.stores/<id>/images.csv      path, sha256 of the source file, crc32 of the stored pixels (decoded)

The pixels can be read without FFCV as well (`PixelStore.read`), and are the same.
"""

import csv
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from blurtrain.data import jpeg
from blurtrain.data.beton import EXTENT, FIELDS, HEADER, MODES, SAMPLE, SAMPLES_START, VERSION, Encoding
from blurtrain.errors import DataError


def checksum(pixels: NDArray[np.uint8]) -> str:
    """CRC-32 of an image's pixels [S, S, 3], as images.csv has it."""
    return f"{zlib.crc32(pixels.tobytes()):08x}"


@dataclass(frozen=True)
class PixelStore:
    """A prepared pixel store, by its folder."""

    folder: Path

    @property
    def beton(self) -> Path:
        return self.folder / "pixels.beton"

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """What images.csv says of each image: path, sha256, crc32."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, str]]:
        try:
            with (self.folder / "images.csv").open(newline="") as file:
                yield from csv.DictReader(file)
        except OSError as error:
            raise DataError(f"{self.folder}: not a pixel store: {error.strerror}; prepare the dataset again") from None

    @cached_property
    def _tables(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Samples and extents, found to fit each other and the file: who maps a file cut short dies of a bus error."""
        try:
            there = self.beton.stat().st_size
            header = np.fromfile(self.beton, HEADER, count=1)[0]
            n, known = int(header["n"]), (header["version"], header["fields"]) == (VERSION, len(FIELDS))
            if not known or not 0 < n * SAMPLE.itemsize <= there - SAMPLES_START:
                raise ValueError("damaged, or not written by blurtrain")
            if (whole := int(header["extents"]) + n * EXTENT.itemsize) != there:
                raise ValueError(f"has {there} bytes in place of {whole}")
            samples = np.fromfile(self.beton, SAMPLE, count=n, offset=SAMPLES_START)
            extents = np.fromfile(self.beton, EXTENT, count=n, offset=int(header["extents"]))
        except (OSError, IndexError, ValueError) as error:
            raise DataError(f"{self.beton}: cannot be read: {error}; prepare the dataset again") from None
        extents = extents[np.argsort(extents["sample"])]
        if not _consistent(samples, extents, int(header["extents"])):
            raise DataError(f"{self.beton}: its table of images is damaged; prepare the dataset again")
        return samples, extents

    @property
    def size(self) -> int:
        """Side of the stored images in pixels."""
        return int(self._tables[0]["image"]["width"][0])

    @property
    def encoding(self) -> Encoding:
        return "raw" if self._tables[0]["image"]["mode"][0] == MODES["raw"] else "jpg"

    def __len__(self) -> int:
        return len(self._tables[0])

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Pixels [len(indices), size, size, 3], read without FFCV, and into `out` (contiguous) where that is given."""
        pixels = np.empty((len(indices), self.size, self.size, 3), np.uint8) if out is None else out
        extents, raw = self._tables[1], self.encoding == "raw"
        with self.beton.open("rb", buffering=0) as file:
            for index, row in zip(indices, pixels, strict=True):
                _, start, length = extents[index].tolist()
                target = row if raw else np.empty(length, np.uint8)
                # Not mapped, so that what goes wrong with the file from here on is an error and no signal.
                if os.preadv(file.fileno(), [target.data], start) != length:
                    raise DataError(f"{self.beton}: ends before image {index}; prepare the dataset again")
                if not raw:
                    row[:] = self._decoded(target.tobytes(), int(index))
        return pixels

    def _decoded(self, content: bytes, index: int) -> NDArray[np.uint8]:
        try:
            return jpeg.decode(content).reshape(self.size, self.size, 3)
        except Exception as error:  # Pillow raises OSError, SyntaxError, ... for damaged files
            raise DataError(f"{self.beton}: image {index} is damaged: {error}; prepare the dataset again") from None

    def check(self, batches: Iterable[NDArray[np.uint8]] | None = None) -> None:
        """Compare every stored pixel with the checksums taken when the store was prepared; raises DataError.

        `batches`: all images in order of their index, [n, size, size, 3] at a time, as another reader brings them.
        """
        if len(self.rows) != len(self):
            raise DataError(f"{self.folder}: images.csv lists {len(self.rows)} images, the store holds {len(self)}")
        if batches is None:
            batches = (self.read(np.array([index])) for index in range(len(self)))
        images = (image for batch in batches for image in batch)
        shown = tqdm(self.rows, desc="checking pixels", unit="img", disable=None)
        for index, (row, image) in enumerate(zip(shown, images, strict=True)):
            if checksum(image) != row["crc32"]:
                raise DataError(f"{self.beton}: pixels of image {index} ({row['path']}) are damaged; prepare again")

    def same_pixels(self, images: NDArray[np.uint8]) -> bool:
        """Whether the first images of the store, [n, size, size, 3] as some reader brings them, are as prepared."""
        rows = list(islice(self._rows(), len(images)))
        return [checksum(image) for image in images] == [row["crc32"] for row in rows]


def _consistent(samples: NDArray[np.void], extents: NDArray[np.void], end: int) -> bool:
    images, places = samples["image"], np.arange(len(samples))
    mode, width, height, _ = images[0].tolist()
    one_kind = all((images[key] == images[key][0]).all() for key in ("mode", "width", "height"))
    known = mode in MODES.values() and width == height > 0
    paired = (samples["index"] == places).all() and (extents["sample"] == places).all()
    inside = (extents["pointer"] <= end).all() and (extents["bytes"] <= end - extents["pointer"]).all()
    whole = mode == MODES["jpg"] or (extents["bytes"] == width * height * 3).all()
    found = (images["pointer"] == extents["pointer"]).all()
    return bool(one_kind and known and paired and inside and whole and found)
