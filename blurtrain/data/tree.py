"""Raw layouts: which images a folder holds, and the label, object and split of each, read off the folder names.

class/...                      one class a folder
split/class/...                splits called train, val or test, or much like it (Training, seg_test, dev)
[split/]group/[.../]leaf/...   ragged trees; labelled by the leaf folder, or by the folder at a level (1 = topmost)

Folders around the splits are looked through (archive/data/train/...), and so is a folder of images inside a class
(class/images/...).
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from blurtrain.data.dataset import SPLITS
from blurtrain.data.image_files import listed
from blurtrain.errors import DataError

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_OF_IMAGES = {"images", "image", "imgs", "img"}
"""Folders inside a class that say nothing more of what they hold."""


@dataclass(frozen=True)
class Image:
    """One image file: its path below the root, its label, the leaf folder (object) it shows, its split ("" if none)."""

    path: str
    label: str
    leaf: str
    split: str = ""


@dataclass(frozen=True)
class Tree:
    """What a folder holds."""

    images: list[Image]
    """By path."""
    paths: list[Path]
    """Of all images below the folder, those of no split too."""
    left_alone: Counter[str] = field(default_factory=Counter)
    """See `blurtrain.data.image_files.Listing`."""
    empty: list[str] = field(default_factory=list)
    """Folders without any file."""


def scan(root: Path, level: int | None = None) -> list[Image]:
    """The images of `look`."""
    return look(root, level).images


def look(
    root: Path,
    level: int | None = None,
    exclude: Sequence[str] = (),
    splits: Mapping[str, str] | None = None,
) -> Tree:
    """All images below `root`, by path. Labels are leaf folders, or with `level` the folders that far below the split.

    exclude: see `listed`. splits: which folder is which split, {"train": "good", "test": "new"}; else those that are
    called so. Files that are no images, and folders beside the splits, are left alone. Raises DataError where a folder
    is missing, holds no image, or an image has no folder at `level`; where a class folder holds both images and folders
    of images; and where there is a test split alone.
    """
    found = listed(root, exclude)
    left_alone = Counter(found.left_alone)
    prefix, names = _splits(root, found.paths, splits)
    images = []
    for path in found.paths:
        inside = path.parts[len(prefix) :]
        if names and inside[0] not in names:
            left_alone[f"in {'/'.join((*prefix, inside[0]))}, beside the splits"] += 1
            continue
        split, folders = (names[inside[0]], inside[1:-1]) if names else ("", path.parts[:-1])
        if len(folders) < (level or 1):
            raise DataError(
                f"{root / path}: must lie in {'a class folder' if not level else f'{level} folders'}"
                f"{' below its split' * bool(names)}, as its label is read off {'that' if not level else 'them'}"
            )
        if len(folders) > 1 and level is None and folders[-1].lower() in _OF_IMAGES:
            folders = folders[:-1]
        label = unicodedata.normalize("NFC", folders[level - 1 if level else -1])  # one class, however it is typed
        images.append(Image(path.as_posix(), label, "/".join(folders), split))
    if level is None:
        _check_leaves(root, images)
        images = _unambiguous(images)
    return Tree(images, found.paths, left_alone, found.empty)


def _splits(
    root: Path, paths: Sequence[Path], given: Mapping[str, str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The folders around the splits, and which split each folder there is; empty: there are none."""
    prefix: tuple[str, ...] = ()
    while True:
        inside = [path.parts[len(prefix) :] for path in paths]
        tops = sorted({parts[0] for parts in inside if len(parts) > 1})
        # A class may be called like a split; a split has folders in it.
        names = {top: split for top in tops if (split := _split_called(top))}
        if given and set(given.values()) <= set(tops):
            return prefix, {folder: folder for folder in given.values()}
        exact = all(top.lower() in _SPLIT_WORDS for top in names)
        if len(set(names.values())) > 1 and (len(names) == len(tops) or (exact and _have_folders(names, inside))):
            _check_one_each(root, prefix, names)
            return prefix, names
        if len(tops) != 1 or any(len(parts) < 3 for parts in inside):
            break
        if set(names.values()) & {"val", "test"}:
            where = "/".join((*prefix, tops[0]))
            raise DataError(
                f"{root}: holds nothing but {where}, and no training images; --splits train={tops[0]} trains on it"
            )
        prefix = (*prefix, tops[0])
    return (), {}


def _have_folders(names: Mapping[str, str], inside: Sequence[tuple[str, ...]]) -> bool:
    return all(len(parts) > 2 for parts in inside if parts[0] in names)


def _check_one_each(root: Path, prefix: tuple[str, ...], names: Mapping[str, str]) -> None:
    for split in SPLITS:
        if len(folders := sorted(name for name, own in names.items() if own == split)) > 1:
            where = root.joinpath(*prefix)
            raise DataError(
                f"{where}: {' and '.join(folders)} are both called like {split}; --splits {split}=FOLDER chooses"
            )


def _split_called(folder: str) -> str:
    """The split that a folder's name says: train, Training, seg_train, test-images; empty: none."""
    said = {_SPLIT_WORDS[word] for word in re.split(r"[\W_]+", folder.lower()) if word in _SPLIT_WORDS}
    return said.pop() if len(said) == 1 else ""


def _check_leaves(root: Path, images: Sequence[Image]) -> None:
    """Raise DataError where a folder holds images and folders of images: is the inner one a class?"""
    leaves = {(image.split, image.leaf) for image in images}
    for split, leaf in sorted(leaves):
        if above := next((a for a in _above(leaf) if (split, a) in leaves), ""):
            raise DataError(
                f"{root}: {above} holds images, and {leaf} inside it too: is that a class of its own? --label N says "
                f"how far down labels stand (1 = topmost), --exclude '*{leaf}/*' leaves it out"
            )


def _above(leaf: str) -> list[str]:
    parts = leaf.split("/")
    return ["/".join(parts[:k]) for k in range(1, len(parts))]


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


def rename_splits(images: list[Image], names: Mapping[str, str]) -> list[Image]:
    """Use the tree's split (or folder) `names[x]` as split x, and nothing else: {"train": "train", "test": "val"}."""
    present = {i.split for i in images if i.split}
    for split, source in names.items():
        if split not in SPLITS or source not in present:
            raise DataError(
                f"split {split}={source}: use {', '.join(SPLITS)} = one of the tree's own splits "
                f"({', '.join(sorted(present)) or 'it has none'}), or a folder beside them"
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


def keep_together(images: list[Image], contents: Mapping[str, str]) -> list[Image]:
    """Images whose content is the same, byte for byte, in one split: that of the first of them by path."""
    first: dict[str, Image] = {}
    for image in sorted(images, key=lambda i: i.path):
        first.setdefault(contents[image.path], image)
    return [replace(i, split=first[contents[i.path]].split) for i in images]


def check_apart(images: list[Image], contents: Mapping[str, str]) -> None:
    """Raise DataError where images of two splits are the same, byte for byte: what was trained on would be tested."""
    by_content = defaultdict(list)
    for image in images:
        by_content[contents[image.path]].append(image)
    shared = [alike for alike in by_content.values() if len({i.split for i in alike}) > 1]
    if not shared:
        return
    counts = Counter(" and ".join(split for split in SPLITS if split in {i.split for i in a}) for a in shared)
    said = ", ".join(f"{n} in {splits}" for splits, n in counts.items())
    one, other = next((a, b) for a in shared[0] for b in shared[0] if a.split != b.split)
    raise DataError(
        f"{len(shared)} images lie in several splits, byte for byte the same ({said}; {one.path} is {other.path}): "
        "leave one side out (--exclude PATTERN), or allow it with --duplicates allowed"
    )


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
