"""Writing a pixel store: decode, stage, let FFCV write in a process that is watched, and check what it wrote."""

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
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from blurtrain.data import jpeg
from blurtrain.data.decode import read
from blurtrain.data.store import MODES, PixelStore, checksum
from blurtrain.errors import DataError

FORMAT = "raw RGB, squared, bilinear antialiased, 1"  # part of the id: another way to prepare pixels is another store
STALLED_SECONDS = 120  # FFCV's writer waits for ever when one of its workers dies
_PAGE_BYTES = 2**23


class _Images(NamedTuple):
    """Images as they are to be stored, one after the other in a file."""

    file: Path
    lengths: list[int]  # in bytes
    size: int  # side in pixels
    mode: int


def write_store(
    root: Path, source: Path, paths: list[str], size: int, jpeg_quality: int | None = None
) -> tuple[PixelStore, dict[str, str]]:
    """Decode `source`/path for all paths into a store below `root`, unless that store is there already.

    Pixels are stored raw, or with `jpeg_quality` (1..95) as JPEG. Returns the store, and the images that could not be
    decoded, with the reasons. The store's id is a hash of the paths, the source bytes of the readable ones, the size
    and the quality: not of times or encoded bytes.
    """
    stores = root / ".stores"
    stores.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stores, prefix=".writing-") as temporary:
        staged = Path(temporary) / "staged"
        rows, lengths, unreadable = _stage(staged, source, paths, size, jpeg_quality)
        if not rows:
            path, reason = next(iter(unreadable.items()))
            raise DataError(f"{source}: none of {len(paths)} images can be decoded; the first, {path}: {reason}")
        form = FORMAT if jpeg_quality is None else f"{FORMAT}; JPEG 4:4:4 of quality {jpeg_quality}"
        key = hashlib.sha256(json.dumps([form, size, [r[:2] for r in rows]]).encode()).hexdigest()[:16]
        store = PixelStore(stores / key)
        if not store.folder.exists():
            building = Path(temporary) / key
            building.mkdir()
            with (building / "images.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("path", "sha256", "crc32"), *rows])
            mode = MODES["raw" if jpeg_quality is None else "jpg"]
            _write_watched(_Images(staged, lengths, size, mode), building / "pixels.beton")
            _check(PixelStore(building))
            try:
                building.rename(store.folder)  # whole or not at all; a second writer of the same store loses nothing
            except OSError:
                if not store.folder.exists():
                    raise
    return store, unreadable


def _check(store: PixelStore) -> None:
    if store.encoding == "raw":
        return store.check()
    from blurtrain.data.reader_ffcv import FFCVReader

    reader = FFCVReader(store, len(os.sched_getaffinity(0)), STALLED_SECONDS)
    try:
        store.check(batch.numpy() for batch in reader.batches(np.arange(len(store)), 64))
    except DataError as error:  # the checksums are of the pixels that Pillow decodes
        raise DataError(f"FFCV and Pillow decode JPEG differently; prepare with --encoding raw ({error})") from None


# --- staging --------------------------------------------------------------------------------------------------------


def _stage(
    staged: Path, source: Path, paths: list[str], size: int, jpeg_quality: int | None
) -> tuple[list[tuple[str, str, str]], list[int], dict[str, str]]:
    """Decode everything before FFCV sees anything, because its writer hangs for ever on an exception.

    Returns a row for images.csv and the length in bytes per readable image, in the order of the paths, and the reasons
    for the others.
    """
    rows: list[tuple[str, str, str]] = []
    lengths: list[int] = []
    unreadable: dict[str, str] = {}
    try:
        with staged.open("wb") as file:
            encoded = _encoded(source, paths, size, jpeg_quality)
            for done, (path, (digest, content, crc32, reason)) in enumerate(zip(paths, encoded, strict=True), 1):
                if reason:
                    unreadable[path] = reason
                    continue
                rows.append((path, digest, crc32))
                lengths.append(len(content))
                file.write(content)
                if len(rows) >= 64 and not len(rows) & (len(rows) - 1):  # at 64, 128, 256, ...
                    _check_space(staged, lengths, len(paths) - done)
        if rows:
            _check_space(staged, lengths, 0)
    except OSError as error:
        raise DataError(f"{staged}: cannot be written: {error.strerror}") from None
    return rows, lengths, unreadable


def _check_space(staged: Path, lengths: list[int], to_come: int) -> None:
    """Everything lies on the disk twice for a while: staged, and as FFCV writes it."""
    each = 1.1 * sum(lengths) / len(lengths)
    need = each * (len(lengths) + 2 * to_come)
    if shutil.disk_usage(staged.parent).free < need:
        where, images = staged.parent.parent.parent, len(lengths) + to_come
        raise DataError(f"{where}: needs {need / 1e9:.1f} GB more room to prepare {images} images")


def _encoded(
    source: Path, paths: list[str], size: int, jpeg_quality: int | None
) -> Iterator[tuple[str, bytes, str, str]]:
    workers = len(os.sched_getaffinity(0))
    done = 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("forkserver")) as pool:
        encode = partial(_encode, size=size, jpeg_quality=jpeg_quality)
        work = pool.map(encode, [source / p for p in paths], chunksize=16)
        try:
            for image in tqdm(work, total=len(paths), desc="decoding", unit="img", disable=None):
                done += 1
                yield image
        except BrokenProcessPool:
            suspects = f"{paths[done]} ... {paths[min(done + 16 * workers, len(paths)) - 1]}"
            raise DataError(f"{source}: a decoder crashed (out of memory?) on one of {suspects}") from None


def _encode(path: Path, size: int, jpeg_quality: int | None) -> tuple[str, bytes, str, str]:
    """SHA-256 of the file, what to store, the checksum of the pixels in that, and what was wrong ("" if nothing)."""
    digest, pixels, reason = read(path, size)
    if pixels is None:
        return digest, b"", "", reason
    if jpeg_quality is None:
        return digest, pixels.tobytes(), checksum(pixels), ""
    content = jpeg.encode(pixels, jpeg_quality)
    return digest, content, checksum(jpeg.decode(content)), ""


# --- FFCV's writer --------------------------------------------------------------------------------------------------


class _Staged:
    """The staged images as FFCV's writer wants them: (content, index) by position; reading them cannot fail."""

    def __init__(self, images: _Images):
        self.content, self.ends = np.memmap(images.file, np.uint8, "r"), np.cumsum(images.lengths)
        self.lengths = images.lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        end = int(self.ends[index])
        return np.asarray(self.content[end - self.lengths[index] : end]), int(index)


def _place(image: Any, content: NDArray[np.uint8], malloc: Any, *, size: int, mode: int) -> None:
    """What FFCV's RGBImageField.encode does after it has encoded the pixels, which here has been done."""
    image["mode"], image["width"], image["height"] = mode, size, size
    image["data_ptr"], page = malloc(content.nbytes)
    page[:] = content


def _write(images: _Images, beton: Path) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    # Spawned as this process was, each of the writer's workers would import FFCV again and get a copy of all pixels.
    multiprocessing.set_start_method("fork", force=True)
    os.setsid()  # so that the watchdog can end the writer's own workers with it
    field = RGBImageField()
    field.encode = partial(_place, size=images.size, mode=images.mode)  # FFCV would write a subclass as unknown
    page = max(_PAGE_BYTES, 1 << (max(images.lengths) - 1).bit_length())  # which an image has to fit into
    workers = len(os.sched_getaffinity(0))
    sys.stderr = Path(os.devnull).open("w")  # FFCV's own progress bar; ours has been shown  # noqa: SIM115
    writer = DatasetWriter(str(beton), {"image": field, "index": IntField()}, page_size=page, num_workers=workers)
    writer.from_indexed_dataset(_Staged(images), chunksize=64)


def _write_watched(images: _Images, beton: Path) -> None:
    """Write with FFCV in a process of its own, and end it where it stops making progress."""
    try:
        import blurtrain.data.reader_ffcv  # noqa: F401  (FFCV without it would set torch's threads to 1)
    except ImportError as error:
        raise DataError(f"preparing data needs FFCV, which cannot be imported here ({error}); see README") from None
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(images, beton))
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
