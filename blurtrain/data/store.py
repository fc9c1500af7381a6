"""The pixel store: every image of a dataset once, as fixed-size raw 8-bit RGB in FFCV's file format.

    <root>/.stores/<id>/pixels.beton    fields: image (raw), index
    <root>/.stores/<id>/images.csv      path, sha256 of the source file, crc32 of the stored pixels

Raw pixels can be read without FFCV as well (`PixelStore.read`), and are the same.
"""

import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from blurtrain.data.decode import read
from blurtrain.errors import DataError

FORMAT = "raw RGB, squared, bilinear antialiased, 1"  # part of the id: another way to prepare pixels is another store
STALLED_SECONDS = 120  # FFCV's writer waits for ever when one of its workers dies

# The layout of a beton file with an RGB and an integer field, as FFCV 1.0 (file version 2) defines it.
_HEADER = np.dtype([("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("n", "<u8"), ("table", "<u8")])
_FIELD_BYTES = 1 + 16 + 1024
_IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
_SAMPLE = np.dtype([("image", _IMAGE), ("index", "<i8")], align=True)


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
        try:
            with (self.folder / "images.csv").open(newline="") as file:
                return list(csv.DictReader(file))
        except OSError as error:
            raise DataError(f"{self.folder}: not a pixel store: {error.strerror}; prepare the dataset again") from None

    @cached_property
    def _samples(self) -> NDArray[np.void]:
        try:
            header = np.fromfile(self.beton, _HEADER, count=1)[0]
            start = _HEADER.itemsize + int(header["fields"]) * _FIELD_BYTES
            samples = np.fromfile(self.beton, _SAMPLE, count=int(header["n"]), offset=start)
        except (OSError, IndexError, ValueError) as error:
            raise DataError(f"{self.beton}: cannot be read: {error}; prepare the dataset again") from None
        if header["version"] != 2 or header["fields"] != 2 or len(samples) != header["n"] or not len(samples):
            raise DataError(f"{self.beton}: damaged, or not written by blurtrain; prepare the dataset again")
        return samples

    @property
    def size(self) -> int:
        """Side of the stored images in pixels."""
        return int(self._samples["image"]["width"][0])

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Pixels [len(indices), size, size, 3], read without FFCV."""
        content = np.memmap(self.beton, np.uint8, mode="r")
        pointers = self._samples["image"]["pointer"]
        length = self.size * self.size * 3
        pixels = np.empty((len(indices), length), np.uint8)
        for row, index in enumerate(indices):
            start = int(pointers[index])
            if start + length > len(content):
                raise DataError(f"{self.beton}: ends before image {index}; prepare the dataset again")
            pixels[row] = content[start : start + length]
        return pixels.reshape(-1, self.size, self.size, 3)

    def check(self) -> None:
        """Compare every stored pixel with the checksums taken when it was decoded; raises DataError."""
        if len(self.rows) != len(self):
            raise DataError(f"{self.folder}: images.csv lists {len(self.rows)} images, the store holds {len(self)}")
        images = self._samples["image"]
        alike = all((images[key] == images[key][0]).all() for key in ("mode", "width", "height"))
        if not alike or (self._samples["index"] != np.arange(len(self))).any():
            raise DataError(f"{self.beton}: its table of images is damaged; prepare again")
        for index, row in enumerate(tqdm(self.rows, desc="checking pixels", unit="img", disable=None)):
            if f"{zlib.crc32(self.read(np.array([index])).tobytes()):08x}" != row["crc32"]:
                raise DataError(f"{self.beton}: pixels of image {index} ({row['path']}) are damaged; prepare again")


def write_store(root: Path, source: Path, paths: list[str], size: int) -> tuple[PixelStore, dict[str, str]]:
    """Decode `source`/path for all paths into a store below `root`, unless that store is there already.

    Returns the store, and the images that could not be decoded, with the reasons. The store's id is a hash of the
    paths, the source bytes of the readable ones and the size: not of times or encoded bytes.
    """
    stores = root / ".stores"
    stores.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stores, prefix=".writing-") as temporary:
        staged = Path(temporary) / "staged.npy"
        rows, unreadable = _stage(staged, source, paths, size)
        if not rows:
            path, reason = next(iter(unreadable.items()))
            raise DataError(f"{source}: none of {len(paths)} images can be decoded; the first, {path}: {reason}")
        key = hashlib.sha256(json.dumps([FORMAT, size, [r[:2] for r in rows]]).encode()).hexdigest()[:16]
        store = PixelStore(stores / key)
        if not store.folder.exists():
            building = Path(temporary) / key
            building.mkdir()
            with (building / "images.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("path", "sha256", "crc32"), *rows])
            _write_watched(staged, len(rows), building / "pixels.beton")
            PixelStore(building).check()
            try:
                building.rename(store.folder)  # whole or not at all; a second writer of the same store loses nothing
            except OSError:
                if not store.folder.exists():
                    raise
    return store, unreadable


def _stage(
    staged: Path, source: Path, paths: list[str], size: int
) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """Decode everything before FFCV sees anything, because its writer hangs for ever on an exception.

    Returns a row for images.csv per readable image, in the order of the paths, and the reasons for the others.
    """
    need = len(paths) * size * size * 3
    if shutil.disk_usage(staged.parent).free < 2.2 * need:
        raise DataError(f"{staged.parent.parent}: needs {2.2 * need / 1e9:.1f} GB free to prepare {len(paths)} images")
    rows: list[tuple[str, str, str]] = []
    unreadable: dict[str, str] = {}
    pixels = np.lib.format.open_memmap(staged, "w+", np.uint8, (len(paths), size, size, 3))
    for path, (digest, image, reason) in zip(paths, _decoded(source, paths, size), strict=True):
        if image is None:
            unreadable[path] = reason
            continue
        pixels[len(rows)] = image
        rows.append((path, digest, f"{zlib.crc32(image.tobytes()):08x}"))
    pixels.flush()
    return rows, unreadable


def _decoded(source: Path, paths: list[str], size: int) -> Iterator[tuple[str, NDArray[np.uint8] | None, str]]:
    workers = len(os.sched_getaffinity(0))
    done = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver")) as pool:
        work = pool.map(partial(read, size=size), [source / p for p in paths], chunksize=16)
        try:
            for image in tqdm(work, total=len(paths), desc="decoding", unit="img", disable=None):
                done += 1
                yield image
        except BrokenProcessPool:
            suspects = f"{paths[done]} ... {paths[min(done + 16 * workers, len(paths)) - 1]}"
            raise DataError(f"{source}: a decoder crashed (out of memory?) on one of {suspects}") from None


class _Staged:
    """The staged pixels as FFCV's writer wants them: (image, index) by position; reading them cannot fail."""

    def __init__(self, staged: Path, n: int):
        self.pixels, self.n = np.load(staged, mmap_mode="r"), n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return np.asarray(self.pixels[index]), int(index)


def _write(staged: Path, n: int, beton: Path) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    # Spawned as this process was, each of the writer's workers would import FFCV again and get a copy of all pixels.
    multiprocessing.set_start_method("fork", force=True)
    os.setsid()  # so that the watchdog can end the writer's own workers with it
    fields = {"image": RGBImageField(write_mode="raw"), "index": IntField()}
    workers = len(os.sched_getaffinity(0))
    sys.stderr = Path(os.devnull).open("w")  # FFCV's own progress bar; ours has been shown  # noqa: SIM115
    DatasetWriter(str(beton), fields, num_workers=workers).from_indexed_dataset(_Staged(staged, n), chunksize=64)


def _write_watched(staged: Path, n: int, beton: Path) -> None:
    """Write with FFCV in a process of its own, and end it where it stops making progress."""
    try:
        import ffcv  # noqa: F401
    except ImportError as error:
        raise DataError(f"preparing data needs FFCV, which cannot be imported here ({error}); see README") from None
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(staged, n, beton))
    process.start()
    seen, since = -1, time.monotonic()
    try:
        while process.is_alive():
            process.join(0.2)
            written = beton.stat().st_blocks if beton.exists() else 0
            if written != seen:
                seen, since = written, time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS:
                raise DataError(f"{beton}: FFCV's writer made no progress for {STALLED_SECONDS} s; is the disk full?")
    finally:
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
            process.kill()
            process.join()
    if process.exitcode:
        raise DataError(f"{beton}: FFCV's writer ended with code {process.exitcode}")
