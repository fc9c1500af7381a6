"""COCO's annotations of instances, and reader `coco`: its photos with the class of each pixel, for segmentation.

annotations/instances_train2017.json, instances_val2017.json
train2017/, val2017/ (or images/train2017/, ...)                 photos

Memory: what is kept of the annotations is what is needed; the text of a file is in memory while it is read.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from blurtrain.data.outlines import packed
from blurtrain.data.preparation.readers.categories import FOLDER, categories_of
from blurtrain.data.preparation.readers.folders import Looked, entries, shown
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, split_called
from blurtrain.errors import DataError, nearest

_FORM = "instances_*.json"


class Photo(NamedTuple):
    """A photo, as annotations describe it."""

    name: str
    """Of its file."""
    width: int
    height: int


class Instance(NamedTuple):
    """An object in a photo."""

    number: int
    photo: int
    category: str
    box: tuple[float, float, float, float]
    """left, top, width, height, in pixels."""
    area: float
    crowd: bool
    """Whether it is a group of objects."""
    segmentation: str
    """As JSON, which takes a quarter of the memory; "" where it was not asked for. See `blurtrain.data.outlines`."""


@dataclass(frozen=True)
class Annotations:
    """A file of annotations, and the folder of its photos."""

    file: Path
    split: str
    folder: Path
    photos: dict[int, Photo]
    instances: list[Instance]


def annotations_in(root: Path, wanted: Collection[str], outlines: bool) -> Iterator[Annotations]:
    """Those below `root` (annotations/ or root itself), of the `wanted` categories; outlines: whether to keep those.

    Raises DataError where there are none, where they cannot be read, know nothing of one of the categories, or where
    their photos are missing.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = sorted(root.glob(f"annotations/{_FORM}")) or sorted(root.glob(_FORM))
    if not files:
        packed_ = "; annotations_trainval2017.zip is still to be unpacked" if any(root.glob("*.zip")) else ""
        raise DataError(
            f"{root}: expected annotations/instances_train2017.json (and val) beside train2017/ with its photos; found "
            f"{shown(root)}{packed_}"
        )
    for file in files:
        yield _read(root, file, wanted, outlines)


def _read(root: Path, file: Path, wanted: Collection[str], outlines: bool) -> Annotations:
    def slim(one: dict[str, Any]) -> Any:
        """An annotation or a photo, without what is not needed, as soon as it has been read."""
        if "bbox" in one and "category_id" in one:
            outline = json.dumps(one.get("segmentation"), separators=(",", ":")) if outlines else ""
            keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
            return [*(one.get(key) for key in keys), outline]
        if "file_name" in one and "height" in one:
            return [one["id"], one["file_name"], one["width"], one["height"]]
        return one

    try:
        document = json.loads(file.read_text(encoding="utf-8"), object_hook=slim)
        names = {int(c["id"]): str(c["name"]) for c in document["categories"]}
        photos = {int(p[0]): Photo(str(p[1]), int(p[2]), int(p[3])) for p in document["images"]}
        if unknown := sorted({*wanted} - {*names.values()}):
            raise DataError(f"{file}: has no category {unknown[0]!r}; {nearest(unknown[0], names.values())}")
        instances = [
            _instance(a, names) for a in document["annotations"] if names[a[2]] in wanted and int(a[1]) in photos
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{file}: cannot be read as annotations of COCO: {type(error).__name__}: {error}") from None
    part = file.stem.removeprefix("instances_")
    split = split_called(part.rstrip("0123456789"))
    if not split:
        raise DataError(f"{file}: must be called instances_train...json or instances_val...json, after its photos")
    folder = next((f for f in (root / part, root / "images" / part, root / split) if f.is_dir()), None)
    if folder is None:
        raise DataError(f"{file}: its photos are not in {part}/ or images/{part}/ of {root}; found {shown(root)}")
    return Annotations(file, split, folder, photos, instances)


def _instance(row: list[Any], names: dict[int, str]) -> Instance:
    number, photo, category, box, area, crowd, outline = row
    left, top, width, height = map(float, box)
    return Instance(
        int(number), int(photo), names[category], (left, top, width, height), float(area or 0), bool(crowd),
        outline,
    )  # fmt: skip


def found_photos(annotations: Annotations) -> Callable[[Photo], bool]:
    """What says whether the file of a photo is there."""
    names = {entry.name for entry in entries(annotations.folder)}
    return lambda photo: photo.name in names


class Coco(Reader):
    """Photos with masks: each pixel is of the class of the object that covers it, of none (0), or void (255), where
    objects of several classes overlap. Photos without one of the categories are left alone."""

    type: Literal["coco"] = "coco"
    categories: str | None = None
    """File of categories, see configs/categories; by default VOC's twenty classes."""
    least: int = Field(1000, ge=1)
    """Smallest sum of the areas of a photo's objects, in pixels, as in torchvision's reference of training on COCO."""

    def samples(self, root: Path) -> Found:
        table = categories_of(Path(self.categories).expanduser() if self.categories else FOLDER / "voc.yaml")
        number = {name: k for k, names in enumerate(table.values(), 1) for name in names.coco}
        looked, samples = Looked(), list[Sample]()
        for annotations in annotations_in(root, number.keys(), outlines=True):
            samples += self._of(root, annotations, number, looked)
        if not samples:
            raise DataError(f"{root}: no photo has {self.least} pixels of any of {', '.join(table)}")
        return Found(samples, looked.left_alone, (), looked.skipped, ("background", *table), looked.notes)

    def _of(
        self, root: Path, annotations: Annotations, number: dict[str, int], looked: Looked
    ) -> Iterator[Sample]:  # fmt: skip
        there, of_photo = found_photos(annotations), defaultdict[int, list[Instance]](list)
        for instance in annotations.instances:
            of_photo[instance.photo].append(instance)
        place = annotations.folder.relative_to(root).as_posix()
        few = len(annotations.photos) - len(of_photo)
        for key, objects in of_photo.items():
            photo = annotations.photos[key]
            if sum(one.area for one in objects) < self.least:
                few += 1
            elif not there(photo):
                looked.skipped.append((f"{place}/{photo.name}", f"in {annotations.file.name}, but no such file"))
            else:
                yield _sample(f"{place}/{photo.name}", photo, annotations.split, objects, number)
        if few:
            looked.notes.append(
                f"{place}/: {few} photos with less than {self.least} pixels of these classes are left alone"
            )


def _sample(file: str, photo: Photo, split: str, objects: Sequence[Instance], number: dict[str, int]) -> Sample:
    ordered = sorted(objects, key=lambda one: one.number)
    outlines = packed([(number[one.category], one.segmentation) for one in ordered], (photo.width, photo.height))
    return Sample(photo.name, file, "photo", "", split, outlines=outlines)
