"""Which samples a dataset takes, and in which split: by number, by the splits that are given, or drawn.

Every draw goes by the hash of a key (or of a group), so that what is drawn depends on no order and on no other sample.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.dataset import SPLITS
from blurtrain.data.preparation.held_out import check_shares, drawn_splits
from blurtrain.data.preparation.readers.reader import Sample
from blurtrain.errors import DataError


def keep_labels(images: list[Sample], min_leaves: int = 1, min_images: int = 1) -> list[Sample]:
    """Only the labels that have at least so many groups (of a tree: leaf folders) and images. Raises DataError where
    none has."""
    leaves = defaultdict(set)
    for image in images:
        leaves[image.label].add(image.group or image.key)
    counts = Counter(i.label for i in images)
    kept = [i for i in images if len(leaves[i.label]) >= min_leaves and counts[i.label] >= min_images]
    if not kept:
        raise DataError(f"no label has {min_leaves} or more leaf folders and {min_images} or more images")
    return kept


def rename_splits(images: list[Sample], names: Mapping[str, str]) -> list[Sample]:
    """Use the given split (or folder) `names[x]` as split x, and no other: {"train": "train", "test": "val"}. Raises
    DataError for a split that there is not."""
    present = {i.split for i in images if i.split}
    for split, source in names.items():
        if split not in SPLITS or source not in present:
            raise DataError(
                f"split {split}={source}: use {', '.join(SPLITS)} = one of the tree's own splits "
                f"({', '.join(sorted(present)) or 'it has none'}), or a folder beside them"
            )
    backwards = {source: split for split, source in names.items()}
    return [i._replace(split=backwards[i.split]) for i in images if i.split in backwards]


def draw_splits(images: list[Sample], val: float, test: float, seed: int, whole_groups: bool) -> list[Sample]:
    """Give every image a split by the rank of a hash of its key (or, with `whole_groups`, of its group's).

    Within each label, shares `val` and `test` of the images (groups) are held out, at least one each where the share
    is not 0, and at least one stays for training; where groups have images of several labels, of all groups at once. An
    image of no known group is one by itself. Raises DataError for a label with too few.
    """
    check_shares(val, test)
    several = whole_groups and _have_several_labels(images)
    places = defaultdict(list)
    for place, image in enumerate(images):
        places["" if several else image.label].append(place)
    drawn = list(images)
    for label, own in places.items():  # one at a time, so that what is needed for it is needed only so long
        units = [images[k].group or images[k].key if whole_groups else images[k].key for k in own]
        split_of = drawn_splits(label, set(units), val, test, seed, "objects" if whole_groups else "images")
        for k, unit in zip(own, units, strict=True):
            drawn[k] = images[k]._replace(split=split_of[unit])
    return drawn


def _have_several_labels(images: list[Sample]) -> bool:
    label_of: dict[str, str] = {}
    return any(label_of.setdefault(i.group, i.label) != i.label for i in images if i.group)


def keep_together(images: list[Sample], contents: Sequence[Any] | NDArray[Any]) -> list[Sample]:
    """Images whose content is the same, byte for byte, in one split: that of the first of them by key.

    contents: of each image, what is equal only where its content is.
    """
    kept = list(images)
    for alike in _alike(contents):
        first = min(alike, key=lambda k: images[k].key)
        for k in alike:
            kept[k] = images[k]._replace(split=images[first].split)
    return kept


def check_apart(images: list[Sample], contents: Sequence[Any] | NDArray[Any]) -> None:
    """Raise DataError where images of two splits are the same, byte for byte: what was trained on would be tested."""
    alike = [[images[k] for k in places] for places in _alike(contents)]
    shared = [some for some in alike if len({i.split for i in some}) > 1]
    if not shared:
        return
    counts = Counter(" and ".join(split for split in SPLITS if split in {i.split for i in a}) for a in shared)
    said = ", ".join(f"{n} in {splits}" for splits, n in counts.items())
    one, other = next((a, b) for a in shared[0] for b in shared[0] if a.split != b.split)
    raise DataError(
        f"{len(shared)} images lie in several splits, byte for byte the same ({said}; {one.key} is {other.key}): "
        "leave one side out (--exclude PATTERN), or allow it with --duplicates allowed"
    )


def _alike(contents: Sequence[Any] | NDArray[Any]) -> list[list[int]]:
    """The places of equal contents, where there are two or more, by the first of them."""
    _, which, counts = np.unique(np.asarray(contents), return_inverse=True, return_counts=True)
    places = defaultdict(list)
    for place in np.flatnonzero(counts[which] > 1).tolist():
        places[int(which[place])].append(place)
    return list(places.values())


def keep_training(images: list[Sample], most: int, seed: int) -> list[Sample]:
    """At most so many training images of each label, by the rank of a hash of their keys; all of the other splits."""
    training = defaultdict(list)
    for image in images:
        if image.split == "train":
            training[image.label].append(image.key)
    kept = {
        path
        for paths in training.values()
        # Not the hash that draws the splits: what stays must not depend on how close to being held out it was.
        for path in sorted(paths, key=lambda p: hashlib.sha256(f"training/{seed}/{p}".encode()).digest())[:most]
    }
    return [i for i in images if i.split != "train" or i.key in kept]


def check_trained(images: list[Sample]) -> None:
    """Raise DataError where a label has no training images."""
    untrained = {i.label for i in images} - {i.label for i in images if i.split == "train"}
    if untrained:
        raise DataError(f"no training images of {', '.join(sorted(untrained)[:5])}; every class needs some")
