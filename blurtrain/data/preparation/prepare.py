"""From a folder of images to a prepared dataset: its stores, its view and its manifest."""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.dataset import SCHEMA, SPLITS, Dataset, data_id_of
from blurtrain.data.preparation import splits
from blurtrain.data.preparation.folder import fingerprint, folder_of, found_in, skipped, write_skipped
from blurtrain.data.preparation.masks import Masks, write_masks
from blurtrain.data.preparation.readers import Found, Sample
from blurtrain.data.preparation.recipe import Recipe
from blurtrain.data.preparation.workspace import sweep
from blurtrain.data.preparation.writer import Wanted, Written, written_stores
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError
from blurtrain.files import publish, read_json
from blurtrain.schema import NAME

_NEEDED = ("store", "masks", "test_masks")
"""Of a manifest: the stores without which it is nothing; that of the test images is written again by itself."""


def prepare(
    root: Path, name: str, recipe: Recipe, images_root: Path = Path(), replace: bool = False
) -> tuple[Dataset, bool]:
    """Prepare dataset `name` below `root`; returns it, and whether anything had to be done.

    Where an earlier call was killed or interrupted, it goes on. replace: whether a dataset of this name may go that was
    prepared from other images, or otherwise, or whose pixels have been damaged since. Raises DataError where it may
    not, and where the images or the recipe cannot be used; what was prepared before then still stands.
    """
    if not re.fullmatch(NAME, name):
        raise DataError(f"{name!r} is no name for a dataset: letters, digits, '.', '_' and '-', beginning with no sign")
    source = folder_of(root, recipe, images_root)
    found = found_in(source, recipe)
    request = {
        **recipe.request,
        "source": str(source.resolve()),
        "schema": SCHEMA,
        "files": fingerprint(source, (s for s in found.samples if s.label), recipe.reading),
    }
    dataset, stores = Dataset(root / name), root / ".stores"
    sweep(stores)
    old = read_json(dataset.folder / "manifest.json")
    if old:
        old["request"] = _as_today(old["request"], request, source, found, recipe)
    there = old and old["request"] == request and all((stores / old[k]).is_dir() for k in _NEEDED if old.get(k))
    if old and there and not (replace and _is_damaged(dataset)):
        test = old.get("test_store", "not yet")  # as before there were any
        if test is None or (stores / test).is_dir():
            return dataset, False
        test = _test_store_again(dataset, source, recipe, found)
        publish(dataset.folder / "manifest.json", json.dumps(old | {"test_store": test}, indent=1))
        return Dataset(dataset.folder), True
    differing = sorted(k for k in {*old["request"], *request} if old["request"].get(k) != request.get(k)) if old else []
    if differing and not replace:
        raise DataError(
            f"{dataset.folder}: was prepared otherwise ({', '.join(differing)}): --replace puts this in its place, or "
            "choose another --name"
        )

    images, drawn = _chosen(found, recipe, source)
    # All images go into the store, so that views with other labels find the same one.
    held_out = _places(found, [image for image in images if image.split != "train"])
    stores_of = _stores_of(root, source, found.samples, recipe, _wanted(recipe), held_out)
    with stores_of as (written, tested, unreadable):
        masks = _masks(root, source, recipe, found, written)
        unreadable |= masks.unreadable if masks else {}
        if unreadable and not recipe.skip_unreadable:
            raise _refused(source, unreadable, len(found.samples))
        images, index = _readable(images, found, written, recipe, drawn, masks)
        classes = list(found.classes) or sorted({image.label for image in images})
        view = _view(images, index, classes)
        held_out = index[view["split"] != SPLITS.index("train")]
        test = _test_store(dataset, source, recipe, found, written, tested, held_out)
        manifest = _manifest(recipe, found, written, images, view, classes, masks) | {
            "name": name, "test_store": test, "unreadable": unreadable, "request": request,
        }  # fmt: skip
        if masks and test:
            samples = [found.samples[k] for k in written.samples[held_out].tolist()]
            tested_masks = _masks_of(root, source, recipe, found, samples, PixelStore(stores / test))
            manifest["test_masks"] = tested_masks.store.folder.name
        _publish(dataset, found, view, {key: manifest[key] for key in _MANIFEST if key in manifest})
    return Dataset(dataset.folder), True


def _as_today(
    old: dict[str, Any], request: Mapping[str, Any], source: Path, found: Found, recipe: Recipe
) -> dict[str, Any]:
    """What a dataset was prepared from, as it is written today; earlier versions of the reader wrote it otherwise."""
    reader = recipe.reading
    if isinstance(old.get("reader"), dict):
        old = old | {"reader": reader.as_today(old["reader"])}
    if (before := reader.as_before(found.samples)) is found.samples or old.get("files") == request["files"]:
        return old
    earlier = fingerprint(source, (s for s in before if s.label), reader)
    return old | ({"files": request["files"]} if old.get("files") == earlier else {})


def _refused(source: Path, unreadable: Mapping[str, str], images: int) -> DataError:
    shown = "; ".join(f"{path}: {reason}" for path, reason in list(unreadable.items())[:3])
    return DataError(
        f"{source}: {len(unreadable)} of {images} images cannot be decoded ({shown}"
        f"{'; ...' * (len(unreadable) > 3)}); mend or remove them, or leave them out with --skip-unreadable"
    )


_MANIFEST = (
    "schema", "name", "data_id", "store", "test_store", "masks", "test_masks", "stored_size", "resolution", "aspect",
    "side", "longest", "tested", "cropped", "view", "classes", "counts", "mean", "sd", "unreadable", "left_alone",
    "empty_folders", "listed", "skipped", "notes", "request",
)  # fmt: skip
"""Its entries in their order."""


def _manifest(
    recipe: Recipe,
    found: Found,
    written: Written,
    images: list[Sample],
    view: dict[str, NDArray[Any]],
    classes: list[str],
    masks: Masks | None,
) -> dict[str, Any]:
    mean, sd = _statistics(written, view["index"][view["split"] == SPLITS.index("train")])
    return {
        "schema": SCHEMA,
        "data_id": data_id_of(written.store, classes, view, masks.store if masks else None),
        "store": written.store.folder.name,
        **({"masks": masks.store.folder.name} if masks else {}),
        "stored_size": written.store.size,
        "resolution": recipe.resolution,
        **({} if recipe.aspect == "square" else _of_aspect(recipe, written, view["index"])),
        **({} if recipe.view == "whole" else {"view": recipe.view}),
        "classes": classes,
        "counts": _ordered(Counter(image.split for image in images)),
        "mean": mean,
        "sd": sd,
        "left_alone": dict(found.left_alone),
        "empty_folders": list(found.empty),
        **skipped(found),
        **({"notes": list(found.notes)} if found.notes else {}),
    }


def _publish(dataset: Dataset, found: Found, view: dict[str, NDArray[Any]], manifest: dict[str, Any]) -> None:
    dataset.folder.mkdir(parents=True, exist_ok=True)
    # The manifest comes last: without it the dataset does not exist, and with it everything it speaks of does.
    (dataset.folder / "manifest.json").unlink(missing_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **view)
    publish(dataset.folder / "view.npz", buffer.getvalue())
    write_skipped(dataset.folder, found)
    publish(dataset.folder / "manifest.json", json.dumps(manifest, indent=1))


def _is_damaged(dataset: Dataset) -> bool:
    try:
        dataset.check()
    except DataError:
        return True
    return False


# --- which images ---------------------------------------------------------------------------------------------------


def _chosen(found: Found, recipe: Recipe, source: Path) -> tuple[list[Sample], bool]:
    """The images of the dataset, each with its split, before any is decoded; and whether the splits were drawn."""
    images = splits.keep_labels(found.labelled, recipe.min_leaves, recipe.min_images)
    if recipe.splits:
        images = splits.rename_splits(images, recipe.splits)
    drawn = not images[0].split
    given = {"val", "test", "split_seed", "hold_out"} & recipe.model_fields_set
    given -= {*recipe.reading.draws_by} if found.drawn else set()
    if not drawn and given:
        has = ", ".join(sorted({i.split for i in images}))
        raise DataError(f"{source}: has splits of its own ({has}), so that {', '.join(sorted(given))} cannot act")
    if len({i.label for i in images}) < 2 and not found.classes:
        raise DataError(
            f"{source}: only one class, {images[0].label!r}: there is nothing to learn; name the folder that holds the "
            "class folders, or see --label"
        )
    if drawn:
        images = splits.draw_splits(images, recipe.val, recipe.test, recipe.split_seed, recipe.hold_out == "leaves")
    splits.check_trained(images)
    return images, drawn


def _readable(
    images: list[Sample], found: Found, written: Written, recipe: Recipe, drawn: bool, masks: Masks | None
) -> tuple[list[Sample], NDArray[np.int64]]:
    """The images that could be decoded (and their masks), in their final splits, and their places in the store."""
    position = np.full(len(found.samples), -1, np.int64)
    position[written.samples] = np.arange(len(written.samples))
    if masks:
        position[written.samples[masks.largest < 0]] = -1
    places = position[_places(found, images)]
    images = [image for image, place in zip(images, places.tolist(), strict=True) if place >= 0]
    places = places[places >= 0]
    contents = _contents(images, written.sha256[places])
    if drawn and recipe.hold_out == "images":
        images = splits.keep_together(images, contents)
    if recipe.duplicates == "refused":
        splits.check_apart(images, contents)
    if recipe.train_images:
        kept = splits.keep_training(images, recipe.train_images, recipe.split_seed)
        places, images = places[_within(images, kept)], kept
    splits.check_trained(images)
    if masks:
        labels = masks.largest[places].tolist()
        images = [image._replace(label=found.classes[k]) for image, k in zip(images, labels, strict=True)]
    return images, places


def _contents(images: list[Sample], sha256: NDArray[np.void]) -> NDArray[np.bytes_]:
    """What tells the content of one image from another's."""
    contents = sha256.view("S32")  # of one length, so that zeros at the end mean no less
    for k, image in enumerate(images):
        if part := image.source(Path()).part:
            contents[k] = hashlib.sha256(bytes(sha256[k]) + part.encode()).digest()
    return contents


def _places(found: Found, some: list[Sample]) -> NDArray[np.int64]:
    """Of some of the samples, which are in their order."""
    return _within(found.samples, some)


def _within(samples: Any, some: list[Sample]) -> NDArray[np.int64]:
    places, following = np.empty(len(some), np.int64), iter(enumerate(samples))
    for k, sample in enumerate(some):
        places[k] = next(place for place, one in following if one.key == sample.key)
    return places


def _view(images: list[Sample], index: NDArray[np.int64], classes: list[str]) -> dict[str, NDArray[Any]]:
    labels = {name: k for k, name in enumerate(classes)}
    groups = {name: k for k, name in enumerate(sorted({image.group for image in images} - {""}))} | {"": -1}
    return {
        "index": index,
        "label": np.array([labels[image.label] for image in images], np.int64),
        "leaf": np.array([groups[image.group] for image in images], np.int64),
        "split": np.array([SPLITS.index(image.split) for image in images], np.int8),
    }


# --- stores ---------------------------------------------------------------------------------------------------------


def _wanted(recipe: Recipe) -> Wanted:
    return Wanted(
        recipe.size, recipe.tested_size, recipe.longest_aspect, recipe.jpeg_quality, recipe.megapixels, recipe.bits,
        mosaic=recipe.view == "mosaic", geometric=recipe.geometric,
    )  # fmt: skip


def _stores_of(
    root: Path, source: Path, samples: Sequence[Sample], recipe: Recipe, wanted: Wanted, held_out: Any = ()
) -> AbstractContextManager[tuple[Written, Written | None, dict[str, str]]]:
    # Of all files, those without a label, too: what was interrupted goes on only where none has changed.
    files = fingerprint(source, samples, recipe.reading)
    return written_stores(root, source, samples, wanted, held_out, files)


def _test_store(
    dataset: Dataset,
    source: Path,
    recipe: Recipe,
    found: Found,
    written: Written,
    tested: Written | None,
    held_out: NDArray[np.int64],
) -> str | None:
    """The id of the store of the images at these places of the training store, as they are tested; None for none."""
    if not len(held_out):
        return None
    if tested is not None and np.array_equal(tested.samples, written.samples[held_out]):
        return tested.store.folder.name
    # Other images than were held out at first: some of them are, byte for byte, images of another split.
    return _write_test_store(dataset, source, recipe, found, written.samples[held_out], written.sha256[held_out])


def _test_store_again(dataset: Dataset, source: Path, recipe: Recipe, found: Found) -> str | None:
    """As `_test_store`, of a dataset that has lost it, or was prepared before there were any."""
    rows = dataset.store.rows_at(dataset.view["index"][dataset.held_out])
    if not rows:
        return None
    keys = {row["path"] for row in rows}
    places = [k for k, sample in enumerate(found.samples) if sample.key in keys]
    digests = np.array([bytes.fromhex(row["sha256"]) for row in rows], "V32")
    return _write_test_store(dataset, source, recipe, found, np.array(places, np.int64), digests)


def _write_test_store(
    dataset: Dataset, source: Path, recipe: Recipe, found: Found, places: NDArray[np.int64], sha256: NDArray[np.void]
) -> str:
    wanted = _wanted(recipe)._replace(size=recipe.tested_size, tested=None, jpeg_quality=None, whole=False)
    samples = [found.samples[k] for k in places.tolist()]
    with _stores_of(dataset.folder.parent, source, samples, recipe, wanted) as (test, _, unreadable):
        same = not unreadable and np.array_equal(test.sha256, sha256)
    if not same:
        raise DataError(
            f"{source}: images have changed since they were stored for training; remove {dataset.folder}, if it is "
            "there, and prepare again"
        )
    return test.store.folder.name


def _masks(root: Path, source: Path, recipe: Recipe, found: Found, written: Written) -> Masks | None:
    """Those of what has been written, where the reader knows of masks."""
    if not found.classes:
        return None
    if recipe.view == "mosaic":
        raise DataError(f"{source}: has masks, which mosaics cannot have: prepare it with view=whole")
    samples = [found.samples[k] for k in written.samples.tolist()]
    return _masks_of(root, source, recipe, found, samples, written.store)


def _masks_of(
    root: Path, source: Path, recipe: Recipe, found: Found, samples: list[Sample], images: PixelStore
) -> Masks:
    squared = recipe.longest_aspect is None
    return write_masks(root, source, samples, images, found.classes, squared, recipe.geometric)


def _of_aspect(recipe: Recipe, written: Written, index: NDArray[np.int64]) -> dict[str, Any]:
    """What the manifest of images that keep their aspect says besides; `cropped`: how many are not whole."""
    cropped = int(np.count_nonzero(written.cropped[index]))
    side = {"side": recipe.side} if recipe.geometric else {}
    return {"aspect": recipe.aspect, **side, "longest": recipe.longest_aspect, "tested": recipe.tested_size,
            "cropped": cropped}  # fmt: skip


def _statistics(written: Written, index: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel over all pixels of these images, in 0..1; not of what is around them.

    A channel of one value has no deviation to divide by: it takes the largest of the others, or one level of 255.
    """
    sums = written.sums[index].sum(0).astype(np.float64)  # of integers, so that no order of the images matters
    count = float(written.pixels[index].sum())
    mean = sums[:3] / count
    sd = np.sqrt(np.maximum(sums[3:] / count - mean**2, 0.0))
    sd = np.where(sd < 1, max(sd.max(), 1.0), sd)
    return (mean / 255).tolist(), (sd / 255).tolist()


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return {split: counts[split] for split in SPLITS if counts[split]}
