"""Writing the masks of a pixel store, at the size at which each of its images is stored."""

import csv
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from blurtrain.data.decode import resized, size_as_seen
from blurtrain.data.mask_file import check_mask, largest_class, read_mask
from blurtrain.data.mask_store import COLUMNS, MaskStore, checksum
from blurtrain.data.outlines import painted
from blurtrain.data.preparation.readers import Sample
from blurtrain.data.preparation.workspace import workspace
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError

# Part of the id: another way to prepare masks is another store.
FORMAT = "masks, nearest, 1"


class Masks(NamedTuple):
    """What has been written."""

    store: MaskStore
    largest: NDArray[np.int64]
    """Of each image, the class with most pixels, see `Found.classes`; -1: it has no mask that can be read."""
    unreadable: Mapping[str, str]
    """Masks that could not be read, with the reasons."""


class _Written(NamedTuple):
    sha256: str = ""
    crc32: str = ""
    content: bytes = b""
    largest: int = 0
    reason: str = ""


def write_masks(
    root: Path,
    source: Path,
    samples: Sequence[Sample],
    images: PixelStore,
    classes: Sequence[str],
    squared: bool,
    geometric: bool = False,
) -> Masks:
    """The masks of `images`, which were stored of these `samples` of the folder `source`, as a store below `root`,
    unless that is there already, and intact.

    Each is resized by nearest neighbours, and cropped, exactly as its image was. classes: the names of the values 0, 1,
    ...; squared: whether images were, else they keep their aspect; geometric: see `decode.resized`. The id
    is a hash of the pixel store's and of the masks' bytes. Raises DataError where none can be read.
    """
    longest = None if squared else images.canvas[1]
    work = partial(_written, source=source, size=images.size, longest=longest, geometric=geometric, classes=classes)
    stores = root / ".stores"
    rows: list[tuple[str | int, ...]] = []
    largest, unreadable = np.full(len(samples), -1, np.int64), {}
    with (
        workspace(stores, f"masks-{images.folder.name}") as temporary,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        building = temporary / "masks"
        building.mkdir(exist_ok=True)
        found = tqdm(pool.map(work, samples, images.sides), "masks", len(samples), unit="mask", disable=None)
        try:
            with (building / "masks.bin").open("wb") as file:
                for k, (sample, one) in enumerate(zip(samples, found, strict=True)):
                    file.write(one.content)
                    rows.append((sample.key, one.sha256, one.crc32, len(one.content)))
                    if one.reason:
                        unreadable[sample.mask or f"mask of {sample.name}"] = one.reason
                    else:
                        largest[k] = one.largest
                os.fsync(file.fileno())
            with (building / "masks.csv").open("w", newline="") as table:
                csv.writer(table).writerows([COLUMNS, *rows])
                os.fsync(table.fileno())
        except OSError as error:
            raise DataError(f"{building}: cannot be written: {error.strerror}") from None
        if (largest < 0).all():
            path, reason = next(iter(unreadable.items()))
            raise DataError(f"{source}: none of {len(samples)} masks can be read; the first, {path}: {reason}")
        identity = [FORMAT, images.folder.name, len(classes), [row[1] for row in rows]]
        store = MaskStore(stores / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16], images)
        if not _is_intact(store):
            if store.folder.exists():
                store.folder.rename(temporary / "damaged")
            building.rename(store.folder)
    return Masks(MaskStore(store.folder, images), largest, unreadable)


def _is_intact(store: MaskStore) -> bool:
    try:
        store.check()
    except DataError:
        return False
    return True


def _written(
    sample: Sample,
    sides: NDArray[np.int64],
    source: Path,
    size: int,
    longest: int | None,
    geometric: bool,
    classes: Sequence[str],
) -> _Written:
    """The mask of a sample, as it is stored with its image of these `sides`."""
    digest = ""
    try:
        photo = size_as_seen(sample.source(source))
        if sample.outlines:
            digest = hashlib.sha256(zlib.decompress(sample.outlines)).hexdigest()
            whole = painted(sample.outlines, photo)
            check_mask(whole, photo, len(classes))
        elif sample.mask:
            content = (source / sample.mask).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            whole = read_mask(content, Path(sample.mask).suffix, photo, len(classes))
        else:
            raise DataError("has no mask")
        seen = Image.fromarray(whole) if sample.box is None else Image.fromarray(whole).crop(sample.box)
        mask, _ = resized(seen, size, longest, Image.Resampling.NEAREST, geometric)
        if list(mask.shape) != sides.tolist():
            raise DataError("is not of the size of its photo, which has changed")
        return _Written(digest, checksum(mask), zlib.compress(mask.tobytes(), 6), largest_class(mask, classes))
    except OSError as error:
        return _Written(reason=error.strerror or str(error))
    except DataError as error:
        return _Written(digest, reason=str(error))
