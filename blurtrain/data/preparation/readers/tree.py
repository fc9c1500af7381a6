"""Reader `tree`: labels, objects and splits, read off the names of folders.

class/...                      one class a folder
split/class/...                splits called train, val or test, or much like it (Training, seg_test, dev)
[split/]group/[.../]leaf/...   ragged trees; labelled by the leaf folder, or by the folder at a level (1 = topmost)

Folders around the splits are looked through (archive/data/train/...), and so is a folder of images inside a class
(class/images/...).
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from blurtrain.data.dataset import SPLITS
from blurtrain.data.image_files import listed
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, split_called
from blurtrain.errors import DataError

_OF_IMAGES = {"images", "image", "imgs", "img"}
"""Folders inside a class that say nothing more of what they hold."""


class Tree(Reader):
    """Folders of images. A key is the path of the image, as it has been since before there were other readers."""

    type: Literal["tree"] = "tree"
    labels_from_paths: ClassVar[bool] = True
    label: Annotated[int, Field(ge=1)] | Literal["leaf"] = "leaf"
    """Labels are leaf folders, or the folders that far below the split (1 = topmost)."""
    exclude: tuple[str, ...] = ()
    """Patterns of paths that are left out, see `listed`."""
    splits: Mapping[str, str] | None = None
    """Which folder is which split, {"train": "good", "test": "new"}; else those that are called so."""

    def samples(self, root: Path) -> Found:
        """All images below `root`, by path. Files that are no images, and folders beside the splits, are left alone;
        the images of the latter are stored, but have no label.

        Raises DataError where a folder is missing, holds no image, or an image has no folder at the level; where a
        class folder holds both images and folders of images; and where there is a test split alone.
        """
        found = listed(root, self.exclude)
        left_alone = Counter(found.left_alone)
        prefix, names = _splits(root, found.paths, self.splits)
        known: dict[str, tuple[str, str, str]] = {}  # of each folder
        images = []
        for path in found.paths:
            folder = path.rpartition("/")[0]
            if folder not in known:
                known[folder] = self._known(root, path, prefix, names)
            label, group, split = known[folder]
            if not label:
                left_alone[f"in {'/'.join(path.split('/')[: len(prefix) + 1])}, beside the splits"] += 1
            images.append(Sample(path, path, label, group, split))
        if self.label == "leaf":
            _check_leaves(root, images)
            images = _unambiguous(images)
        return Found(images, left_alone, found.empty)

    def _known(self, root: Path, path: str, prefix: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, str, str]:
        """Label, group and split of the images in the folder of `path`."""
        parts = path.split("/")
        inside = parts[len(prefix) :]
        if names and inside[0] not in names:
            return "", "", ""
        split, folders = (names[inside[0]], inside[1:-1]) if names else ("", parts[:-1])
        level = 0 if self.label == "leaf" else self.label
        if len(folders) < (level or 1):
            raise DataError(
                f"{root / path}: must lie in {'a class folder' if not level else f'{level} folders'}"
                f"{' below its split' * bool(names)}, as its label is read off {'that' if not level else 'them'}"
            )
        if len(folders) > 1 and not level and folders[-1].lower() in _OF_IMAGES:
            folders = folders[:-1]
        label = unicodedata.normalize("NFC", folders[level - 1])  # one class, however it is typed
        return label, "/".join(folders), split


def _splits(
    root: Path, paths: Sequence[str], given: Mapping[str, str] | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The folders around the splits, and which split each folder there is; empty: there are none."""
    prefix: tuple[str, ...] = ()
    # One image of each folder stands for all of them.
    first = {path.rpartition("/")[0]: path for path in reversed(paths)}
    leaves = [tuple(path.split("/")) for path in first.values()]
    while True:
        inside = [parts[len(prefix) :] for parts in leaves]
        tops = sorted({parts[0] for parts in inside if len(parts) > 1})
        # A class may be called like a split; a split has folders in it.
        names = {top: split for top in tops if (split := _split_called(top))}
        if given and set(given.values()) <= set(tops):
            return prefix, {folder: folder for folder in given.values()}
        exact = all(split_called(top) for top in names)
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
    said = {split for word in re.split(r"[\W_]+", folder) if (split := split_called(word))}
    return said.pop() if len(said) == 1 else ""


def _check_leaves(root: Path, images: Sequence[Sample]) -> None:
    """Raise DataError where a folder holds images and folders of images: is the inner one a class?"""
    leaves = {(image.split, image.group) for image in images if image.label}
    for split, leaf in sorted(leaves):
        if above := next((a for a in _above(leaf) if (split, a) in leaves), ""):
            raise DataError(
                f"{root}: {above} holds images, and {leaf} inside it too: is that a class of its own? --label N says "
                f"how far down labels stand (1 = topmost), --exclude '*{leaf}/*' leaves it out"
            )


def _above(leaf: str) -> list[str]:
    parts = leaf.split("/")
    return ["/".join(parts[:k]) for k in range(1, len(parts))]


def _unambiguous(images: list[Sample]) -> list[Sample]:
    """Leaf folders of one name in two places of one split are different labels: those are called by their whole path.

    Between splits a place may differ (a tree may have Vegetables/Mushroom/Brown in test, Vegetables/Brown in train).
    """
    places = defaultdict(set)
    for image in (i for i in images if i.label):
        places[image.split, image.label].add(image.group)
    ambiguous = {label for (_, label), found in places.items() if len(found) > 1}
    return [i._replace(label=i.group) if i.label in ambiguous else i for i in images]
