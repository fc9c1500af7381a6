"""Writing the stores of a dataset: every image is decoded once, encoded for the stores that have it, and checked."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from blurtrain.data import ffcv_decoder
from blurtrain.data.decode import longer_side, sides_of
from blurtrain.data.depth import FULL, check_depths
from blurtrain.data.encode import Form, Prepared
from blurtrain.data.preparation.building import Building, Finished
from blurtrain.data.preparation.pool import MOST, prepared_by_all
from blurtrain.data.preparation.readers import Sample
from blurtrain.data.preparation.workspace import workspace
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError

# Part of the id: another way to prepare pixels is another store.
FORMAT = "raw RGB, squared, bilinear antialiased, 1"
KEPT_FORMAT = "raw RGB, aspect kept, of at most {} px, bilinear antialiased, 1"
GEOMETRIC_FORMAT = "raw RGB, aspect kept by geometric mean, of at most {} px, bilinear antialiased, 1"
_COMPARED = 512  # images: decoders differ by how they were built, and so in nearly every image
_HEADS_AT_A_TIME = 16  # files that are opened at a time, to find how long their images are


class Wanted(NamedTuple):
    """What is to be written."""

    size: int
    """Smaller side of the images of the training store, in pixels."""
    tested: int | None = None
    """That of the images of the test store; None: there is to be none."""
    longest_aspect: float | None = None
    """Images keep their aspect up to this one; None: they are squared."""
    jpeg_quality: int | None = None
    """Of the training store, 1..95; None: raw pixels."""
    megapixels: float | None = None
    """Larger images are not decoded; None: see `opened`."""
    bits: int | None = None
    """How many are used of 16-bit images; None: see `eight_bits`."""
    mosaic: bool = False
    """See `Form.mosaic`."""
    whole: bool = True
    """Whether these are all images of the folder; then those of 16 bits are refused if they would be nearly black."""
    geometric: bool = False
    """Whether not the smaller side of images that keep their aspect is `size` (or `tested`), but the geometric mean of
    height and width."""


class Written(NamedTuple):
    """A store, and what it holds."""

    store: PixelStore
    samples: NDArray[np.int64]
    """Of each image, its place in what was given."""
    sha256: NDArray[np.void]
    """Of the source files, 32 bytes."""
    cropped: NDArray[np.bool_]
    pixels: NDArray[np.int64]
    """How many each image has."""
    sums: NDArray[np.uint64]
    """[n, 6]: of each image, those of its three channels, and of their squares."""


@contextlib.contextmanager
def written_stores(
    root: Path,
    source: Path,
    samples: Sequence[Sample],
    wanted: Wanted,
    held_out: Sequence[int] | NDArray[np.int64] = (),
    fingerprint: str = "",
) -> Iterator[tuple[Written, Written | None, dict[str, str]]]:
    """Decode all samples of the folder `source` into a training store below `root`, and those held out also into a test
    store, unless those stores are there already, and intact. As a context: what it takes to go on after an interruption
    stays until its end.

    held_out: places in `samples`, ascending. fingerprint: of the files; with another one, what an interrupted call has
    left is not taken up. Gives the stores, in the order of `samples`, and the names of what could not be decoded, with
    the reasons. A store's id is a hash of the keys, the source bytes (and which part of them) of the readable images,
    the size, the longest side, the quality and the bits: not of times or encoded bytes. Raises DataError where no image
    can be decoded, or a store cannot be written.
    """
    parts = any(sample.box is not None or sample.time is not None for sample in samples)
    train, test = _forms(source, samples, wanted, held_out)
    job = [str(source.resolve()), fingerprint, wanted, train, test, parts, np.asarray(held_out, np.int64).tobytes()]
    stores = root / ".stores"
    with workspace(stores, hashlib.sha256(repr(job).encode()).hexdigest()[:16]) as folder:
        building = Building(folder / "train", len(samples), train)
        second = Building(folder / "test", len(held_out), test) if test and len(held_out) else None
        try:
            work = _Work(source, samples, wanted, building, second, held_out)
            unreadable = work.done_before(folder) | work.do(folder)
            finished = [b.finish() for b in (building, second) if b]
        except OSError as error:
            raise DataError(f"{building.store.beton}: cannot be written: {error.strerror}") from None
        records = finished[0].records
        if wanted.whole:
            check_depths([n for n in building.records["needed"][: building.done].tolist() if n], str(source))
        if not len(records):
            name, reason = next(iter(unreadable.items()))
            raise DataError(f"{source}: none of {len(samples)} images can be decoded; the first, {name}: {reason}")
        names = [_name(each.form, wanted.bits, bool(each.records["stated"].any())) for each in finished]
        keys = [each.key(name, samples, parts) for each, name in zip(finished, names, strict=True)]
        missing = [not _is_intact(PixelStore(stores / key)) for key in keys]
        moved = [b.moved for b in (building, second) if b]
        if lost := [key for key, wants, gone in zip(keys, missing, moved, strict=True) if wants and gone]:
            raise DataError(f"{stores / lost[0]}: was written by a call that was interrupted, and is gone; start again")
        for each, wants in zip(finished, missing, strict=True):
            if wants:
                each.write_table(samples, parts)
                _check(each)
        for each, key, wants in zip(finished, keys, missing, strict=True):
            if wants:
                _publish(each.store.folder, stores / key, folder / "damaged")
        written = [_written(PixelStore(stores / key), each) for key, each in zip(keys, finished, strict=True)]
        del finished, records, work
        yield written[0], written[1] if second else None, unreadable


def _name(form: Form, bits: int | None, stated: bool) -> str:
    """Part of the store's id."""
    kept = GEOMETRIC_FORMAT if form.geometric else KEPT_FORMAT
    pixels = FORMAT if form.longest is None else kept.format(form.longest)
    pixels += "; mosaics of 3 x 3 tiles, 1" * form.mosaic
    pixels += f"; {bits} of 16 bits" if bits not in (None, FULL) else ""
    pixels += "" if form.jpeg_quality is None else f"; JPEG 4:4:4 of quality {form.jpeg_quality}"
    return f"{pixels}; depths as stated" if stated else pixels


def _written(store: PixelStore, finished: Finished) -> Written:
    records = finished.records
    pixels = records["height"].astype(np.int64) * records["width"]
    return Written(
        store, records["sample"].astype(np.int64), records["sha256"].copy(), records["cropped"].copy(), pixels,
        records["sums"].copy(),
    )  # fmt: skip


def _publish(building: Path, place: Path, damaged: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(damaged, ignore_errors=True)
        place.rename(damaged)
    try:
        building.rename(place)  # whole or not at all; a second writer of it loses nothing
    except OSError:
        if not place.exists():
            raise


def _is_intact(store: PixelStore) -> bool:
    """Whether it is there, and all that it holds is as it was written."""
    try:
        return store.folder.exists() and all(True for _ in store.checked_images())
    except DataError:
        return False


def _check(finished: Finished) -> None:
    """Compare what was written with what was encoded; of JPEG also some as FFCV decodes it, where there is FFCV."""
    finished.check(_workers())
    if finished.form.jpeg_quality is not None and (decode := ffcv_decoder.ffcv_decoder()):
        finished.check_pixels(_COMPARED, decode)


def _workers() -> int:
    return len(os.sched_getaffinity(0))


# --- the work -------------------------------------------------------------------------------------------------------


class _Work:
    """All samples, one after the other."""

    def __init__(
        self,
        source: Path,
        samples: Sequence[Sample],
        wanted: Wanted,
        train: Building,
        test: Building | None,
        held_out: Sequence[int] | NDArray[np.int64],
    ):
        self.source, self.samples, self.wanted, self.train, self.test = source, samples, wanted, train, test
        self.tested = np.zeros(len(samples), bool)
        self.tested[np.asarray(held_out, np.int64)] = test is not None
        self.order = _order(samples)

    def done_before(self, folder: Path) -> dict[str, str]:
        """Take up what an earlier call has done; returns what it could not decode, with the reasons."""
        reasons = _reasons(folder)
        self.train.take_up()
        done = self.train.records["sample"][: self.train.done]
        if self.test:
            self.test.take_up(int(self.tested[done].sum()))
            if self.test.done < self.tested[done].sum():  # by a power cut, say
                tested = np.flatnonzero(self.tested[done])
                self.train.end()
                self.train.take_up(int(tested[self.test.done]))
        done = self.train.records[: self.train.done]
        return {self.samples[k].name: reasons.get(k, "") for k in done["sample"][~done["stored"]].tolist()}

    def do(self, folder: Path) -> dict[str, str]:
        """All that is left; returns what cannot be decoded, with the reasons."""
        unreadable: dict[str, str] = {}
        left = self.order[self.train.done :]
        self._check_space(len(left))
        with _reasons_file(folder) as reasons:
            for number, (k, prepared) in enumerate(zip(left.tolist(), self._prepared(left), strict=True), 1):
                if prepared.reason:
                    unreadable[self.samples[k].name] = prepared.reason
                    reasons.write(json.dumps([k, prepared.reason]) + "\n")
                    reasons.flush()
                images = list(prepared.forms)
                self.train.add(k, prepared, images[0] if images else None)
                if self.test and self.tested[k]:
                    self.test.add(k, prepared, images[1] if images else None)
                if number % _COMMITTED == 0 or number == len(left):
                    # In this order: an image counts as done by the record of the training store.
                    for building in (self.test, self.train):
                        if building:
                            building.commit()
                if number >= _COMMITTED and not number & (number - 1):  # at 64, 128, 256, ...
                    self._check_space(len(left) - number, self.train.mean_bytes)
        return unreadable

    def _prepared(self, left: NDArray[np.int64]) -> Iterator[Prepared]:
        """Of the samples at these places, in this order."""
        train, test = self.train.form, self.test and self.test.form
        forms = [(train,), (train, test)] if test else [(train,)]
        samples = (self.samples[k] for k in left.tolist())
        work = (
            (sample.source(self.source), forms[int(self.tested[k])])
            for sample, k in zip(samples, left.tolist(), strict=True)
        )
        bar = tqdm(total=len(self.samples), initial=self.train.done, desc="decoding", unit="img", disable=None)
        done = 0
        with bar:
            try:
                for image in prepared_by_all(work, _workers(), self.wanted.megapixels, self.wanted.bits):
                    yield image
                    done += 1
                    bar.update()
            except BrokenProcessPool:
                some = [self.samples[k].name for k in left[done : done + MOST * 2 * _workers()].tolist()]
                raise DataError(
                    f"{self.source}: a decoder crashed (out of memory?) on one of {some[0]} ... {some[-1]}"
                ) from None

    def _check_space(self, images: int, mean: float | None = None) -> None:
        """Raise DataError where the disk has too little for so many more images; mean: bytes of one, where known."""
        train = math.prod(self.train.form.canvas) * 3.0 if self.train.encoding == "raw" else 1.1 * (mean or 0)
        tested = self.test.left * math.prod(self.test.form.canvas) * 3.0 if self.test else 0.0
        if shutil.disk_usage(self.train.store.folder).free < (need := images * train + tested):
            where = self.train.store.folder.parents[2]
            raise DataError(f"{where}: needs {need / 1e9:.1f} GB more room to prepare {len(self.samples)} images")


_COMMITTED = 64
"""Images after which what has been done is kept, whatever happens."""


def _order(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """In which samples are decoded: as they are stored, but what comes out of one file one after the other."""
    if all(sample.row is None and sample.time is None and sample.box is None for sample in samples):
        return np.arange(len(samples))
    places = sorted(
        range(len(samples)), key=lambda k: (samples[k].file, samples[k].row or 0, samples[k].time or 0.0, k)
    )
    return np.array(places, np.int64)


def _reasons_file(folder: Path) -> IO[str]:
    return (folder / "unreadable").open("a")


def _reasons(folder: Path) -> dict[int, str]:
    """Why images could not be decoded, by an earlier call."""
    path, found = folder / "unreadable", {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # half a line of a power cut
            place, reason = json.loads(line)
            found[place] = reason
    return found


def _forms(
    source: Path, samples: Sequence[Sample], wanted: Wanted, held_out: Sequence[int] | NDArray[np.int64]
) -> tuple[Form, Form | None]:
    """Of the training store and of the test store."""
    longest: list[int | None] = [None, None]
    geometric = wanted.geometric
    if wanted.longest_aspect is not None:
        with warnings.catch_warnings(), ThreadPoolExecutor(_HEADS_AT_A_TIME) as pool:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is looked at when it is decoded
            heads = pool.map(sides_of, [sample.source(source) for sample in samples])
            sides = list(tqdm(heads, total=len(samples), desc="measuring", unit="img", disable=None))
        for form, (size, some) in enumerate(((wanted.size, sides), (wanted.tested, [sides[k] for k in held_out]))):
            found = [longer_side(size, each, geometric) for each in some if each] if size else []
            most = math.sqrt(wanted.longest_aspect) if geometric else wanted.longest_aspect
            longest[form] = min(max([*found, size or 0]), round((size or 0) * most))
    mosaic = wanted.mosaic
    test = None if wanted.tested is None else Form(wanted.tested, longest[1], mosaic=mosaic, geometric=geometric)
    return Form(wanted.size, longest[0], wanted.jpeg_quality, mosaic, geometric), test
