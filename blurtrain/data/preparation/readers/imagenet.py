"""Readers `imagenet` and `imagenet-100`: ImageNet of the challenge of 2012, and parts of it, as they lie on disks.

train/n01440764/*.JPEG, val/n01440764/*.JPEG                         folders of classes
train/..., val/ILSVRC2012_val_00000001.JPEG, ... and a ground truth  validation images in one folder, see `synsets`
ILSVRC/Data/CLS-LOC/{train,val}/..., LOC_val_solution.csv            as on Kaggle
train.X1/..., train.X2/..., val.X/n01440764/..., Labels.json         ImageNet-100 as on Kaggle
n01440764/*.JPEG                                                     no split, which is then drawn

Labels are WordNet ids, by the names of folders and in the ground truth, so that a folder that is missing changes no
label; the images that it leaves without training are listed as skipped.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from blurtrain.data.preparation.readers.folders import Looked, folders_in, shown
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, with_keys
from blurtrain.data.preparation.readers.synsets import (
    SYNSET,
    recognised,
    synsets_in,
    synsets_named,
    validation_classes,
)
from blurtrain.errors import DataError

_AROUND = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", "ILSVRC2012", "imagenet", "ImageNet")
_SPLITS = {
    "train": re.compile(r"(ILSVRC2012_img_)?train(\.X\d*)?"),
    "val": re.compile(r"(ILSVRC2012_img_)?val(idation)?(\.X\d*)?"),
}
_UNLABELLED = re.compile(r"(ILSVRC2012_img_)?test(_v10102019)?(\.X\d*)?")
_EXPECTED = "train/ (or train.X1/, ...) and val/ with folders like n01440764/, or these folders themselves"


class ImageNet(Reader):
    """All classes that there are, or some of them."""

    type: str = "imagenet"
    synsets: str | None = None
    """Which classes: `kaggle`, `cmc` (the two lists of ImageNet-100), or a file with a WordNet id a line, {id: name} in
    JSON, or `synsets: [...]` in YAML, below the folder or by its path."""
    labels: str | None = None
    """File of the classes of validation images that lie in one folder; by default looked for."""
    classes: ClassVar[int | None] = None
    """How many there must be."""

    def samples(self, root: Path) -> Found:
        base, folders = _splits(root)
        looked = Looked()
        wanted = self._wanted(root, {c for where in folders.values() for f in where for c in _classes_in(f)})
        samples = [s for f in folders["train"] for s in _of_classes(root, f, "train", wanted, looked)]
        trained = {sample.label for sample in samples}
        for folder in folders["val"]:
            samples += _of_validation(root, base, folder, wanted, self.labels, looked)
        if folders["val"] and folders["train"]:
            untrained = [s for s in samples if s.label not in trained]
            looked.skipped += [(s.file, "of a class without training images") for s in untrained]
            samples = [s for s in samples if s.label in trained]
        elif folders["train"]:
            samples = [s._replace(split="") for s in samples]
        if wanted is not None and (missing := sorted(wanted - trained)):
            looked.skipped += [(name, "no such class folder") for name in missing]
        for name in folders_in(base):
            if _UNLABELLED.fullmatch(name) and folders["train"] != [base]:
                looked.notes.append(f"{name}/ is left alone: it has no labels")
        if self.classes:
            looked.notes.append(recognised(trained))
        return Found(with_keys(samples, root, "rename one"), looked.left_alone, (), looked.skipped, (), looked.notes)

    def _wanted(self, root: Path, there: set[str]) -> set[str] | None:
        """The classes that are asked for; None: all."""
        if self.synsets is not None:
            return {*synsets_named(self.synsets, root)}
        return None


class OneThousand(ImageNet):
    """ImageNet-1k, or as many classes as there are."""

    type: Literal["imagenet"] = "imagenet"


class OneHundred(ImageNet):
    """ImageNet-100: a hundred of the classes, of which two lists circulate; which one it is, is seen by the classes
    themselves. Where there are more, `synsets` chooses."""

    type: Literal["imagenet-100"] = "imagenet-100"
    classes: ClassVar[int | None] = 100

    def _wanted(self, root: Path, there: set[str]) -> set[str] | None:
        labels = root / "Labels.json"
        wanted = super()._wanted(root, there)
        if wanted is None and labels.is_file():
            wanted = {*synsets_in(labels)}
        if wanted is None and len(there) != self.classes:
            raise DataError(
                f"{root}: has {len(there)} class folders, and no Labels.json; imagenet-100 has {self.classes}: "
                "--reader 'imagenet-100 synsets=kaggle' (or cmc, or a file with one WordNet id a line) says which"
            )
        if wanted is not None and not wanted & there:
            raise DataError(f"{root}: has {len(there)} class folders, and none of the {len(wanted)} that are asked for")
        return wanted


def _splits(root: Path) -> tuple[Path, dict[str, list[Path]]]:
    """The folder of the splits, and the folders that each lies in."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    for base in (root / around for around in _AROUND if (root / around).is_dir()):
        names = folders_in(base)
        found = {s: [base / n for n in names if form.fullmatch(n)] for s, form in _SPLITS.items()}
        if found["train"]:
            return base, found
        if any(SYNSET.fullmatch(name) for name in names):
            return base, {"train": [base], "val": []}
        if found["val"]:
            raise DataError(f"{base}: has {found['val'][0].name}/, but no training images; expected {_EXPECTED}")
    archives = [path.name for path in sorted(root.glob("*.tar*"))]
    packed = f"; {archives[0]} is still to be unpacked" if archives else ""
    raise DataError(f"{root}: expected {_EXPECTED}; found {shown(root)}{packed}")


def _classes_in(folder: Path) -> list[str]:
    return [name for name in folders_in(folder) if SYNSET.fullmatch(name)]


def _of_classes(root: Path, folder: Path, split: str, wanted: set[str] | None, looked: Looked) -> list[Sample]:
    """The images of the class folders in a folder."""
    classes, samples = _classes_in(folder), []
    if not classes:
        archives = [path.name for path in sorted(folder.glob("*.tar"))]
        packed = f"; {archives[0]} is still to be unpacked, each class into a folder" if archives else ""
        raise DataError(f"{folder}: expected folders of classes, like n01440764/; found {shown(folder)}{packed}")
    for name in folders_in(folder):
        if name not in classes and not (folder == root and name.startswith(".")):
            looked.notes.append(f"{(folder / name).relative_to(root)}/ is left alone: it is no class")
    for synset in map(sys.intern, classes):
        if wanted is None or synset in wanted:
            place = (folder / synset).relative_to(root).as_posix()
            samples += [Sample("", f"{place}/{f}", synset, "", split) for f in looked.images_in(folder / synset)]
    if others := [synset for synset in classes if wanted is not None and synset not in wanted]:
        looked.notes.append(f"{folder.relative_to(root)}/: {len(others)} other classes are left alone")
    return samples


def _of_validation(
    root: Path, base: Path, folder: Path, wanted: set[str] | None, given: str | None, looked: Looked
) -> Sequence[Sample]:
    """Validation images, in class folders or by the ground truth."""
    if _classes_in(folder):
        return _of_classes(root, folder, "val", wanted, looked)
    names = looked.images_in(folder)
    found = validation_classes(root, given) or validation_classes(base, None) or validation_classes(folder, None)
    if not names or found is None:
        raise DataError(
            f"{folder}: expected folders of classes, like n01440764/, or images and a ground truth "
            "(ILSVRC2012_validation_ground_truth.txt with meta.mat, LOC_val_solution.csv, or any file of lines `image "
            f"WordNet-id`, --reader '... labels=FILE'); found {shown(folder, 3)}"
        )
    file, classes = found
    samples = []
    for name in names:
        synset = classes.get(Path(name).stem)
        place = f"{folder.relative_to(root).as_posix()}/{name}"
        if synset is None:
            looked.skipped.append((place, f"not in {file.name}"))
        elif wanted is None or synset in wanted:
            samples.append(Sample("", place, sys.intern(synset), "", "val"))
    there = {Path(name).stem for name in names}
    gone = [name for name, synset in classes.items() if name not in there and (wanted is None or synset in wanted)]
    looked.skipped += [(name, f"in {file.name}, but no such file") for name in gone]
    return samples
