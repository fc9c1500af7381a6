"""The images that are checked: what is known of each, and how their pixels are read: from a store, or from files."""

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from blurtrain.data import tree
from blurtrain.data.checking.thumbnails import hashes, thumbnail
from blurtrain.data.dataset import SPLITS, Dataset
from blurtrain.data.decode import opened
from blurtrain.data.image_files import listed
from blurtrain.data.preparation.pool import end_with_parent, without_script
from blurtrain.data.sharpness import sharpness
from blurtrain.data.store import as_seen
from blurtrain.errors import DataError

_TOGETHER = 2**24
"""Bytes of pixels that a thread reads at a time."""
PART = 512
"""Largest side, in pixels, of the middle part of an image whose sharpness is measured."""
Pixels = NDArray[np.uint8]


@dataclass
class Images:
    """Columns of an entry an image."""

    paths: Sequence[str]
    classes: list[str]
    """Empty where it is not known which there are."""
    label: NDArray[np.int64]
    leaf: NDArray[np.int64]
    """Which object (leaf folder) it shows."""
    split: NDArray[np.int64]
    """Position in SPLITS; -1 where there are none yet."""
    content: NDArray[np.uint64]
    """The first 64 bits of the SHA-256 of its file."""
    hashes: NDArray[np.uint64]
    comparable: NDArray[np.bool_]
    """Whether there is anything to compare; see `thumbnails.hashes`."""
    sides: NDArray[np.int64]
    """Height and width [n, 2] of what is looked at."""
    sharpness: dict[int, dict[str, float]] = field(default_factory=dict)
    """Of some entries; see `blurtrain.data.sharpness`."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def splits(self) -> dict[str, NDArray[np.int64]]:
        """The entries of each split that there is; of "all", where there are no splits."""
        if not self.has_splits:
            return {"all": np.arange(len(self))}
        entries = {name: np.flatnonzero(self.split == k) for k, name in enumerate(SPLITS)}
        return {name: of for name, of in entries.items() if len(of)}

    @property
    def has_splits(self) -> bool:
        return bool((self.split >= 0).any())


class Source(Protocol):
    """Where images come from."""

    images: Images

    def pixels(self, entries: NDArray[np.int64]) -> Iterator[Pixels]:
        """Of each, [height, width, 3]."""
        ...

    def source_sides(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Height and width [k, 2] of the files of those of the entries that are at hand."""
        ...


class _Look(NamedTuple):
    """What is found of one image."""

    hash: np.uint64
    comparable: bool
    sides: tuple[int, int]
    sharpness: dict[str, float] | None
    content: str = ""
    reason: str = ""
    """Why it cannot be read."""


def _look(images: Sequence[Pixels], measured: Sequence[bool]) -> list[_Look]:
    found, comparable = hashes(np.stack([thumbnail(pixels) for pixels in images]))
    return [
        _Look(found[k], bool(comparable[k]), pixels.shape[:2], _sharpness(pixels) if measured[k] else None)
        for k, pixels in enumerate(images)
    ]


def _sharpness(pixels: Pixels) -> dict[str, float] | None:
    top, left = (max(0, (side - PART) // 2) for side in pixels.shape[:2])
    try:
        return sharpness(pixels[top : top + PART, left : left + PART])
    except ValueError:  # too small to measure
        return None


def evenly(entries: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of them, evenly apart."""
    if len(entries) <= most:
        return entries
    return entries[np.linspace(0, len(entries) - 1, most).round().astype(np.int64)]


def _sampled(split: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Evenly spaced entries of each split."""
    chosen = np.zeros(len(split), np.bool_)
    for k in np.unique(split):
        chosen[evenly(np.flatnonzero(split == k), most)] = True
    return chosen


def _fill(images: Images, entries: Iterable[int], looks: Iterable[_Look]) -> None:
    for k, look in zip(entries, looks, strict=True):
        images.hashes[k], images.comparable[k], images.sides[k] = look.hash, look.comparable, look.sides
        if look.sharpness is not None:
            images.sharpness[k] = look.sharpness


class StoredImages:
    """Those of a prepared dataset, at the size of its training store."""

    def __init__(self, dataset: Dataset, most: int, threads: int):
        """Reads every image; measures the sharpness of `most` of each split. Raises DataError for damaged ones."""
        self._dataset = dataset
        view, store = dataset.view, dataset.store
        self._index = view["index"]
        rows, n = store.rows, len(view["index"])
        self.images = Images(
            paths=[rows[k]["path"] for k in self._index],
            classes=dataset.classes,
            label=view["label"].astype(np.int64),
            leaf=view["leaf"].astype(np.int64),
            split=view["split"].astype(np.int64),
            content=np.fromiter((int(rows[k]["sha256"][:16], 16) for k in self._index), np.uint64, n),
            hashes=np.zeros(n, np.uint64),
            comparable=np.zeros(n, np.bool_),
            sides=np.zeros((n, 2), np.int64),
        )
        measured = _sampled(self.images.split, most)
        size = max(1, _TOGETHER // (3 * math.prod(store.canvas)))
        parts = [np.arange(first, min(first + size, n)) for first in range(0, n, size)]
        _ = store.extents, store.sides  # once, and not by each thread

        def look(entries: NDArray[np.int64]) -> list[_Look]:
            return _look(list(self.pixels(entries)), measured[entries].tolist())

        with (
            ThreadPoolExecutor(threads) as pool,
            tqdm(total=n, desc="comparing", unit="img", leave=False, disable=None) as bar,
        ):
            for entries, looks in zip(parts, pool.map(look, parts), strict=True):
                _fill(self.images, entries.tolist(), looks)
                bar.update(len(entries))

    def pixels(self, entries: NDArray[np.int64]) -> Iterator[Pixels]:
        store, places = self._dataset.store, self._index[entries]
        for canvas, sides in zip(store.read(places), store.sides[places], strict=True):
            yield as_seen(canvas, sides)

    def source_sides(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        folder = Path(self._dataset.manifest["request"]["source"])
        sides = []
        for k in entries:
            # A file that has gone, or changed into something else, since it was prepared is no fault of the dataset.
            with contextlib.suppress(Exception), Image.open(folder / self.images.paths[k]) as image:
                sides.append((image.height, image.width))
        return np.array(sides, np.int64).reshape(-1, 2)


class ImageFiles:
    """Those of a folder, as they are; those that cannot be read are in `unreadable`."""

    def __init__(
        self,
        folder: Path,
        most: int,
        processes: int,
        level: int | None = None,
        exclude: Sequence[str] = (),
        splits: Mapping[str, str] | None = None,
    ):
        """Decodes every image; measures the sharpness of `most` of each split. Raises DataError where there is none
        that can be read. level, exclude, splits: see `blurtrain.data.tree.look`."""
        self._folder = folder
        self.unreadable: dict[str, str] = {}
        self.no_classes = ""
        """Why folders are not taken for classes."""
        try:
            found = tree.look(folder, level, exclude, splits).images
        except DataError as error:
            found = [tree.Image(path.as_posix(), "", path.parent.as_posix()) for path in listed(folder, exclude).paths]
            self.no_classes = str(error)
        split = np.array([SPLITS.index(i.split) if i.split else -1 for i in found], np.int64)
        looks = self._looks([i.path for i in found], _sampled(split, most).tolist(), processes)
        self.unreadable = {i.path: look.reason for i, look in zip(found, looks, strict=True) if look.reason}
        read = [k for k, look in enumerate(looks) if not look.reason]
        if not read:
            path, why = next(iter(self.unreadable.items()))
            raise DataError(f"{folder}: none of {len(found)} images can be read; {path}: {why}")
        kept = [found[k] for k in read]
        classes, label = np.unique([i.label for i in kept], return_inverse=True)
        self.images = Images(
            paths=[i.path for i in kept],
            classes=[] if self.no_classes else classes.tolist(),
            label=label.astype(np.int64),
            leaf=np.unique([i.leaf for i in kept], return_inverse=True)[1].astype(np.int64),
            split=split[read],
            content=np.array([int(looks[k].content[:16], 16) for k in read], np.uint64),
            hashes=np.zeros(len(read), np.uint64),
            comparable=np.zeros(len(read), np.bool_),
            sides=np.zeros((len(read), 2), np.int64),
        )
        _fill(self.images, range(len(read)), (looks[k] for k in read))

    def _looks(self, paths: list[str], measured: list[bool], processes: int) -> list[_Look]:
        tasks = [(self._folder / path, one) for path, one in zip(paths, measured, strict=True)]
        several = min(processes, math.ceil(len(tasks) / 64))  # it takes a second to start one
        with contextlib.ExitStack() as stack:
            each: Iterable[_Look] = map(_look_at_file, tasks)
            if several > 1:
                stack.enter_context(without_script())
                context = get_context("forkserver")
                pool = stack.enter_context(ProcessPoolExecutor(several, context, initializer=end_with_parent))
                each = pool.map(_look_at_file, tasks, chunksize=16)
            return list(tqdm(each, total=len(tasks), desc="decoding", unit="img", leave=False, disable=None))

    def pixels(self, entries: NDArray[np.int64]) -> Iterator[Pixels]:
        for k in entries:
            yield np.asarray(opened((self._folder / self.images.paths[k]).read_bytes()))

    def source_sides(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.images.sides[entries]


def _look_at_file(task: tuple[Path, Any]) -> _Look:
    path, measured = task
    try:
        content = path.read_bytes()
        look = _look([np.asarray(opened(content))], [measured])[0]
    except (DataError, OSError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        return _Look(np.uint64(0), False, (0, 0), None, reason=reason)
    return look._replace(content=hashlib.sha256(content).hexdigest())
