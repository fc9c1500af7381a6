"""Which samples a dataset takes, and in which split: by number, by the splits that are given, or drawn.

Every draw goes by the hash of a key (or of a group), so that what is drawn depends on no order and on no other sample.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping

from blurtrain.data.dataset import SPLITS
from blurtrain.data.preparation.readers.reader import Sample
from blurtrain.errors import DataError


def keep_labels(images: list[Sample], min_leaves: int = 1, min_images: int = 1) -> list[Sample]:
    """Only the labels that have at least so many groups (of a tree: leaf folders) and images."""
    leaves = defaultdict(set)
    for image in images:
        leaves[image.label].add(image.group or image.key)
    counts = Counter(i.label for i in images)
    kept = [i for i in images if len(leaves[i.label]) >= min_leaves and counts[i.label] >= min_images]
    if not kept:
        raise DataError(f"no label has {min_leaves} or more leaf folders and {min_images} or more images")
    return kept


def rename_splits(images: list[Sample], names: Mapping[str, str]) -> list[Sample]:
    """Use the given split (or folder) `names[x]` as split x, and no other: {"train": "train", "test": "val"}."""
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
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise DataError(f"split shares val={val}, test={test}: must be >= 0 and leave something for training")
    unit = {i.key: (i.group or i.key) if whole_groups else i.key for i in images}
    pairs = {(i.label, unit[i.key]) for i in images}
    several = len({member for _, member in pairs}) < len(pairs)
    units = defaultdict(set)
    for label, member in pairs:
        units["" if several else label].add(member)
    split_of = {}
    for label, members in units.items():
        ranked = sorted(members, key=lambda m: hashlib.sha256(f"{seed}/{m}".encode()).digest())
        n_test, n_val = (max(1, round(share * len(ranked))) if share else 0 for share in (test, val))
        if len(ranked) - n_test - n_val < 1:
            raise DataError(
                f"{f'label {label!r} has' if label else 'there are'} {len(ranked)} "
                f"{'objects' if whole_groups else 'images'}: too few for "
                f"{' and '.join(n for n, k in (('train', 1), ('val', n_val), ('test', n_test)) if k)}; "
                "leave it out (min_images, min_leaves) or choose other shares"
            )
        for rank, member in enumerate(ranked):
            split_of[label, member] = "test" if rank < n_test else "val" if rank < n_test + n_val else "train"
    return [i._replace(split=split_of["" if several else i.label, unit[i.key]]) for i in images]


def keep_together(images: list[Sample], contents: Mapping[str, str]) -> list[Sample]:
    """Images whose content is the same, byte for byte, in one split: that of the first of them by key."""
    first: dict[str, Sample] = {}
    for image in sorted(images, key=lambda i: i.key):
        first.setdefault(contents[image.key], image)
    return [i._replace(split=first[contents[i.key]].split) for i in images]


def check_apart(images: list[Sample], contents: Mapping[str, str]) -> None:
    """Raise DataError where images of two splits are the same, byte for byte: what was trained on would be tested."""
    by_content = defaultdict(list)
    for image in images:
        by_content[contents[image.key]].append(image)
    shared = [alike for alike in by_content.values() if len({i.split for i in alike}) > 1]
    if not shared:
        return
    counts = Counter(" and ".join(split for split in SPLITS if split in {i.split for i in a}) for a in shared)
    said = ", ".join(f"{n} in {splits}" for splits, n in counts.items())
    one, other = next((a, b) for a in shared[0] for b in shared[0] if a.split != b.split)
    raise DataError(
        f"{len(shared)} images lie in several splits, byte for byte the same ({said}; {one.key} is {other.key}): "
        "leave one side out (--exclude PATTERN), or allow it with --duplicates allowed"
    )


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
