"""Prepared datasets: a name, a pixel store, and a view on it (index, label, object and split of each image).

<root>/<name>/manifest.json    classes, counts per split, data id, stores, normalisation statistics, how it was made
<root>/<name>/view.npz         index, label, leaf, split: one entry an image
<root>/.stores/...             see blurtrain.data.store and mask_store; several views may share one store

A dataset has two stores. The training store holds all images of the tree, a little larger than the network's input, as
crops are taken from them; so views with other labels and splits find the same one. The test store, always raw, holds
the val and test images of the view at the resolution itself: resized again, from the training store, they are blurred
by that. All images would take 77 % more disk (of raw pixels), so views that hold out others have other test stores.
Where images keep their aspect, both sizes are of the smaller side.

Where the data set has masks, they lie in two more stores, in the order of those and each of the size of its image: the
classes of the dataset are then those of pixels (0: the background), and the label of an image is its largest one.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.canvas import as_seen
from blurtrain.data.mask_store import MaskStore
from blurtrain.data.store import AGAIN, PixelStore
from blurtrain.errors import DataError, nearest
from blurtrain.files import read_json

SCHEMA = 1
SPLITS = ("train", "val", "test")
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""A photo [height, width, 3] and its mask [height, width]."""
_STORES = ("store", "test_store", "masks", "test_masks")  # of a manifest


@dataclass(frozen=True)
class EvaluationImages:
    """The images of one split, in the store that evaluation reads them from."""

    store: PixelStore
    indices: NDArray[np.int64]
    """Places in the store, in ascending order."""
    labels: NDArray[np.int64]
    pixels: Literal["source", "stored"]
    """source: resized once, straight from the source; stored: to be resized again, from the training store."""
    masks: MaskStore | None = None
    """Of the images of the store, where the dataset has some."""

    def labels_by_index(self) -> NDArray[np.int64]:
        """[len(store)]: label of each image in the store; -1 for those of no or another split."""
        return _by_index(self.store, self.indices, self.labels)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, by its folder."""

    folder: Path

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """manifest.json; raises DataError where there is none, or that of another version."""
        manifest = read_json(self.folder / "manifest.json")
        if manifest is None or manifest.get("schema") != SCHEMA:
            raise DataError(f"{self.folder}: not prepared by this version; run `blurtrain data prepare` again")
        return manifest

    @property
    def data_id(self) -> str:
        """Hash of paths, source bytes, labels, splits and preparation settings; the test store has an id of its own."""
        return self.manifest["data_id"]

    @property
    def squared(self) -> bool:
        """Whether all stored images are squares; else they keep their aspect."""
        return self.store.squared

    @property
    def tested(self) -> int:
        """Smaller side of the images in the test store, in pixels."""
        return self.manifest.get("tested", self.manifest["resolution"])

    @property
    def view_of_images(self) -> Literal["whole", "mosaic"]:
        """How images are shown: whole, or as mosaics (`blurtrain.blur_types.mosaic`)."""
        return self.manifest.get("view", "whole")

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""
        return self.manifest["classes"]

    @cached_property
    def view(self) -> dict[str, NDArray[Any]]:
        """Arrays of one entry an image: index (in the store), label, leaf, split (position in SPLITS). Raises DataError
        where view.npz cannot be read."""
        try:
            with np.load(self.folder / "view.npz", allow_pickle=False) as arrays:
                return {name: arrays[name] for name in ("index", "label", "leaf", "split")}
        except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.folder}/view.npz: cannot be read: {error}; {AGAIN}") from None

    @cached_property
    def store(self) -> PixelStore:
        """The pixel store that training reads."""
        return PixelStore(self.folder.parent / ".stores" / self.manifest["store"])

    def split(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Store indices [n] and labels [n] of a split, in order of index; raises DataError if the dataset has none of
        it."""
        chosen = self.view["split"] == SPLITS.index(name)
        if not chosen.any():
            raise DataError(
                f"dataset {self.name!r} has no {name} split (it has {', '.join(self.manifest['counts'])}); "
                "set evaluation.split, or prepare it with other splits"
            )
        return self.view["index"][chosen], self.view["label"][chosen]

    def objects(self, split: str) -> NDArray[np.int64] | None:
        """[n]: which object (0, 1, ...) each image of a split shows, in the order of `split`; None where no object is
        known to be shown by several of its images.

        An object is a group (of a tree: a leaf folder), but only where groups are not the classes themselves: images
        of one class (of a plain class folder, or of an instance that is a class of its own) are what one would draw
        anew. An image of no known group is one by itself.
        """
        label, group = self.view["label"], self.view["leaf"]
        request, known = self.manifest["request"], group[group >= 0]
        leaves_are_classes = len(np.unique(known)) == len(np.unique(label))  # a leaf is in one class, and none is empty
        if (request["label"] == "leaf" and not request.get("reader")) or leaves_are_classes or not len(known):
            return None
        alone = -1 - np.arange(len(group))
        chosen = self.view["split"] == SPLITS.index(split)
        objects = np.unique(np.where(group < 0, alone, group)[chosen], return_inverse=True)[1]
        return objects if np.bincount(objects).max() > 1 else None

    def labels_by_index(self) -> NDArray[np.int64]:
        """[len(store)]: label of each image in the store; -1 for images that this view leaves out."""
        return _by_index(self.store, self.view["index"], self.view["label"])

    @cached_property
    def test_store(self) -> PixelStore | None:
        """Images of val and test, in the order of the view; None if there are none, or none had been prepared yet."""
        key = self.manifest.get("test_store")
        return PixelStore(self.folder.parent / ".stores" / key) if key else None

    @cached_property
    def masks(self) -> MaskStore | None:
        """The class of each pixel of the images in `store`, in their order; None where the data set has none."""
        return self._masks("masks", self.store)

    @cached_property
    def test_masks(self) -> MaskStore | None:
        """As `masks`, of the images in `test_store`."""
        return self._masks("test_masks", self.test_store)

    def _masks(self, name: str, images: PixelStore | None) -> MaskStore | None:
        key = self.manifest.get(name)
        return MaskStore(self.folder.parent / ".stores" / key, images) if key and images else None

    def pairs(self, split: str, side: int | None = None) -> Iterator[Pair]:
        """Each image of a split [height, width, 3], and its mask [height, width]: values are places in `classes`, or
        255 (void). Both as they are seen, at the (smaller) `side` that they are evaluated at, by default as for
        training. Raises DataError where the dataset has no masks, or none of the split.

        For batches on their canvases: `masks.read(indices)`, beside `store.read(indices)`.
        """
        images = self.evaluation_images(split, self.store.size if side is None else side)
        if images.masks is None:
            raise DataError(f"dataset {self.name!r} has no masks; reader voc, or one of yours, finds them")
        for index in images.indices:
            (canvas,) = images.store.read(np.array([index]))
            yield as_seen(canvas, images.store.sides[index]), images.masks.mask(int(index))

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """[entries of the view]: whether each is of val or test."""
        return self.view["split"] != SPLITS.index("train")

    def evaluation_images(self, split: str, side: int) -> EvaluationImages:
        """What to evaluate on at a (smaller) `side`: images of the test store where they are of that side, else (also
        to evaluate on the training split) those of the training store.

        Raises DataError if the dataset has none of the split, or if its test store is damaged.
        """
        indices, labels = self.split(split)
        store = self.test_store
        if split == "train" or store is None or self.tested != side:
            return EvaluationImages(self.store, indices, labels, "stored", self.masks)
        if (len(store), store.size) != (np.count_nonzero(self.held_out), side):
            raise DataError(f"{store.folder}: does not hold the test images of {self.folder}; {AGAIN}")
        places = np.cumsum(self.held_out) - 1
        return EvaluationImages(
            store, places[self.view["split"] == SPLITS.index(split)], labels, "source", self.test_masks
        )

    def check(self) -> None:
        """Verify manifest, view and every stored pixel; raises DataError naming what is wrong."""
        store, view = self.store, self.view
        limits = {"index": len(store), "label": len(self.classes), "split": len(SPLITS)}
        fits = len(view["index"]) == sum(self.manifest["counts"].values()) and len(store.rows) == len(store)
        if not fits or any(view[k].min() < 0 or view[k].max() >= limit for k, limit in limits.items()):
            raise DataError(f"{self.folder}: view.npz does not fit its manifest and store; {AGAIN}")
        if data_id_of(store, self.classes, view, self.masks) != self.data_id:
            raise DataError(f"{self.folder}: view.npz was changed after it was prepared; {AGAIN}")
        store.check()
        if self.test_store:
            kept = store.rows_at(view["index"][self.held_out])
            if not _same_sources(self.test_store.rows, kept):
                raise DataError(f"{self.test_store.folder}: holds other images than val and test; {AGAIN}")
            self.test_store.check()
        for masks in (self.masks, self.test_masks):
            if masks:
                masks.check()


def _by_index(store: PixelStore, indices: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    placed = np.full(len(store), -1, np.int64)
    placed[indices] = labels
    return placed


def _same_sources(some: list[dict[str, str]], others: list[dict[str, str]]) -> bool:
    """Whether images were made, one by one, from the same files."""
    names = ("path", "sha256", "part")
    return [[row.get(name) for name in names] for row in some] == [[row.get(name) for name in names] for row in others]


def open_dataset(root: Path, name: str) -> Dataset:
    """The prepared dataset `name` below `root`; raises DataError, naming those that are there."""
    if not (root / name / "manifest.json").exists():
        raise DataError(
            f"dataset {name!r} is not prepared in {root}: `blurtrain data prepare IMAGES --name {name} --data {root}`; "
            + nearest(name, [d.name for d in datasets(root)])
        )
    return Dataset(root / name)


def datasets(root: Path) -> list[Dataset]:
    """All prepared datasets below `root`, by name."""
    return [Dataset(p.parent) for p in sorted(root.glob("*/manifest.json"))]


def data_id_of(
    store: PixelStore, classes: list[str], view: dict[str, NDArray[Any]], masks: MaskStore | None = None
) -> str:
    """The store's id is a hash of the paths and bytes of all its images and of how they are stored; places in it count,
    because every random draw is a function of an image's place. So is that of the masks. Their values are numbers of
    classes, so that the names of all count, not only of those that are a label."""
    content = hashlib.sha256(f"[{SCHEMA}, {json.dumps(store.folder.name)}, [".encode())
    for start in range(0, len(view["index"]), 4096):
        part = [view[name][start : start + 4096].tolist() for name in ("index", "label", "split")]
        images = [(index, classes[label], SPLITS[split]) for index, label, split in zip(*part, strict=True)]
        content.update((", " * (start > 0) + json.dumps(images)[1:-1]).encode())
    content.update(b"]" + (f", {json.dumps([masks.folder.name, classes])}" if masks else "").encode() + b"]")
    return content.hexdigest()[:16]


def remove(root: Path, names: Sequence[str]) -> int:
    """Remove prepared datasets, and stores (and drawn stand-ins) that no dataset uses any more; returns the bytes.

    Without names, only the latter. Raises DataError for an unknown name, before anything is removed.
    """
    for name in names:
        open_dataset(root, name)
    freed = sum(_removed(root / name) for name in names)
    used = {d.manifest.get(key) for d in datasets(root) for key in _STORES}
    sources = {Path(d.manifest["request"]["source"]).name for d in datasets(root)}
    for folder, kept in ((root / ".stores", used), (root / ".standins", sources)):
        stale = (path for path in folder.glob("*") if path.name not in kept and not path.name.startswith("."))
        freed += sum(_removed(path) for path in stale)
    return freed


def _removed(folder: Path) -> int:
    """The bytes of a folder, which is gone then."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    (folder / "manifest.json").unlink(missing_ok=True)  # first, so that no half of a dataset is found
    shutil.rmtree(folder)
    return size
