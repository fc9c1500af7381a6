"""From a tree of images to a prepared dataset: its stores, its view and its manifest."""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.data import tree
from blurtrain.data.dataset import SCHEMA, SPLITS, Dataset, data_id_of, same_sources
from blurtrain.data.preparation.recipe import Recipe
from blurtrain.data.preparation.standins import KINDS, draw
from blurtrain.data.preparation.workspace import sweep
from blurtrain.data.preparation.writer import write_store
from blurtrain.data.store import PixelStore, as_seen
from blurtrain.errors import DataError
from blurtrain.files import publish, read_json
from blurtrain.schema import NAME


def prepare(
    root: Path, name: str, recipe: Recipe, images_root: Path = Path(), replace: bool = False
) -> tuple[Dataset, bool]:
    """Prepare dataset `name` below `root`; returns it, and whether anything had to be done.

    replace: whether a dataset of this name may go that was prepared from other images, or otherwise, or whose pixels
    have been damaged since. Raises DataError where it may not, and where the images or the recipe cannot be used; what
    was prepared before then still stands.
    """
    if not re.fullmatch(NAME, name):
        raise DataError(f"{name!r} is no name for a dataset: letters, digits, '.', '_' and '-', beginning with no sign")
    source = _source(root, recipe, images_root)
    found = tree.look(source, None if recipe.label == "leaf" else recipe.label, recipe.exclude, recipe.splits)
    images = found.images
    request = {
        **recipe.request,
        "source": str(source.resolve()),
        "schema": SCHEMA,
        "files": _fingerprint(source, images),
    }
    dataset, stores = Dataset(root / name), root / ".stores"
    sweep(stores)
    old = read_json(dataset.folder / "manifest.json")
    there = old and old["request"] == request and (stores / old["store"]).is_dir()
    if old and there and not (replace and _is_damaged(dataset)):
        test = old.get("test_store", "not yet")  # as before there were any
        if test is None or (stores / test).is_dir():
            return dataset, False
        test = _write_test_store(dataset, source, recipe, dataset.store, dataset.view["index"][dataset.held_out])
        publish(dataset.folder / "manifest.json", json.dumps(old | {"test_store": test}, indent=1))
        return Dataset(dataset.folder), True
    differing = sorted(k for k in {*old["request"], *request} if old["request"].get(k) != request.get(k)) if old else []
    if differing and not replace:
        raise DataError(
            f"{dataset.folder}: was prepared otherwise ({', '.join(differing)}): --replace puts this in its place, or "
            "choose another --name"
        )

    images = tree.keep_labels(images, recipe.min_leaves, recipe.min_images)
    if recipe.splits:
        images = tree.rename_splits(images, recipe.splits)
    own_splits = bool(images[0].split)
    if own_splits and (given := {"val", "test", "split_seed", "hold_out"} & recipe.model_fields_set):
        has = ", ".join(sorted({i.split for i in images}))
        raise DataError(f"{source}: has splits of its own ({has}), so that {', '.join(sorted(given))} cannot act")
    if len({i.label for i in images}) < 2:
        raise DataError(
            f"{source}: only one class, {images[0].label!r}: there is nothing to learn; name the folder that holds the "
            "class folders, or see --label"
        )
    if not own_splits:
        images = tree.draw_splits(images, recipe.val, recipe.test, recipe.split_seed, recipe.hold_out == "leaves")
    tree.check_trained(images)
    # All images of the tree go into the store, so that views with other labels find the same one.
    every = [path.as_posix() for path in found.paths]
    store, unreadable = write_store(
        root, source, every, recipe.size, recipe.jpeg_quality, recipe.longest_aspect, recipe.megapixels, recipe.bits
    )
    if unreadable and not recipe.skip_unreadable:
        shown = "; ".join(f"{path}: {reason}" for path, reason in list(unreadable.items())[:3])
        raise DataError(
            f"{source}: {len(unreadable)} of {len(every)} images cannot be decoded ({shown}"
            f"{'; ...' * (len(unreadable) > 3)}); mend or remove them, or leave them out with --skip-unreadable"
        )
    position = {row["path"]: k for k, row in enumerate(store.rows)}
    images = [i for i in images if i.path in position]
    contents = {row["path"]: row["sha256"] for row in store.rows}
    if not own_splits and recipe.hold_out == "images":
        images = tree.keep_together(images, contents)
    if recipe.duplicates == "refused":
        tree.check_apart(images, contents)
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
        "split": np.array([SPLITS.index(i.split) for i in images], np.int8),
    }
    mean, sd = _statistics(store, view["index"][view["split"] == 0])
    test = _write_test_store(dataset, source, recipe, store, view["index"][view["split"] != 0])
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "data_id": data_id_of(store, classes, view),
        "store": store.folder.name,
        "test_store": test,
        "stored_size": store.size,
        "resolution": recipe.resolution,
        **({} if recipe.aspect == "square" else _of_aspect(recipe, store, view["index"])),
        "classes": classes,
        "counts": _ordered(Counter(i.split for i in images)),
        "mean": mean,
        "sd": sd,
        "unreadable": unreadable,
        "left_alone": dict(found.left_alone),
        "empty_folders": found.empty,
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


def _is_damaged(dataset: Dataset) -> bool:
    try:
        dataset.check()
    except DataError:
        return True
    return False


def _of_aspect(recipe: Recipe, store: PixelStore, indices: NDArray[np.int64]) -> dict[str, Any]:
    """What the manifest of images that keep their aspect says besides; `cropped`: how many are not whole."""
    cropped = sum(store.rows[k]["cropped"] == "1" for k in indices)
    return {"aspect": recipe.aspect, "longest": recipe.longest_aspect, "tested": recipe.tested_size, "cropped": cropped}


def _write_test_store(
    dataset: Dataset, source: Path, recipe: Recipe, store: PixelStore, indices: NDArray[np.int64]
) -> str | None:
    """The id of the store that has these images of the training `store` as they are tested; None for no images."""
    if not len(indices):
        return None
    rows = [store.rows[k] for k in indices]
    # They are decoded once more. That costs their share of the time, and keeps a store one size and one list of images.
    paths = [row["path"] for row in rows]
    test, unreadable = write_store(
        dataset.folder.parent,
        source,
        paths,
        recipe.tested_size,
        longest_aspect=recipe.longest_aspect,
        megapixels=recipe.megapixels,
        bits=recipe.bits,
        whole=False,
    )
    if unreadable or not same_sources(test, rows):
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
        try:
            stat = (source / image.path).stat()
            listing.update(f"{image.path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError as error:  # a link that leads nowhere, say, is listed with what cannot be decoded
            listing.update(f"{image.path}\0{error.strerror}\n".encode())
    return listing.hexdigest()


def _statistics(store: PixelStore, indices: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel over all pixels of these images, in 0..1; not of what is around them.

    A channel of one value has no deviation to divide by: it takes the largest of the others, or one level of 255.
    """
    # By histogram: exact integers, and no copy of the pixels as floats.
    histogram, levels = np.zeros((3, 256)), np.arange(256.0)
    for part in np.array_split(indices, max(1, len(indices) // 256)):
        for canvas, sides in zip(store.read(part), store.sides[part], strict=True):
            pixels = as_seen(canvas, sides).reshape(-1, 3)
            histogram += [np.bincount(pixels[:, channel], minlength=256) for channel in range(3)]
    count = histogram[0].sum()
    mean = histogram @ levels / count
    sd = np.sqrt(np.maximum(histogram @ levels**2 / count - mean**2, 0.0))
    sd = np.where(sd < 1, max(sd.max(), 1.0), sd)
    return (mean / 255).tolist(), (sd / 255).tolist()


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {split: counts[split] for split in SPLITS if counts[split]}
