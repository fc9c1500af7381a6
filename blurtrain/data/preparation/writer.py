"""Writing a pixel store: decode, write, and check what was written."""

import contextlib
import csv
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from blurtrain.data import jpeg
from blurtrain.data.beton import BetonWriter, Encoding
from blurtrain.data.decode import longer_side, read
from blurtrain.data.depth import FULL, check_depths
from blurtrain.data.preparation.pool import end_with_parent, without_script
from blurtrain.data.preparation.readers import Sample
from blurtrain.data.preparation.workspace import workspace
from blurtrain.data.source import Source
from blurtrain.data.store import PixelStore, as_seen, checksum
from blurtrain.errors import DataError

# Part of the id: another way to prepare pixels is another store.
FORMAT = "raw RGB, squared, bilinear antialiased, 1"
KEPT_FORMAT = "raw RGB, aspect kept, of at most {} px, bilinear antialiased, 1"
COLUMNS = ("path", "sha256", "crc32")
KEPT_COLUMNS = (*COLUMNS, "height", "width", "cropped")
_STALLED_SECONDS = 120
_HEADS_AT_A_TIME = 16  # files that are opened at a time, to find how long their images are


class Form(NamedTuple):
    """How images are stored."""

    size: int
    longest: int | None
    """The longer side of the longest image, where aspect is kept; none: squared."""
    jpeg_quality: int | None
    """None: raw pixels."""
    megapixels: float | None = None
    """Largest image that is decoded; None: see `opened`."""
    bits: int | None = None
    """How many are used of 16-bit images; None: see `eight_bits`."""
    parts: bool = False
    """Whether there are parts of images, or frames of videos."""

    @property
    def identifying(self) -> int:
        """How many columns of images.csv say which image this is."""
        return 2 + self.parts

    @property
    def canvas(self) -> tuple[int, int]:
        return self.size, self.longest or self.size

    @property
    def columns(self) -> tuple[str, ...]:
        """Of images.csv."""
        columns = COLUMNS if self.longest is None else KEPT_COLUMNS
        columns = (*columns[:2], "part", *columns[2:]) if self.parts else columns
        return columns if self.jpeg_quality is None else (*columns, "encoded")

    @property
    def name(self) -> str:
        """Part of the store's id."""
        pixels = FORMAT if self.longest is None else KEPT_FORMAT.format(self.longest)
        pixels += f"; {self.bits} of 16 bits" if self.bits not in (None, FULL) else ""
        return pixels if self.jpeg_quality is None else f"{pixels}; JPEG 4:4:4 of quality {self.jpeg_quality}"


class Encoded(NamedTuple):
    """An image that is to be stored."""

    row: tuple[str | int, ...]
    """What images.csv says of it, behind its key."""
    content: bytes
    reason: str = ""
    """What was wrong with it."""
    needed: int = 0
    stated: bool = False
    """See `Shallow`."""


def write_store(
    root: Path,
    source: Path,
    samples: Sequence[Sample],
    size: int,
    jpeg_quality: int | None = None,
    longest_aspect: float | None = None,
    megapixels: float | None = None,
    bits: int | None = None,
    whole: bool = True,
) -> tuple[PixelStore, dict[str, str]]:
    """Decode all samples of the folder `source`, in their order, into a store below `root`, unless that store is there
    already, and intact.

    Images are squared to `size`, or keep their aspect up to `longest_aspect`, with a smaller side of `size`. Pixels are
    stored raw, or with `jpeg_quality` (1..95) as JPEG; images of more than `megapixels` are not decoded. `bits`: used
    of 16 (see `eight_bits`). whole: these are all images of the tree; then raises DataError where those of 16 bits
    would be nearly black.

    Returns the store, and the images that could not be decoded, with the reasons. The store's id is a hash of the
    keys, the source bytes (and which part of them) of the readable ones, the size, the longest side, the quality and
    the bits: not of times or encoded bytes.
    """
    longest = None if longest_aspect is None else _longest(source, samples, size, longest_aspect)
    form = Form(size, longest, jpeg_quality, megapixels, bits, any(s.source(source).part for s in samples))
    stores = root / ".stores"
    with workspace(stores) as temporary:
        building = PixelStore(temporary / "store")
        building.folder.mkdir()
        rows, unreadable, needed, stated = _write(building, source, samples, form)
        if whole:
            check_depths(needed, str(source))
        if not rows:
            path, reason = next(iter(unreadable.items()))
            raise DataError(f"{source}: none of {len(samples)} images can be decoded; the first, {path}: {reason}")
        name = f"{form.name}; depths as stated" if stated else form.name
        key = hashlib.sha256(json.dumps([name, size, [r[: form.identifying] for r in rows]]).encode()).hexdigest()[:16]
        store = PixelStore(stores / key)
        if not _is_intact(store):
            with (building.folder / "images.csv").open("w", newline="") as file:
                csv.writer(file).writerows([form.columns, *rows])
                file.flush()
                os.fsync(file.fileno())
            _check(building)
            with contextlib.suppress(FileNotFoundError):
                store.folder.rename(temporary / "damaged")
            try:
                building.folder.rename(store.folder)  # whole or not at all; a second writer of it loses nothing
            except OSError:
                if not store.folder.exists():
                    raise
    return PixelStore(store.folder), unreadable


def _is_intact(store: PixelStore) -> bool:
    """Whether it is there, and all that it holds is as it was written."""
    try:
        return store.folder.exists() and all(True for _ in store.checked_images())
    except DataError:
        return False


def _check(store: PixelStore) -> None:
    """Compare what was written with what was decoded; JPEG as FFCV decodes it, on machines that have FFCV."""
    if store.encoding == "raw" or not (reader := _ffcv_reader(store)):
        return store.check()
    try:
        store.check(batch.numpy() for batch in reader.batches(np.arange(len(store)), 64))
    except DataError as error:  # the checksums are of the pixels that Pillow decodes
        raise DataError(f"FFCV and Pillow decode JPEG differently; prepare with --encoding raw ({error})") from None


def _ffcv_reader(store: PixelStore) -> Any:
    """A PixelReader, if FFCV can be imported, and torch with it."""
    try:
        from blurtrain.data.reader_ffcv import FFCVReader
    except ImportError:
        return None
    return FFCVReader(store, len(os.sched_getaffinity(0)), _STALLED_SECONDS)


def _write(
    store: PixelStore, source: Path, samples: Sequence[Sample], form: Form
) -> tuple[list[tuple[str | int, ...]], dict[str, str], list[int], bool]:
    """Write the images that can be decoded.

    Returns a row for images.csv of each, the reasons for the others, the bits that 16-bit ones need whose files do not
    state them, and whether any does.
    """
    rows: list[tuple[str | int, ...]] = []
    unreadable: dict[str, str] = {}
    written, needed, stated = 0, list[int](), False
    encoding: Encoding = "raw" if form.jpeg_quality is None else "jpg"
    try:
        if encoding == "raw":
            _check_space(store.folder, len(samples) * math.prod(form.canvas) * 3, len(samples))
        with BetonWriter(store.beton, len(samples), form.canvas, encoding) as beton:
            encoded = _encoded(source, samples, form)
            for done, (sample, image) in enumerate(zip(samples, encoded, strict=True), 1):
                row, content = image.row, image.content
                if image.reason:
                    unreadable[sample.name] = image.reason
                    continue
                needed += [image.needed] if image.needed else []
                stated |= image.stated
                beton.append(content)
                rows.append((sample.key, *row))
                written += len(content)
                if encoding == "jpg" and len(rows) >= 64 and not len(rows) & (len(rows) - 1):  # at 64, 128, 256, ...
                    _check_space(store.folder, 1.1 * written / len(rows) * (len(samples) - done), len(samples))
    except OSError as error:
        raise DataError(f"{store.beton}: cannot be written: {error.strerror}") from None
    return rows, unreadable, needed, stated


def _check_space(folder: Path, need: float, images: int) -> None:
    if shutil.disk_usage(folder).free < need:
        where = folder.parent.parent.parent
        raise DataError(f"{where}: needs {need / 1e9:.1f} GB more room to prepare {images} images")


def _longest(source: Path, samples: Sequence[Sample], size: int, aspect: float) -> int:
    """The longer side of the longest image, as all are given room for it; at most `aspect` times `size`."""
    with warnings.catch_warnings(), ThreadPoolExecutor(_HEADS_AT_A_TIME) as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is looked at when it is decoded
        work = pool.map(partial(longer_side, size=size), [sample.source(source) for sample in samples])
        sides = list(tqdm(work, total=len(samples), desc="measuring", unit="img", disable=None))
    return min(max(sides, default=size), round(size * aspect))


def _encoded(source: Path, samples: Sequence[Sample], form: Form) -> Iterator[Encoded]:
    workers = len(os.sched_getaffinity(0))
    done = 0
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
        with without_script():
            work = pool.map(partial(_encode, form=form), [sample.source(source) for sample in samples], chunksize=16)
        try:
            for image in tqdm(work, total=len(samples), desc="decoding", unit="img", disable=None):
                done += 1
                yield image
        except BrokenProcessPool:
            suspects = f"{samples[done].name} ... {samples[min(done + 16 * workers, len(samples)) - 1].name}"
            raise DataError(f"{source}: a decoder crashed (out of memory?) on one of {suspects}") from None


def _encode(source: Source, form: Form) -> Encoded:
    """An image as it is stored: in the top left corner of its canvas, which a squared one fills."""
    digest, pixels, cropped, reason, needed, stated = read(source, form.size, form.longest, form.megapixels, form.bits)
    if pixels is None:
        return Encoded((), b"", reason)
    height, width, _ = pixels.shape
    lying = pixels if height <= width else pixels.transpose(1, 0, 2)
    # Filled up with its own edge, which JPEG's blocks of 8 x 8 pixels then carry on instead of mixing it with black.
    canvas = np.pad(lying, ((0, 0), (0, form.canvas[1] - lying.shape[1]), (0, 0)), "edge")
    content = canvas.tobytes() if form.jpeg_quality is None else jpeg.encode(canvas, form.jpeg_quality)
    stored = canvas if form.jpeg_quality is None else jpeg.decode(content)
    identity = (digest, source.part) if form.parts else (digest,)
    row: tuple[str | int, ...] = (*identity, checksum(as_seen(stored, np.array([height, width]))))
    row = row if form.longest is None else (*row, height, width, int(cropped))
    row = row if form.jpeg_quality is None else (*row, checksum(np.frombuffer(content, np.uint8)))
    return Encoded(row, content, "", needed, stated)
