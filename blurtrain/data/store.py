"""The pixel store: every image of a dataset once, as raw 8-bit RGB or as JPEG, in FFCV's file format.

    <root>/.stores/<id>/pixels.beton    fields: image, index
    <root>/.stores/<id>/images.csv      path, sha256 of the source file, crc32 of the stored pixels (decoded);
                                        where aspect is kept also height, width, and whether it was cropped (0 or 1);
                                        of JPEG also `encoded`, the crc32 of the stored bytes

Images are squared, or keep their aspect. Then each lies in the top left corner of a canvas, of one shape for all and
wider than high: portrait images lie there transposed. Its height is the size of the store: the smaller side of each
image, or the geometric mean of its sides. What is around them repeats their edge, and is no part of them:
checksums are of the image alone, as it is seen.

The pixels can be read without FFCV as well (`PixelStore.read`), and are the same.
"""

import csv
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from blurtrain.data import jpeg
from blurtrain.data.beton import EXTENT, FIELDS, HEADER, MODES, SAMPLE, SAMPLES_START, VERSION, Encoding
from blurtrain.data.canvas import as_seen
from blurtrain.errors import DataError

AGAIN = "prepare the dataset again (`blurtrain data prepare ... --replace`)"


def checksum(pixels: NDArray[np.uint8]) -> str:
    """CRC-32 of an image's pixels [height, width, 3], or of any bytes, as images.csv has it."""
    return f"{zlib.crc32(np.ascontiguousarray(pixels).data):08x}"


@dataclass(frozen=True)
class PixelStore:
    """A prepared pixel store, by its folder."""

    folder: Path

    @property
    def beton(self) -> Path:
        """FFCV's file of the pixels."""
        return self.folder / "pixels.beton"

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """What images.csv says of each image: path, sha256, crc32; where aspect is kept also height, width, cropped.
        Raises DataError where it cannot be read."""
        return list(self._rows())

    def rows_at(self, indices: Iterable[int]) -> list[dict[str, str]]:
        """As `rows`, of the images at these places, without keeping all others in memory. Raises DataError where
        images.csv does not list one."""
        wanted = [int(index) for index in indices]
        places = set(wanted)
        found = {k: row for k, row in enumerate(self._rows()) if k in places}
        try:
            return [found[k] for k in wanted]
        except KeyError as error:
            raise DataError(f"{self.folder}/images.csv: does not list image {error}; {AGAIN}") from None

    def _rows(self) -> Iterator[dict[str, str]]:
        lines, names = self._lines()
        return (dict(zip(names, line, strict=False)) for line in lines)

    def _lines(self) -> tuple[Iterator[list[str]], dict[str, int]]:
        """The lines of images.csv behind its head, and which column is which."""
        lines = self._csv()
        return lines, {name: k for k, name in enumerate(next(lines, []))}

    def _csv(self) -> Iterator[list[str]]:
        try:
            with (self.folder / "images.csv").open(newline="") as file:
                yield from csv.reader(file)
        except OSError as error:
            raise DataError(f"{self.folder}: not a pixel store: {error.strerror}; {AGAIN}") from None
        except (UnicodeError, csv.Error) as error:
            raise DataError(f"{self.folder}/images.csv: is damaged: {error}; {AGAIN}") from None

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
            raise DataError(f"{self.beton}: cannot be read: {error}; {AGAIN}") from None
        extents = extents[np.argsort(extents["sample"])]
        if not _consistent(samples, extents, int(header["extents"])):
            raise DataError(f"{self.beton}: its table of images is damaged; {AGAIN}")
        return samples, extents

    @property
    def size(self) -> int:
        """Smaller side of the stored images in pixels; or the geometric mean of their sides."""
        return self.canvas[0]

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width, in pixels, of what is stored of each image: (size, size) for squared images, else wider.
        Raises DataError where the store cannot be read or is damaged."""
        _, width, height, _ = self._tables[0]["image"][0].tolist()
        return height, width

    @property
    def squared(self) -> bool:
        """Whether all images are squares, which fill their canvas."""
        return self.canvas[0] == self.canvas[1]

    @cached_property
    def sides(self) -> NDArray[np.int64]:
        """True height and width of each image as it is seen, [n, 2]; where it is higher than wide, it lies transposed.

        Raises DataError where images.csv does not say so, or says what cannot be.
        """
        if self.squared:
            return np.full((len(self), 2), self.size)
        try:
            sides = np.array([(int(row["height"]), int(row["width"])) for row in self._rows()], np.int64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError):
            sides = np.zeros((0, 2), np.int64)
        small, large = np.sort(sides).T
        rounded = (small + large) / (4 * self.size) + 0.1  # by how much whole pixels may change a geometric mean
        geometric = abs(np.sqrt(small * large) - self.size) <= rounded
        fits = (small == self.size).all() or geometric.all()
        if len(sides) != len(self) or not fits or (large > self.canvas[1]).any():
            raise DataError(f"{self.folder}/images.csv: does not give the sides of each image; {AGAIN}")
        return sides

    @property
    def encoding(self) -> Encoding:
        """How images are stored: raw, or as JPEG (jpg). Raises DataError as `canvas` does."""
        return "raw" if self._tables[0]["image"]["mode"][0] == MODES["raw"] else "jpg"

    @property
    def extents(self) -> NDArray[np.void]:
        """[len(self)]: where in the file each image lies: its number `sample`, the first byte `pointer`, and how many
        `bytes`. Raises DataError as `canvas` does."""
        return self._tables[1]

    def __len__(self) -> int:
        return len(self._tables[0])

    def read(self, indices: NDArray[np.integer], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Canvases [len(indices), *canvas, 3], read without FFCV, and into `out` (contiguous) where that is given.
        Raises DataError where the file is cut short or an image is damaged."""
        pixels = np.empty((len(indices), *self.canvas, 3), np.uint8) if out is None else out
        extents, raw = self.extents, self.encoding == "raw"
        with self.beton.open("rb", buffering=0) as file:
            for index, row in zip(indices, pixels, strict=True):
                _, start, length = extents[index].tolist()
                target = row if raw else np.empty(length, np.uint8)
                self._read_at(file.fileno(), target, start, index)
                if not raw:
                    row[:] = self._decoded(target.tobytes(), int(index))
        return pixels

    def _decoded(self, content: bytes, index: int) -> NDArray[np.uint8]:
        try:
            return jpeg.decode(content).reshape(*self.canvas, 3)
        except Exception as error:  # Pillow raises OSError, SyntaxError, ... for damaged files
            raise DataError(f"{self.beton}: image {index} is damaged: {error}; {AGAIN}") from None

    def check(self, batches: Iterable[NDArray[np.uint8]] | None = None) -> None:
        """Compare every stored pixel with the checksums taken when the store was prepared; raises DataError.

        `batches`: all canvases in order of their index, [n, *canvas, 3] at a time, as another reader brings them.
        """
        if len(self.rows) != len(self):
            raise DataError(f"{self.folder}: images.csv lists {len(self.rows)} images, the store holds {len(self)}")
        if batches is None:
            batches = (self.read(np.array([index])) for index in range(len(self)))
        images = (image for batch in batches for image in batch)
        shown = tqdm(self.rows, desc="checking pixels", unit="img", disable=None)
        for index, (row, image, sides) in enumerate(zip(shown, images, self.sides, strict=True)):
            if checksum(as_seen(image, sides)) != row["crc32"]:
                raise self._damaged(index, row["path"])

    def checked_images(self, first: int = 0, every: int = 1) -> Iterator[int]:
        """The places of every so many-th image, as what lies in the file is found to be what was written; raises
        DataError. Unlike `check`, it decodes no JPEG, unless the store is of before their bytes had a checksum."""
        # Views that give Python's integers, without holding all of them.
        pointers, lengths = (np.ascontiguousarray(self.extents[name]).data for name in ("pointer", "bytes"))
        rows, names = self._lines()
        column = names.get("encoded", names.get("crc32", len(names)))
        as_stored = "encoded" in names or (self.encoding == "raw" and self.squared)
        with self.beton.open("rb", buffering=0) as file:
            for index, row in zip_longest(range(first, len(self), every), islice(rows, first, None, every)):
                if index is None or row is None or len(row) <= column:
                    raise DataError(f"{self.folder}/images.csv: does not list each image of the store; {AGAIN}")
                if as_stored:  # few steps, as they are taken a million times beside the training
                    content = os.pread(file.fileno(), lengths[index], pointers[index])
                    found = f"{zlib.crc32(content):08x}"
                else:
                    found = checksum(as_seen(self.read(np.array([index]))[0], self.sides[index]))
                if found != row[column]:
                    raise self._damaged(index, row[names.get("path", 0)])
                yield index

    def _read_at(self, file: int, target: NDArray[np.uint8], start: int, index: int) -> None:
        # Not mapped, so that what goes wrong with the file from here on is an error and no signal.
        if os.preadv(file, [target.data], start) != target.nbytes:
            raise DataError(f"{self.beton}: ends before image {index}; {AGAIN}")

    def _damaged(self, index: int, path: str) -> DataError:
        return DataError(f"{self.beton}: pixels of image {index} ({path}) are damaged; {AGAIN}")

    def same_pixels(self, images: NDArray[np.uint8]) -> bool:
        """Whether the first images of the store, as canvases [n, *canvas, 3] of some reader, are as prepared. Raises
        DataError where images.csv cannot be read."""
        rows = list(islice(self._rows(), len(images)))
        seen = map(as_seen, images, self.sides)
        return [checksum(image) for image in seen] == [row["crc32"] for row in rows]


def _consistent(samples: NDArray[np.void], extents: NDArray[np.void], end: int) -> bool:
    images, places = samples["image"], np.arange(len(samples))
    mode, width, height, _ = images[0].tolist()
    one_kind = all((images[key] == images[key][0]).all() for key in ("mode", "width", "height"))
    known = mode in MODES.values() and width >= height > 0
    paired = (samples["index"] == places).all() and (extents["sample"] == places).all()
    inside = (extents["pointer"] <= end).all() and (extents["bytes"] <= end - extents["pointer"]).all()
    whole = mode == MODES["jpg"] or (extents["bytes"] == width * height * 3).all()
    found = (images["pointer"] == extents["pointer"]).all()
    return bool(one_kind and known and paired and inside and whole and found)
