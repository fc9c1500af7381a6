"""Prepared datasets: a name, a pixel store, and a view on it (index, label, object and split of each image).

<root>/<name>/manifest.json    classes, counts per split, data id, stores, normalisation statistics, how it was made
<root>/<name>/view.npz         index, label, leaf, split: one entry an image
<root>/.stores/...             see blurtrain.data.store; several views may share one store

A dataset has two stores. The training store holds all images of the tree, a little larger than the network's input, as
crops are taken from them; so views with other labels and splits find the same one. The test store, always raw, holds
the val and test images of the view at the resolution itself: resized again, from the training store, they are blurred
by that. All images would take 77 % more disk (of raw pixels), so views that hold out others have other test stores.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from blurtrain.data import tree
from blurtrain.data.jpeg import BEST_QUALITY
from blurtrain.data.standins import KINDS, draw
from blurtrain.data.store import Encoding, PixelStore
from blurtrain.data.writer import write_store
from blurtrain.errors import DataError, nearest
from blurtrain.run import publish, read_json
from blurtrain.schema import NAME

SCHEMA = 1


class Recipe(BaseModel):
    """How a tree of images becomes a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str | None = None
    """Folder of images; in a grid file relative to the folder given by --images."""
    standin: Literal["faces", "objects", "imagenet-12", "imagenet-100"] | None = None
    """Instead of images: which generated stand-in to draw."""
    standin_seed: int = 0
    label: Annotated[int, Field(ge=1)] | Literal["leaf"] = "leaf"
    """Label images by their leaf folder, or by the folder at this level below the split (1 = topmost)."""
    min_leaves: int = Field(1, ge=1)
    """Keep only labels with at least so many leaf folders (objects) ..."""
    min_images: int = Field(1, ge=1)
    """... and so many images."""
    splits: dict[str, str] | None = None
    """Which of the tree's splits to use as train, val, test; by default as they are called."""
    val: float = Field(0.1, ge=0, lt=1)
    """Where the tree has no splits: share of each label's images (or objects) to hold out for validation ..."""
    test: float = Field(0.2, ge=0, lt=1)
    """... and for testing,"""
    split_seed: int = 0
    hold_out: Literal["images", "leaves"] = "images"
    """... drawn by image, or by whole leaf folder, so that tested objects were never trained on."""
    train_images: int | None = Field(None, ge=1)
    """At most so many training images of each label, drawn by split_seed; none: all."""
    resolution: int = Field(224, ge=8)
    """Side of the network's input that the pixels are meant for. Images of val and test are kept at it, too."""
    stored: int | None = Field(None, ge=8)
    """Side of the images in the training store; by default 8/7 of the resolution, as the study's 256 for 224."""
    encoding: Encoding = "raw"
    """Of the training store. raw: fastest to read; jpg: other pixels, in about an eighth of the space."""
    quality: int | None = Field(None, ge=1, le=BEST_QUALITY)
    """Of jpg; by default 90."""
    skip_unreadable: bool = False
    """Leave out (and list) images that cannot be decoded, instead of refusing the folder."""

    @property
    def size(self) -> int:
        return self.stored or round(self.resolution * 8 / 7)

    @property
    def jpeg_quality(self) -> int | None:
        """None: raw pixels."""
        return None if self.encoding == "raw" else self.quality or 90

    @model_validator(mode="after")
    def _quality_of_jpg(self) -> "Recipe":
        if self.quality and self.encoding == "raw":
            raise ValueError(f"quality={self.quality} goes with encoding=jpg: raw pixels lose nothing")
        return self


@dataclass(frozen=True)
class EvaluationImages:
    """The images of one split, in the store that evaluation reads them from."""

    store: PixelStore
    indices: NDArray[np.int64]
    """Places in the store, in ascending order."""
    labels: NDArray[np.int64]
    pixels: Literal["source", "stored"]
    """source: resized once, straight from the source; stored: to be resized again, from the training store."""

    def labels_by_index(self) -> NDArray[np.int64]:
        """Label of each image in the store; -1 for those of no or another split."""
        return _by_index(self.store, self.indices, self.labels)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, by its folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def manifest(self) -> dict[str, Any]:
        manifest = read_json(self.folder / "manifest.json")
        if manifest is None or manifest.get("schema") != SCHEMA:
            raise DataError(f"{self.folder}: not prepared by this version; run `blurtrain data prepare` again")
        return manifest

    @property
    def data_id(self) -> str:
        """Hash of paths, source bytes, labels, splits and preparation settings; the test store has an id of its own."""
        return self.manifest["data_id"]

    @property
    def classes(self) -> list[str]:
        return self.manifest["classes"]

    @cached_property
    def view(self) -> dict[str, NDArray[Any]]:
        """Arrays of one entry an image: index (in the store), label, leaf, split (position in tree.SPLITS)."""
        try:
            with np.load(self.folder / "view.npz", allow_pickle=False) as arrays:
                return {name: arrays[name] for name in ("index", "label", "leaf", "split")}
        except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.folder}/view.npz: cannot be read: {error}; prepare the dataset again") from None

    @cached_property
    def store(self) -> PixelStore:
        return PixelStore(self.folder.parent / ".stores" / self.manifest["store"])

    def split(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Store indices and labels of a split, in order of index; raises DataError if the dataset has none of it."""
        chosen = self.view["split"] == tree.SPLITS.index(name)
        if not chosen.any():
            raise DataError(
                f"dataset {self.name!r} has no {name} split (it has {', '.join(self.manifest['counts'])}); "
                "set evaluation.split, or prepare it with other splits"
            )
        return self.view["index"][chosen], self.view["label"][chosen]

    def objects(self, split: str) -> NDArray[np.int64] | None:
        """Which object (0, 1, ...) each image of a split shows, in the order of `split`; None where no object is known
        to be shown by several of its images.

        An object is a leaf folder, but only where leaves are not the classes themselves: images of one class (of a
        plain class folder, or of an instance that is a class of its own) are what one would draw anew.
        """
        label, leaf = self.view["label"], self.view["leaf"]
        leaves_are_classes = len(np.unique(leaf)) == len(np.unique(label))  # a leaf is in one class, and none is empty
        if self.manifest["request"]["label"] == "leaf" or leaves_are_classes:
            return None
        objects = np.unique(leaf[self.view["split"] == tree.SPLITS.index(split)], return_inverse=True)[1]
        return objects if np.bincount(objects).max() > 1 else None

    def labels_by_index(self) -> NDArray[np.int64]:
        """Label of each image in the store; -1 for images that this view leaves out."""
        return _by_index(self.store, self.view["index"], self.view["label"])

    @cached_property
    def test_store(self) -> PixelStore | None:
        """Images of val and test, in the order of the view; None if there are none, or none had been prepared yet."""
        key = self.manifest.get("test_store")
        return PixelStore(self.folder.parent / ".stores" / key) if key else None

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which entries of the view are of val or test."""
        return self.view["split"] != tree.SPLITS.index("train")

    def evaluation_images(self, split: str, resolution: int) -> EvaluationImages:
        """What to evaluate on at `resolution`: images of the test store where they are of that side, else (also to
        evaluate on the training split) those of the training store.

        Raises DataError if the dataset has none of the split, or if its test store is damaged.
        """
        indices, labels = self.split(split)
        store = self.test_store
        if split == "train" or store is None or self.manifest["resolution"] != resolution:
            return EvaluationImages(self.store, indices, labels, "stored")
        if (len(store), store.size) != (np.count_nonzero(self.held_out), resolution):
            raise DataError(f"{store.folder}: does not hold the test images of {self.folder}; prepare it again")
        places = np.cumsum(self.held_out) - 1
        return EvaluationImages(store, places[self.view["split"] == tree.SPLITS.index(split)], labels, "source")

    def check(self) -> None:
        """Verify manifest, view and every stored pixel; raises DataError naming what is wrong."""
        store, view = self.store, self.view
        limits = {"index": len(store), "label": len(self.classes), "split": len(tree.SPLITS)}
        fits = len(view["index"]) == sum(self.manifest["counts"].values()) and len(store.rows) == len(store)
        if not fits or any(view[k].min() < 0 or view[k].max() >= limit for k, limit in limits.items()):
            raise DataError(f"{self.folder}: view.npz does not fit its manifest and store; prepare it again")
        if _data_id(store, self.classes, view) != self.data_id:
            raise DataError(f"{self.folder}: view.npz was changed after it was prepared; prepare it again")
        store.check()
        if self.test_store:
            if not _same_sources(self.test_store, [store.rows[k] for k in view["index"][self.held_out]]):
                raise DataError(f"{self.test_store.folder}: holds other images than val and test; prepare it again")
            self.test_store.check()


def _by_index(store: PixelStore, indices: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    placed = np.full(len(store), -1, np.int64)
    placed[indices] = labels
    return placed


def _same_sources(store: PixelStore, rows: list[dict[str, str]]) -> bool:
    """Whether the images of the store were made, one by one, from the same files as those of `rows`."""
    return [(r["path"], r["sha256"]) for r in store.rows] == [(r["path"], r["sha256"]) for r in rows]


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


def prepare(root: Path, name: str, recipe: Recipe, images_root: Path = Path()) -> tuple[Dataset, bool]:
    """Prepare dataset `name` below `root`; returns it, and whether anything had to be done.

    Raises DataError where the images or the recipe cannot be used; what was prepared before then still stands.
    """
    if not re.fullmatch(NAME, name):
        raise DataError(f"{name!r} is no name for a dataset: letters, digits, '.', '_' and '-', beginning with no sign")
    source = _source(root, recipe, images_root)
    images = tree.scan(source, None if recipe.label == "leaf" else recipe.label)
    # What recipes did not have from the beginning is left out at its default, so that older datasets stay as they are.
    later = {"encoding", "quality"} if recipe.encoding == "raw" else set()
    if recipe.train_images is None:
        later = {*later, "train_images"}
    request = {
        **recipe.model_dump(mode="json", exclude=later),
        "source": str(source.resolve()),
        "schema": SCHEMA,
        "files": _fingerprint(source, images),
    }
    dataset, stores = Dataset(root / name), root / ".stores"
    old = read_json(dataset.folder / "manifest.json")
    if old and old["request"] == request and (stores / old["store"]).is_dir():
        test = old.get("test_store", "not yet")  # as before there were any
        if test is None or (stores / test).is_dir():
            return dataset, False
        test = _write_test_store(dataset, source, recipe, dataset.store, dataset.view["index"][dataset.held_out])
        publish(dataset.folder / "manifest.json", json.dumps(old | {"test_store": test}, indent=1))
        return Dataset(dataset.folder), True

    images = tree.keep_labels(images, recipe.min_leaves, recipe.min_images)
    if recipe.splits:
        images = tree.rename_splits(images, recipe.splits)
    if not images[0].split:
        images = tree.draw_splits(images, recipe.val, recipe.test, recipe.split_seed, recipe.hold_out == "leaves")
    tree.check_trained(images)
    # All images of the tree go into the store, so that views with other labels find the same one.
    every = [i.path for i in tree.scan(source)]
    store, unreadable = write_store(root, source, every, recipe.size, recipe.jpeg_quality)
    if unreadable and not recipe.skip_unreadable:
        shown = "; ".join(f"{path}: {reason}" for path, reason in list(unreadable.items())[:3])
        raise DataError(
            f"{source}: {len(unreadable)} of {len(every)} images cannot be decoded ({shown}"
            f"{'; ...' * (len(unreadable) > 3)}); mend or remove them, or leave them out with --skip-unreadable"
        )
    position = {row["path"]: k for k, row in enumerate(store.rows)}
    images = [i for i in images if i.path in position]
    if recipe.train_images:
        images = tree.keep_training(images, recipe.train_images, recipe.split_seed)
    classes = sorted({i.label for i in images})
    tree.check_trained(images)
    leaves = sorted({i.leaf for i in images})
    images.sort(key=lambda i: position[i.path])
    view: dict[str, NDArray[Any]] = {
        "index": np.array([position[i.path] for i in images], np.int64),
        "label": np.array([classes.index(i.label) for i in images], np.int64),
        "leaf": np.array([leaves.index(i.leaf) for i in images], np.int64),
        "split": np.array([tree.SPLITS.index(i.split) for i in images], np.int8),
    }
    mean, sd = _statistics(store, view["index"][view["split"] == 0])
    test = _write_test_store(dataset, source, recipe, store, view["index"][view["split"] != 0])
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "data_id": _data_id(store, classes, view),
        "store": store.folder.name,
        "test_store": test,
        "stored_size": store.size,
        "resolution": recipe.resolution,
        "classes": classes,
        "counts": _ordered(Counter(i.split for i in images)),
        "mean": mean,
        "sd": sd,
        "unreadable": unreadable,
        "request": request,
    }
    dataset.folder.mkdir(parents=True, exist_ok=True)
    # The manifest comes last: without it the dataset does not exist, and with it everything it speaks of does.
    (dataset.folder / "manifest.json").unlink(missing_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **view)
    publish(dataset.folder / "view.npz", buffer.getvalue())
    publish(dataset.folder / "manifest.json", json.dumps(manifest, indent=1))
    return Dataset(dataset.folder), True


def _write_test_store(
    dataset: Dataset, source: Path, recipe: Recipe, store: PixelStore, indices: NDArray[np.int64]
) -> str | None:
    """The id of the store that has these images of the training `store` at the resolution; None for no images."""
    if not len(indices):
        return None
    rows = [store.rows[k] for k in indices]
    # They are decoded once more. That costs their share of the time, and keeps a store one size and one list of images.
    test, unreadable = write_store(dataset.folder.parent, source, [row["path"] for row in rows], recipe.resolution)
    if unreadable or not _same_sources(test, rows):
        raise DataError(
            f"{source}: images have changed since they were stored for training; remove {dataset.folder}, if it is "
            "there, and prepare again"
        )
    return test.folder.name


def _source(root: Path, recipe: Recipe, images_root: Path) -> Path:
    if (recipe.images is None) == (recipe.standin is None):
        raise DataError(
            "a dataset is made either from a folder of images or from a generated stand-in "
            f"({', '.join(KINDS)}): name exactly one"
        )
    if recipe.images is not None:
        return images_root / recipe.images
    drawn = root / ".standins" / f"{recipe.standin}-{recipe.standin_seed}-{recipe.size}"
    if not drawn.exists():
        drawn.parent.mkdir(parents=True, exist_ok=True)
        draw(str(recipe.standin), drawn, seed=recipe.standin_seed, size=recipe.size)
    return drawn


def _fingerprint(source: Path, images: Iterable[tree.Image]) -> str:
    """Changes when files come, go or change: a quick look that saves decoding everything again. Not part of any id."""
    listing = hashlib.sha256()
    for image in images:
        stat = (source / image.path).stat()
        listing.update(f"{image.path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return listing.hexdigest()


def _data_id(store: PixelStore, classes: list[str], view: dict[str, NDArray[Any]]) -> str:
    """The store's id is a hash of the paths and bytes of all its images and of how they are stored; places in it count,
    because every random draw is a function of an image's place."""
    images = [
        (int(index), classes[label], tree.SPLITS[split])
        for index, label, split in zip(view["index"], view["label"], view["split"], strict=True)
    ]
    return hashlib.sha256(json.dumps([SCHEMA, store.folder.name, images]).encode()).hexdigest()[:16]


def _statistics(store: PixelStore, indices: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel over all pixels of these images, in 0..1."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for part in np.array_split(indices, max(1, len(indices) // 256)):
        # By histogram: exact integers, and no copy of the pixels as floats.
        pixels = store.read(part).reshape(-1, 3)
        for channel in range(3):
            histogram = np.bincount(pixels[:, channel], minlength=256)
            total[channel] += histogram @ np.arange(256.0)
            squares[channel] += histogram @ np.arange(256.0) ** 2
        count += len(pixels)
    mean = total / count
    return (mean / 255).tolist(), (np.sqrt(np.maximum(squares / count - mean**2, 1e-12)) / 255).tolist()


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {split: counts[split] for split in tree.SPLITS if counts[split]}
