"""Reader `imagenet-12`: twelve categories of things, from ImageNet's class folders and from objects in COCO's photos.

imagenet/[train/]n02690373/*.JPEG         class folders, in any of the layouts of reader `imagenet`
coco/annotations/instances_train2017.json, coco/train2017/*.jpg

Either may be missing. Which classes and categories are taken is in configs/categories/imagenet-12.yaml.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from blurtrain.data.preparation.readers.categories import FOLDER, Names, categories_of
from blurtrain.data.preparation.readers.coco import Annotations, Instance, annotations_in, found_photos
from blurtrain.data.preparation.readers.folders import Looked, folders_in, shown
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample
from blurtrain.data.preparation.readers.synsets import SYNSET
from blurtrain.data.source import Box
from blurtrain.errors import DataError

_SPLITS = ("", "train", "ILSVRC/Data/CLS-LOC/train", "ILSVRC2012_img_train", "val")


class ImageNet12(Reader):
    """Images of categories that two data sets know by other names; splits are drawn by the recipe.

    Of COCO, a crop of an object, of which no side is smaller than `least`; at most one of each photo, so that no two
    splits show the same one: of the category that has fewest, and of that the largest object.
    """

    type: Literal["imagenet-12"] = "imagenet-12"
    categories: str | None = None
    """File of categories; by default configs/categories/imagenet-12.yaml."""
    imagenet: str = "imagenet"
    coco: str = "coco"
    """Folders below the folder that is prepared."""
    images: int | None = Field(1700, ge=3)
    """At most so many of each category, drawn by a hash of their names; the study's 1,500 to train with and 100 each to
    validate and to test. None: all."""
    least: int = Field(96, ge=1)
    """Smallest side of a crop, in pixels; not the study's, which is not published."""

    def samples(self, root: Path) -> Found:
        table = categories_of(Path(self.categories).expanduser() if self.categories else FOLDER / "imagenet-12.yaml")
        looked, samples = Looked(), list[Sample]()
        places = {name: root / getattr(self, name) for name in ("imagenet", "coco")}
        if not any(place.is_dir() for place in places.values()):
            raise DataError(
                f"{root}: expected {self.imagenet}/ with folders like n02690373/, and {self.coco}/ with annotations/ "
                f"and train2017/ (--reader 'imagenet-12 imagenet=FOLDER coco=FOLDER' names them); found {shown(root)}"
            )
        for name, place in places.items():
            if not place.is_dir():
                looked.notes.append(f"nothing of {name}: there is no {place.relative_to(root)}/")
        if places["imagenet"].is_dir():
            samples += self._of_imagenet(root, places["imagenet"], table, looked)
        if places["coco"].is_dir():
            samples += self._of_coco(root, places["coco"], table, looked)
        samples = self._drawn(samples, looked)
        counts = Counter(sample.label for sample in samples)
        for category in (c for c in table if self.images and counts[c] < self.images):
            looked.notes.append(f"{category}: {counts[category]} images, less than {self.images}")
        return Found(samples, looked.left_alone, (), looked.skipped, (), looked.notes)

    def _of_imagenet(self, root: Path, folder: Path, table: Mapping[str, Names], looked: Looked) -> Iterator[Sample]:
        places = [folder / split for split in _SPLITS if (folder / split).is_dir()]
        folders = [place / name for place in reversed(places) for name in folders_in(place)]
        there = {place.name: place for place in folders if SYNSET.fullmatch(place.name)}
        if not there:
            raise DataError(f"{folder}: expected folders of classes, like n02690373/; found {shown(folder)}")
        for category, names in table.items():
            for synset in names.imagenet:
                if synset not in there:
                    looked.notes.append(f"{category}: no folder {synset}/")
                    continue
                place = there[synset].relative_to(root).as_posix()
                for name in looked.images_in(there[synset]):
                    stem = name if name.startswith(synset) else f"{synset}_{name}"
                    yield Sample(f"{category}/{stem}", f"{place}/{name}", category)

    def _of_coco(self, root: Path, folder: Path, table: Mapping[str, Names], looked: Looked) -> Iterator[Sample]:
        category = {name: c for c, names in table.items() for name in names.coco}
        candidates: dict[str, list[tuple[str, float, int, Sample]]] = defaultdict(list)
        small = 0
        for annotations in annotations_in(folder, category.keys(), outlines=False):
            there, missing = found_photos(annotations), set[str]()
            for one in annotations.instances:
                box, photo = _box(one, annotations), annotations.photos[one.photo]
                if one.crowd or min(box[2] - box[0], box[3] - box[1]) < self.least:
                    small += 1
                    continue
                file = (annotations.folder / photo.name).relative_to(root).as_posix()
                if not there(photo):
                    missing.add(file)
                    continue
                own = category[one.category]
                key = f"{own}/{Path(photo.name).stem}-{one.number}.jpg"
                candidates[file].append((own, -one.area, one.number, Sample(key, file, own, box=box)))
            looked.skipped += [(file, f"in {annotations.file.name}, but no such file") for file in sorted(missing)]
        if small:
            looked.notes.append(
                f"COCO: {small} objects are left alone, which are smaller than {self.least} pixels, or crowds"
            )
        counts = Counter(own for found in candidates.values() for own in {one[0] for one in found})
        for found in candidates.values():
            *_, sample = min(found, key=lambda one: (counts[one[0]], *one[:3]))
            yield sample

    def _drawn(self, samples: list[Sample], looked: Looked) -> list[Sample]:
        if self.images is None:
            return samples
        by_label = defaultdict(list)
        for sample in samples:
            by_label[sample.label].append(sample)
        kept = []
        for own in by_label.values():
            own.sort(key=lambda s: hashlib.sha256(f"imagenet-12/{s.key}".encode()).digest())
            kept += own[: self.images]
        if more := len(samples) - len(kept):
            looked.notes.append(f"{more} images are left alone, beyond {self.images} of their category")
        return kept


def _box(one: Instance, annotations: Annotations) -> Box:
    """Whole pixels that an object touches, inside its photo."""
    left, top, width, height = one.box
    photo = annotations.photos[one.photo]
    return (
        max(0, math.floor(left)), max(0, math.floor(top)),
        min(photo.width, math.ceil(left + width)), min(photo.height, math.ceil(top + height)),
    )  # fmt: skip
