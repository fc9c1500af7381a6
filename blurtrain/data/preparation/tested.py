"""Photos of a folder that networks are tested on: those of one split; and which of them a network was trained on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurtrain.data.dataset import SPLITS, Dataset
from blurtrain.data.preparation.readers.blur_types import BlurTypes
from blurtrain.data.preparation.readers.reader import Reader, Sample, split_called
from blurtrain.errors import DataError

ALL = "all"


@dataclass(frozen=True)
class Shown:
    """Photos of a folder."""

    photos: Sequence[Sample]
    split: str
    """train, val or test; all: of all splits, or of a folder that has none."""
    of: int
    """How many photos the folder has."""
    splits: Sequence[str]
    """The splits that it has."""

    @property
    def about(self) -> str:
        """Which they are, in words."""
        if self.split != ALL:
            return f"split {self.split}, {len(self.photos)} of {self.of} photos"
        splits = f"of splits {', '.join(self.splits)}" if self.splits else "it has no splits"
        return f"all {self.of} photos, {splits}"


def shown(reading: Reader, root: Path, split: str | None = None) -> Shown:
    """The photos of `split` below `root`; None: test where there is one, else val, else all. A split of its own folder
    alone is one, too, and where the tree has none, reader blur-types draws none unless its options ask for that. Raises
    DataError where there is no such split, and as the reader does."""
    inside = _alone(root)
    if isinstance(reading, BlurTypes):
        unasked = {"val": 0.0, "test": 0.0, "fill": False}
        asked = reading.model_fields_set - {"fill"}
        reading = reading.model_copy(update={name: v for name, v in unasked.items() if name not in asked})
    drawn = isinstance(reading, BlurTypes) and reading.val + reading.test > 0
    photos = (reading.found(root / inside) if drawn else reading.samples(root / inside)).labelled
    if inside:
        photos = [photo._replace(file=f"{inside}/{photo.file}", split=_called(inside)) for photo in photos]
    there = [name for name in reversed(SPLITS) if any(photo.split == name for photo in photos)]
    there = [] if there == ["train"] and not inside else there
    chosen = split or next((name for name in there if name != "train"), ALL)
    if chosen != ALL and chosen not in there:
        raise DataError(f"{root}: has no {chosen} split (it has {', '.join(there) or 'none'}); choose another --split")
    some = [photo for photo in photos if chosen in (ALL, photo.split)]
    return Shown(some, chosen, len(photos), there)


def _alone(root: Path) -> str:
    """The folder of a split with folders of classes, where `root` has no other folder; "": there is none."""
    folders = [path for path in root.glob("*") if path.is_dir() and path.name[0] not in "._"]
    fits = len(folders) == 1 and _called(folders[0].name) and any(path.is_dir() for path in folders[0].iterdir())
    return folders[0].name if fits else ""


def _called(folder: str) -> str:
    return next(filter(None, map(split_called, re.split(r"[\W_]+", folder))), "")


def training_files(dataset: Dataset) -> frozenset[str] | None:
    """The SHA-256 of the files of its training images; None where that cannot be read."""
    try:
        return frozenset(row["sha256"] for row in dataset.store.rows_at(dataset.split("train")[0]))
    except (DataError, KeyError):
        return None


def trained_on(counts: Mapping[str, int | None], photos: int) -> list[str]:
    """What a reader of figures is to be told, in lines. counts: of each network, how many of the photos are images that
    it was trained on; None: not known."""
    seen = [f"{name} was trained on {count} of these {photos} photos" for name, count in counts.items() if count]
    unknown = [name for name, count in counts.items() if count is None]
    lines = [f"WARNING: {', '.join(seen)}: its figures are too good"] if seen else []
    if unknown:
        lines.append(
            f"{', '.join(unknown)}: could not be looked at whether it was trained on some of these photos, as the "
            "training images of its dataset are not known"
        )
    return lines
