"""From a tree of images to a prepared dataset: its stores, its view and its manifest."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.dataset import SCHEMA, SPLITS, Dataset, data_id_of, same_sources
from blurtrain.data.preparation import splits
from blurtrain.data.preparation.readers import Found, Reader, Sample
from blurtrain.data.preparation.readers.reader import in_order
from blurtrain.data.preparation.recipe import Recipe
from blurtrain.data.preparation.standins import KINDS, draw
from blurtrain.data.preparation.workspace import sweep
from blurtrain.data.preparation.writer import write_store
from blurtrain.data.store import PixelStore, as_seen
from blurtrain.errors import DataError
from blurtrain.files import publish, read_json
from blurtrain.schema import NAME

SKIPPED = "skipped.csv"


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
    found = _found(source, recipe)
    images = found.labelled
    request = {
        **recipe.request,
        "source": str(source.resolve()),
        "schema": SCHEMA,
        "files": _fingerprint(source, images, recipe.reading),
    }
    dataset, stores = Dataset(root / name), root / ".stores"
    sweep(stores)
    old = read_json(dataset.folder / "manifest.json")
    there = old and old["request"] == request and (stores / old["store"]).is_dir()
    if old and there and not (replace and _is_damaged(dataset)):
        test = old.get("test_store", "not yet")  # as before there were any
        if test is None or (stores / test).is_dir():
            return dataset, False
        test = _write_test_store(dataset, source, recipe, dataset.store, dataset.view["index"][dataset.held_out], found)
        publish(dataset.folder / "manifest.json", json.dumps(old | {"test_store": test}, indent=1))
        return Dataset(dataset.folder), True
    differing = sorted(k for k in {*old["request"], *request} if old["request"].get(k) != request.get(k)) if old else []
    if differing and not replace:
        raise DataError(
            f"{dataset.folder}: was prepared otherwise ({', '.join(differing)}): --replace puts this in its place, or "
            "choose another --name"
        )

    images = splits.keep_labels(images, recipe.min_leaves, recipe.min_images)
    if recipe.splits:
        images = splits.rename_splits(images, recipe.splits)
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
        images = splits.draw_splits(images, recipe.val, recipe.test, recipe.split_seed, recipe.hold_out == "leaves")
    splits.check_trained(images)
    # All images go into the store, so that views with other labels find the same one.
    store, unreadable = write_store(
        root,
        source,
        found.samples,
        recipe.size,
        recipe.jpeg_quality,
        recipe.longest_aspect,
        recipe.megapixels,
        recipe.bits,
    )
    if unreadable and not recipe.skip_unreadable:
        shown = "; ".join(f"{path}: {reason}" for path, reason in list(unreadable.items())[:3])
        raise DataError(
            f"{source}: {len(unreadable)} of {len(found.samples)} images cannot be decoded ({shown}"
            f"{'; ...' * (len(unreadable) > 3)}); mend or remove them, or leave them out with --skip-unreadable"
        )
    position = {row["path"]: k for k, row in enumerate(store.rows)}
    images = [i for i in images if i.key in position]
    contents = {row["path"]: row["sha256"] + row.get("part", "") for row in store.rows}
    if not own_splits and recipe.hold_out == "images":
        images = splits.keep_together(images, contents)
    if recipe.duplicates == "refused":
        splits.check_apart(images, contents)
    if recipe.train_images:
        images = splits.keep_training(images, recipe.train_images, recipe.split_seed)
    classes = sorted({i.label for i in images})
    label_of = {name: k for k, name in enumerate(classes)}
    splits.check_trained(images)
    groups = sorted({i.group for i in images} - {""})
    numbers = {name: k for k, name in enumerate(groups)} | {"": -1}
    images.sort(key=lambda i: position[i.key])
    view: dict[str, NDArray[Any]] = {
        "index": np.array([position[i.key] for i in images], np.int64),
        "label": np.array([label_of[i.label] for i in images], np.int64),
        "leaf": np.array([numbers[i.group] for i in images], np.int64),
        "split": np.array([SPLITS.index(i.split) for i in images], np.int8),
    }
    mean, sd = _statistics(store, view["index"][view["split"] == 0])
    test = _write_test_store(dataset, source, recipe, store, view["index"][view["split"] != 0], found)
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
        "empty_folders": list(found.empty),
        **_skipped(found),
        "request": request,
    }
    dataset.folder.mkdir(parents=True, exist_ok=True)
    # The manifest comes last: without it the dataset does not exist, and with it everything it speaks of does.
    (dataset.folder / "manifest.json").unlink(missing_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **view)
    publish(dataset.folder / "view.npz", buffer.getvalue())
    _write_skipped(dataset.folder, found)
    publish(dataset.folder / "manifest.json", json.dumps(manifest, indent=1))
    return Dataset(dataset.folder), True


def _found(source: Path, recipe: Recipe) -> Found:
    """What the recipe's reader finds, in the order in which it is stored."""
    reader = recipe.reading
    found = reader.samples(source)
    if recipe.exclude and recipe.reader is not None:
        found = found.without(recipe.exclude, source)
    labelled = found.labelled
    if not labelled:
        raise DataError(f"{source}: reader {reader.type} finds no images that have a label{_why(found)}")
    if len({bool(sample.split) for sample in labelled}) == 2:
        one = next(sample for sample in labelled if not sample.split)
        raise DataError(f"{source}: some images have a split, and others have none, e.g. {one.name}")
    return replaced(found, samples=in_order(found.samples, source))


def _why(found: Found) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(r for _, r in found.skipped).most_common(3))
    return f" ({reasons})" if reasons else ""


def _skipped(found: Found) -> dict[str, Any]:
    """What the manifest says of images that should have been there."""
    if not found.skipped:
        return {}
    reasons = Counter(reason for _, reason in found.skipped)
    return {"listed": found.listed, "skipped": dict(reasons.most_common())}


def _write_skipped(folder: Path, found: Found) -> None:
    """skipped.csv: name and reason of each of those; none where there are none."""
    (folder / SKIPPED).unlink(missing_ok=True)
    if found.skipped:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("image", "reason"), *found.skipped])
        publish(folder / SKIPPED, text.getvalue())


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
    dataset: Dataset, source: Path, recipe: Recipe, store: PixelStore, indices: NDArray[np.int64], found: Found
) -> str | None:
    """The id of the store that has these images of the training `store` as they are tested; None for no images."""
    if not len(indices):
        return None
    rows = [store.rows[k] for k in indices]
    # They are decoded once more. That costs their share of the time, and keeps a store one size and one list of images.
    wanted = {row["path"] for row in rows}
    test, unreadable = write_store(
        dataset.folder.parent,
        source,
        [sample for sample in found.samples if sample.key in wanted],
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


def _fingerprint(source: Path, samples: Iterable[Sample], reader: Reader) -> str:
    """Changes when files come, go or change: a quick look that saves decoding everything again. Not part of any id."""
    listing = hashlib.sha256()
    file, line = "", b""
    for sample in samples:
        if sample.file != file:
            file, line = sample.file, _of_file(source, sample.file)
        listing.update(line)
        if not reader.labels_from_paths:
            listing.update(f"{tuple(sample)}\n".encode())
    return listing.hexdigest()


def _of_file(source: Path, file: str) -> bytes:
    try:
        stat = (source / file).stat()
        return f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode()
    except OSError as error:  # a link that leads nowhere, say, is listed with what cannot be decoded
        return f"{file}\0{error.strerror}\n".encode()


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
