"""Reader `blur-types`: folders of photos of the four blur types, drawn ones (`blurtrain data blur`) or real ones.

[train|val|test/]class/photo.jpg     classes as folders are called in configs/categories/blur-types.yaml, or in a file
                                     {class: [folder, ...]} of one's own

Photos of one scene stay on one side: where the tree has no splits, they are drawn by scene, of each class alike. Near
duplicates are one scene, and so are photos whose names have the same `scene`. Of drawn photos, `photos.csv` says it,
beside the classes or above.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field

from blurtrain.data.preparation.held_out import stratified_splits
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample
from blurtrain.data.preparation.readers.tree import Tree
from blurtrain.data.preparation.scenes import scenes, united
from blurtrain.documents import read_yaml
from blurtrain.errors import DataError
from blurtrain.settings import PRESETS

CLASSES = PRESETS / "categories" / "blur-types.yaml"


class BlurTypes(Reader):
    """Photos by blur type, each with its scene as its group."""

    type: Literal["blur-types"] = "blur-types"
    draws_by: ClassVar[Mapping[str, str]] = {"val": "val", "test": "test", "split_seed": "seed"}
    classes: str = ""
    """A YAML file {class: [folder, ...]}, by default that of the project; a folder called as a class is it."""
    scene: str = "(.*)~[0-9]+"
    """Regular expression of the names of photos, without suffix; the first of its groups that takes part is the scene.
    """
    val: float = Field(0.2, ge=0, lt=1)
    """Where the tree has no splits: share of each class's scenes to hold out for validation ..."""
    test: float = Field(0.0, ge=0, lt=1)
    """... and for testing."""
    seed: int = 0
    fill: bool = False
    """Repeat training photos of classes that have fewer than the largest, until all have as many; after the split."""

    def samples(self, root: Path) -> Found:
        """With the splits of the tree, if it has any; none are drawn, and none is repeated. Raises DataError where a
        folder is called as no class, or the expression has no group."""
        return self._read(root, (), to_be_drawn=False)

    def found(self, root: Path, exclude: Sequence[str] = ()) -> Found:
        """As `samples`, without files that are called like a pattern, and with splits. Raises DataError where they
        cannot be drawn: of too few scenes, or of drawn photos that show each other's."""
        found = self._read(root, exclude, to_be_drawn=self.val + self.test > 0)
        photos = list(found.samples)
        drawn = bool(photos and not photos[0].split)
        if drawn:
            of_class: dict[str, set[str]] = {}
            for photo in photos:
                of_class.setdefault(photo.label, set()).add(photo.group)
            try:
                split_of = stratified_splits(of_class, self.val, self.test, self.seed)
            except DataError as error:
                raise DataError(f"{root}: {error}") from None
            photos = [photo._replace(split=split_of[photo.group]) for photo in photos]
        return replace(found, samples=photos + (_repeated(photos) if self.fill else []), drawn=drawn)

    def _read(self, root: Path, exclude: Sequence[str], to_be_drawn: bool) -> Found:
        try:
            pattern = re.compile(self.scene)
        except re.error as error:
            raise DataError(f"reader blur-types: scene={self.scene!r} is no regular expression: {error}") from None
        if not pattern.groups:
            raise DataError(f"reader blur-types: scene={self.scene!r} has no group (...) that is the scene")
        found = Tree(exclude=tuple(exclude)).samples(root)
        classes = _classes(Path(self.classes) if self.classes else CLASSES)
        photos = [sample for sample in found.samples if sample.label]
        if unknown := sorted({photo.label for photo in photos} - set(classes)):
            raise DataError(
                f"{root}: folder {unknown[0]!r} is no blur type ({', '.join(sorted(set(classes.values())))}): "
                "say which it is in a file of your own, classes=FILE.yaml, or leave it out with --exclude"
            )
        photos = [photo._replace(label=classes[photo.label]) for photo in photos]
        photos = _with_scenes(photos, root, pattern, to_be_drawn and bool(photos) and not photos[0].split)
        return Found(photos, found.left_alone, found.empty)

    @staticmethod
    def as_today(document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The project's own file of classes was kept by its path."""
        own = Path(str(document.get("classes", ""))).parts[-3:] == CLASSES.parts[-3:]
        return {**document, "classes": ""} if own else document

    def as_before(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The scenes of drawn photos were taken from their names."""
        pattern = re.compile(self.scene)
        names = [pattern.fullmatch(Path(sample.file).stem) for sample in samples]
        return [s._replace(group=name[1] or "") if name else s for s, name in zip(samples, names, strict=True)]


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


def _with_scenes(photos: list[Sample], root: Path, pattern: re.Pattern[str], to_be_drawn: bool) -> list[Sample]:
    """Each with its scene as its group; to_be_drawn: where it shows another one too, those are one."""
    table, shown = _photos_drawn(root, photos)
    names, others = dict[int, str](), list[int]()
    for k, photo in enumerate(photos):
        match = pattern.fullmatch(Path(photo.file).stem)
        if own := shown.get(_name_of(photo.file), ()):
            names[k] = own[0]
        else:
            others.append(k)
            names |= {k: name} if (name := next(filter(None, match.groups()), "") if match else "") else {}
    looks = zip(scenes([root / photos[k].file for k in others]), others, strict=True)
    both = [(name, k) for k, photo in enumerate(photos) for name in shown.get(_name_of(photo.file), ())]
    first = united(len(photos), ((name, k) for k, name in names.items()), looks, both if to_be_drawn else ())
    sizes = Counter(first)
    if to_be_drawn and shown and 2 * max(sizes.values()) > len(photos):
        raise DataError(
            f"{root}: its photos show each other's scenes ({table}), so that no share of them can be held out: prepare "
            f"{table.parent}, which has splits of its own from `data blur`"
        )
    called: dict[int, str] = {}
    for k, of in enumerate(first):
        if k in names:
            called.setdefault(of, names[k])
    return [photo._replace(group=called.get(of, photos[of].key)) for photo, of in zip(photos, first, strict=True)]


def _name_of(file: str) -> str:
    """Of a drawn photo, whose folders may have been moved: class/name."""
    return "/".join(PurePosixPath(file).parts[-2:])


def _photos_drawn(root: Path, photos: Sequence[Sample]) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """The nearest `photos.csv` beside the classes or above, up to the folder around `root`, and of each photo the
    scenes that it shows, its own first; none where there is no such table."""
    folders = (root.resolve() / photos[0].file).parents[1:] if photos else ()
    for folder in folders:
        if (table := folder / "photos.csv").is_file():
            return table, dict(_scenes_shown(table))
        if folder == root.resolve().parent:
            break
    return root, {}


def _scenes_shown(table: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [row for row in csv.DictReader(file) if row.get("file") and row.get("scene")]
    scene_of = {PurePosixPath(row["file"]).stem.rpartition("~")[0]: row["scene"] for row in rows}
    for row in rows:
        also = (scene_of.get(row.get(title) or "", "") for title in ("other", "subject"))
        yield _name_of(row["file"]), (row["scene"], *filter(None, also))


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
