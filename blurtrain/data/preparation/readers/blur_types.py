"""Reader `blur-types`: folders of photos of the four blur types, drawn ones (`blurtrain data blur`) or real ones.

[train|val|test/]class/photo.jpg     classes as folders are called in configs/categories/blur-types.yaml, or in a file
                                     {class: [folder, ...]} of one's own

Photos of one scene stay on one side: where the tree has no splits, they are drawn by scene. Drawn photos carry theirs
in their names (before ~); of others, near duplicates are one, and those whose names have the same `scene`.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from blurtrain.data.preparation.held_out import check_shares, drawn_splits
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample
from blurtrain.data.preparation.readers.tree import Tree
from blurtrain.data.preparation.scenes import scenes
from blurtrain.documents import read_yaml
from blurtrain.errors import DataError
from blurtrain.settings import PRESETS

CLASSES = PRESETS / "categories" / "blur-types.yaml"


class BlurTypes(Reader):
    """Photos by blur type, each with its scene as its group."""

    type: Literal["blur-types"] = "blur-types"
    classes: str = str(CLASSES)
    """A YAML file {class: [folder, ...]}; a folder called as a class is it."""
    scene: str = "(.*)~[0-9]+"
    """Regular expression of the names of photos, without suffix; its group is the scene. Names that it does not fit are
    compared as images."""
    val: float = Field(0.2, ge=0, lt=1)
    """Where the tree has no splits: share of scenes to hold out for validation ..."""
    test: float = Field(0.0, ge=0, lt=1)
    """... and for testing."""
    seed: int = 0
    fill: bool = False
    """Repeat training photos of classes that have fewer than the largest, until all have as many; after the split."""

    def samples(self, root: Path) -> Found:
        """Raises DataError where a folder is called as no class, or the expression has no group."""
        try:
            pattern = re.compile(self.scene)
        except re.error as error:
            raise DataError(f"reader blur-types: scene={self.scene!r} is no regular expression: {error}") from None
        if not pattern.groups:
            raise DataError(f"reader blur-types: scene={self.scene!r} has no group (...) that is the scene")
        found = Tree().samples(root)
        classes = _classes(Path(self.classes))
        photos = [sample for sample in found.samples if sample.label]
        if unknown := sorted({photo.label for photo in photos} - set(classes)):
            raise DataError(
                f"{root}: folder {unknown[0]!r} is no blur type ({', '.join(sorted(set(classes.values())))}): "
                "say which it is in a file of your own, classes=FILE.yaml"
            )
        photos = [photo._replace(label=classes[photo.label]) for photo in photos]
        photos = _with_scenes(photos, root, pattern)
        if photos and not photos[0].split:
            check_shares(self.val, self.test)
            units = {photo.group for photo in photos}
            split_of = drawn_splits("", units, self.val, self.test, self.seed, "scenes")
            photos = [photo._replace(split=split_of[photo.group]) for photo in photos]
        photos += _repeated(photos) if self.fill else []
        return Found(photos, found.left_alone, found.empty)


def _classes(path: Path) -> dict[str, str]:
    """The class of each folder, by its name."""
    if not path.is_file():
        raise DataError(f"reader blur-types: classes={path}: no such file")
    table = read_yaml(path)
    if not all(isinstance(folders, list) and all(isinstance(f, str) for f in folders) for folders in table.values()):
        raise DataError(f"{path}: must be a mapping of classes to lists of folders")
    named = Counter(folder for name, folders in table.items() for folder in {name, *folders})
    if twice := [folder for folder, times in named.items() if times > 1]:
        raise DataError(f"{path}: folder {twice[0]!r} is of two classes")
    return {folder: name for name, folders in table.items() for folder in (name, *folders)}


def _with_scenes(photos: list[Sample], root: Path, pattern: re.Pattern[str]) -> list[Sample]:
    names = [pattern.fullmatch(Path(photo.file).stem) for photo in photos]
    others = [k for k, name in enumerate(names) if not name]
    first = scenes([root / photos[k].file for k in others]) if others else []
    scene_of = {k: photos[others[same]].key for k, same in zip(others, first, strict=True)}
    return [
        photo._replace(group=name[1] if name else scene_of[k])
        for k, (photo, name) in enumerate(zip(photos, names, strict=True))
    ]


def _repeated(photos: list[Sample]) -> list[Sample]:
    """Training photos once more, each as often as any other of its class, give or take one."""
    trained: dict[str, list[Sample]] = {}
    for photo in sorted(photo for photo in photos if photo.split == "train"):
        trained.setdefault(photo.label, []).append(photo)
    most = max(map(len, trained.values()), default=0)
    return [
        of[k % len(of)]._replace(key=f"{of[k % len(of)].key}#{k // len(of)}")
        for of in trained.values()
        for k in range(len(of), most)
    ]
