"""Reader `voc`: photos of PASCAL VOC with the class of each pixel, and the further masks of other people for them.

[VOCdevkit/]VOC2012/JPEGImages/2007_000032.jpg
                    SegmentationClass/2007_000032.png
                    ImageSets/Segmentation/train.txt, val.txt, trainval.txt     a name a line
                    ImageSets/Segmentation/train_aug.txt (or trainaug.txt)      if there is one: what is trained on
                    SegmentationClassAug/*.png                                  further masks, ...
sbd/ or benchmark_RELEASE/dataset/: cls/*.mat (img/*.jpg)                       ... or as those of the Semantic
                                                                                Boundaries Dataset come

VOC's own mask of a photo goes before others. What is in val.txt is never trained on, whatever another list says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from blurtrain.data.preparation.readers.categories import FOLDER, categories_of
from blurtrain.data.preparation.readers.folders import Looked, shown
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample
from blurtrain.errors import DataError

_AROUND = ("", "VOC2012", "VOCdevkit/VOC2012", "VOCtrainval_11-May-2012/VOCdevkit/VOC2012", "VOC2012_train_val")
_SBD = ("sbd", "SBD", "benchmark_RELEASE/dataset", "VOCaug/dataset", "VOCaug", "dataset", "")
_TRAIN_AUG = ("train_aug.txt", "trainaug.txt")


class Voc(Reader):
    """Photos and masks, in VOC's splits: 21 classes, of which 0 is the background; 255 is void."""

    type: Literal["voc"] = "voc"
    more: bool = True
    """Whether to train on the masks of the Semantic Boundaries Dataset, too, where they are there."""

    def samples(self, root: Path) -> Found:
        base = _base(root)
        looked = Looked()
        photos = {Path(name).stem: name for name in looked.images_in(base / "JPEGImages")}
        masks = _masks(root, base, looked)
        more = _more_masks(root, base, looked) if self.more else {}
        splits = self._splits(base, masks, more, looked)
        samples = []
        for name, split in splits.items():
            file, mask = _photo(root, base, name, photos), masks.get(name, more.get(name, ""))
            if not file or not mask:
                what = "no such photo" if not file else "no mask"
                looked.skipped.append((name, what))
            else:
                samples.append(Sample(f"{name}.jpg", file, "photo", "", split, mask=mask))
        if not samples:
            raise DataError(f"{base}: none of {len(splits)} photos has a mask; found {shown(base)}")
        own = sum(sample.split != "val" and Path(sample.mask).parent.name == "SegmentationClass" for sample in samples)
        training = sum(sample.split != "val" for sample in samples)
        if training > own:
            looked.notes.append(f"{own} photos to train on with masks of VOC, {training - own} with further ones")
        classes = ("background", *categories_of(FOLDER / "voc.yaml"))
        return Found(samples, looked.left_alone, (), looked.skipped, classes, looked.notes)

    def _splits(self, base: Path, masks: dict[str, str], more: dict[str, str], looked: Looked) -> dict[str, str]:
        """The split of each photo, by its name; "": none is given."""
        lists = base / "ImageSets" / "Segmentation"
        train, val = (_names(lists / f"{split}.txt") for split in ("train", "val"))
        if not val and not train:
            names = _names(lists / "trainval.txt") or [*masks, *more]
            looked.notes.append(f"no {lists.relative_to(base).as_posix()}/train.txt and val.txt: splits are drawn")
            return dict.fromkeys(names, "")
        if not val or not train:
            raise DataError(f"{lists}: must hold both train.txt and val.txt, or none; found {shown(lists)}")
        if both := sorted({*train} & {*val}):
            raise DataError(f"{lists}: {both[0]} is both in train.txt and in val.txt")
        given = next((names for file in _TRAIN_AUG if (names := _names(lists / file))), []) if self.more else []
        further = given or list(more)
        if refused := {*further} & {*val}:
            looked.notes.append(f"{len(refused)} further masks are left alone: their photos are in val.txt")
        return dict.fromkeys([*train, *further], "train") | dict.fromkeys(val, "val")


def _base(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    for base in (root / around for around in _AROUND):
        if (base / "JPEGImages").is_dir() and any(
            (base / masks).is_dir() for masks in ("SegmentationClass", "SegmentationClassAug")
        ):
            return base
    raise DataError(
        f"{root}: expected VOCdevkit/VOC2012/ (or what is in it) with JPEGImages/, SegmentationClass/ and "
        f"ImageSets/Segmentation/; found {shown(root)}"
    )


def _masks(root: Path, base: Path, looked: Looked) -> dict[str, str]:
    """VOC's own masks, by the names of their photos."""
    folder = base / "SegmentationClass"
    return _by_stem(root, folder, looked.images_in(folder)) if folder.is_dir() else {}


def _more_masks(root: Path, base: Path, looked: Looked) -> dict[str, str]:
    """Those of the Semantic Boundaries Dataset, as images or in MATLAB's form."""
    folder = base / "SegmentationClassAug"
    if folder.is_dir():
        return _by_stem(root, folder, looked.images_in(folder))
    for where in (outer / place for outer in (root, base) for place in _SBD):
        if names := sorted(path.name for path in (where / "cls").glob("*.mat")):
            return _by_stem(root, where / "cls", names)
    return {}


def _by_stem(root: Path, folder: Path, names: Sequence[str]) -> dict[str, str]:
    place = folder.relative_to(root).as_posix()
    return {Path(name).stem: f"{place}/{name}" for name in names}


def _photo(root: Path, base: Path, name: str, photos: dict[str, str]) -> str:
    """The file of a photo: VOC's, or that which comes with further masks; "" where there is none."""
    if name in photos:
        return (base / "JPEGImages" / photos[name]).relative_to(root).as_posix()
    for where in (outer / place / "img" for outer in (root, base) for place in _SBD):
        if (where / f"{name}.jpg").is_file():
            return (where / f"{name}.jpg").relative_to(root).as_posix()
    return ""


def _names(file: Path) -> list[str]:
    """The names in a list; none where there is no such file. Lists of some people have the paths of photo and mask."""
    try:
        lines = file.read_text().split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    return [Path(line.split()[0]).stem for line in lines if line.strip()]
