"""What a recipe's reader finds in the recipe's folder, and what is noted of it."""

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blurtrain.data.preparation.readers import Found, Reader, Sample
from blurtrain.data.preparation.readers.reader import in_order
from blurtrain.data.preparation.recipe import Recipe
from blurtrain.data.preparation.standins import KINDS, draw
from blurtrain.errors import DataError
from blurtrain.files import publish

SKIPPED = "skipped.csv"


def folder_of(root: Path, recipe: Recipe, images_root: Path) -> Path:
    """The folder that a recipe's reader reads: of images, below `images_root`; or of its stand-in, below `root`, where
    it is drawn unless it is there. Raises DataError where the recipe names neither or both."""
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


def found_in(source: Path, recipe: Recipe) -> Found:
    """What the recipe's reader finds, in the order in which it is stored. Raises DataError where that is nothing, or
    nothing that a dataset can be made of."""
    reader = recipe.reading
    found = reader.found(source, recipe.exclude if recipe.reader is not None else ())
    labelled = found.labelled
    if not labelled:
        raise DataError(f"{source}: reader {reader.type} finds no images that have a label{_why(found)}")
    if len({bool(sample.split) for sample in labelled}) == 2:
        one = next(sample for sample in labelled if not sample.split)
        raise DataError(f"{source}: some images have a split, and others have none, e.g. {one.name}")
    return replace(found, samples=in_order(found.samples, source))


def _why(found: Found) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(r for _, r in found.skipped).most_common(3))
    return f" ({reasons})" if reasons else ""


def skipped(found: Found) -> dict[str, Any]:
    """What the manifest says of images that should have been there."""
    if not found.skipped:
        return {}
    reasons = Counter(reason for _, reason in found.skipped)
    return {"listed": found.listed, "skipped": dict(reasons.most_common())}


def write_skipped(folder: Path, found: Found) -> None:
    """skipped.csv: name and reason of each of those; none where there are none."""
    (folder / SKIPPED).unlink(missing_ok=True)
    if found.skipped:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("image", "reason"), *found.skipped])
        publish(folder / SKIPPED, text.getvalue())


def fingerprint(source: Path, samples: Iterable[Sample], reader: Reader) -> str:
    """Changes when files come, go or change: a quick look that saves decoding everything again. Not part of any id."""
    listing = hashlib.sha256()
    file, line = "", b""
    for sample in samples:
        if sample.file != file:
            file, line = sample.file, _of_file(source, sample.file)
        listing.update(line)
        if not reader.labels_from_paths:
            listing.update(f"{tuple(sample)}\n".encode())
        if sample.mask:
            listing.update(_of_file(source, sample.mask))
    return listing.hexdigest()


def _of_file(source: Path, file: str) -> bytes:
    try:
        stat = os.stat(f"{source}/{file}")  # noqa: PTH116  (a Path costs more than the look)
        return f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode()
    except OSError as error:  # a link that leads nowhere, say, is listed with what cannot be decoded
        return f"{file}\0{error.strerror}\n".encode()
