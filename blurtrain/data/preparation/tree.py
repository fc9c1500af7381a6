"""Raw layouts: which images a folder holds, and the label, object and split of each, read off the folder names.

class/...                      one class a folder
split/class/...                train, val (or valid, validation), test
[split/]group/[.../]leaf/...   ragged trees; labelled by the leaf folder, or by the folder at a level (1 = topmost)
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from blurtrain.data.dataset import SPLITS
from blurtrain.errors import DataError

_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}


@dataclass(frozen=True)
class Image:
    """One image file: its path below the root, its label, the leaf folder (object) it shows, its split ("" if none)."""

    path: str
    label: str
    leaf: str
    split: str = ""


def scan(root: Path, level: int | None = None) -> list[Image]:
    """All images below `root`, by path. Labels are leaf folders, or with `level` the folders that far below the split.

    Hidden files and files that are no images by name are passed over. Raises DataError where a folder is missing,
    holds no image, or an image has no folder at `level`.
    """
    paths = image_files(root)
    tops = {p.parts[0].lower() for p in paths}
    has_splits = tops <= set(_SPLIT_FOLDERS) and len(tops) > 1
    images = []
    for path in paths:
        split = _SPLIT_FOLDERS[path.parts[0].lower()] if has_splits else ""
        folders = path.parts[has_splits:-1]
        if len(folders) < (level or 1):
            raise DataError(
                f"{root / path}: must lie in {'a class folder' if not level else f'{level} folders'}"
                f"{' below its split' * has_splits}, as its label is read off {'that' if not level else 'them'}"
            )
        images.append(Image(path.as_posix(), folders[level - 1 if level else -1], "/".join(folders), split))
    if level is None:
        images = _unambiguous(images)
    return images


def image_files(root: Path) -> list[Path]:
    """Paths below `root` of all files that are images by name, but for hidden ones; raises DataError for none."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    # Sorted by parts and not by string, so that the order is the same on every file system.
    paths = sorted((p.relative_to(root) for p in _files(root)), key=lambda p: p.parts)
    if not paths:
        raise DataError(f"{root}: holds no images ({', '.join(sorted(_SUFFIXES))})")
    return paths


def _files(root: Path) -> Iterator[Path]:
    """Image files below `root` by name, through links to folders too, but not round in circles."""
    above = {str(root): frozenset[str]()}
    for folder, folders, files in os.walk(root, followlinks=True):
        real, entered = os.path.realpath(folder), above.pop(folder)
        if real in entered:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        above |= {os.path.join(folder, name): entered | {real} for name in folders}  # noqa: PTH118  (as os.walk does)
        yield from (Path(folder, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in _SUFFIXES)


def _unambiguous(images: list[Image]) -> list[Image]:
    """Leaf folders of one name in two places of one split are different labels: those are called by their whole path.

    Between splits a place may differ (a tree may have Vegetables/Mushroom/Brown in test, Vegetables/Brown in train).
    """
    places = defaultdict(set)
    for image in images:
        places[image.split, image.label].add(image.leaf)
    ambiguous = {label for (_, label), found in places.items() if len(found) > 1}
    return [replace(i, label=i.leaf) if i.label in ambiguous else i for i in images]


def keep_labels(images: list[Image], min_leaves: int = 1, min_images: int = 1) -> list[Image]:
    """Only the labels that have at least so many objects (leaf folders) and images."""
    leaves = defaultdict(set)
    for image in images:
        leaves[image.label].add(image.leaf)
    counts = Counter(i.label for i in images)
    kept = [i for i in images if len(leaves[i.label]) >= min_leaves and counts[i.label] >= min_images]
    if not kept:
        raise DataError(f"no label has {min_leaves} or more leaf folders and {min_images} or more images")
    return kept


def rename_splits(images: list[Image], names: dict[str, str]) -> list[Image]:
    """Use the tree's split `names[x]` as split x, and nothing else, e.g. {"train": "train", "test": "val"}."""
    present = {i.split for i in images if i.split}
    for split, source in names.items():
        if split not in SPLITS or source not in present:
            raise DataError(
                f"split {split}={source}: use {', '.join(SPLITS)} = one of the tree's own splits "
                f"({', '.join(sorted(present)) or 'it has none'})"
            )
    backwards = {source: split for split, source in names.items()}
    return [replace(i, split=backwards[i.split]) for i in images if i.split in backwards]


def draw_splits(images: list[Image], val: float, test: float, seed: int, whole_leaves: bool) -> list[Image]:
    """Give every image a split by the rank of a hash of its path (or, with `whole_leaves`, of its object's).

    Within each label, shares `val` and `test` of the images (objects) are held out, at least one each where the share
    is not 0, and at least one stays for training. Raises DataError for a label with too few.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise DataError(f"split shares val={val}, test={test}: must be >= 0 and leave something for training")
    units = defaultdict(set)
    for image in images:
        units[image.label].add(image.leaf if whole_leaves else image.path)
    split_of = {}
    for label, members in units.items():
        ranked = sorted(members, key=lambda m: hashlib.sha256(f"{seed}/{m}".encode()).digest())
        n_test, n_val = (max(1, round(share * len(ranked))) if share else 0 for share in (test, val))
        if len(ranked) - n_test - n_val < 1:
            raise DataError(
                f"label {label!r} has {len(ranked)} {'objects' if whole_leaves else 'images'}: too few for "
                f"{' and '.join(n for n, k in (('train', 1), ('val', n_val), ('test', n_test)) if k)}; "
                "leave it out (min_images, min_leaves) or choose other shares"
            )
        for rank, member in enumerate(ranked):
            split_of[label, member] = "test" if rank < n_test else "val" if rank < n_test + n_val else "train"
    return [replace(i, split=split_of[i.label, i.leaf if whole_leaves else i.path]) for i in images]


def keep_training(images: list[Image], most: int, seed: int) -> list[Image]:
    """At most so many training images of each label, by the rank of a hash of their paths; all of the other splits."""
    training = defaultdict(list)
    for image in images:
        if image.split == "train":
            training[image.label].append(image.path)
    kept = {
        path
        for paths in training.values()
        # Not the hash that draws the splits: what stays must not depend on how close to being held out it was.
        for path in sorted(paths, key=lambda p: hashlib.sha256(f"training/{seed}/{p}".encode()).digest())[:most]
    }
    return [i for i in images if i.split != "train" or i.path in kept]


def check_trained(images: list[Image]) -> None:
    """Raise DataError where a label has no training images."""
    untrained = {i.label for i in images} - {i.label for i in images if i.split == "train"}
    if untrained:
        raise DataError(f"no training images of {', '.join(sorted(untrained)[:5])}; every class needs some")
