"""Reader `toybox`: frames of the videos of Toybox, which show 12 x 30 objects in the hand.

[.../]car_03_pivothead_rxplus.mp4                        videos, in any folders (toybox/videos/vehicles/car/...)
[.../]car_03_pivothead_rxplus/frame_0012.jpg             frames, a folder a video
[.../]car_03/car_03_pivothead_rxplus.mp4_012.jpeg        frames, a folder an object

Both views, instance and category, are of the same samples, so that they have one store.
"""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator
from tqdm import tqdm

from blurtrain.data.image_files import Listing, listed
from blurtrain.data.preparation.readers.blocks import split_blocks
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, split_called
from blurtrain.data.preparation.readers.toybox_clips import (
    OBJECTS,
    ROTATIONS,
    TESTED,
    VIDEO_FILES,
    Clip,
    Video,
    clip_of,
    is_video,
)
from blurtrain.data.video import Length, length, pyav
from blurtrain.errors import DataError, nearest

_INSTANCE = ("val", "test", "block", "gap", "seed")
_OPENED_AT_A_TIME = 16
Share = Annotated[float, Field(ge=0, lt=1)]


class Toybox(Reader):
    """A key is category/object/video/number: of videos the number of the frame at this rate, else that of its file."""

    type: Literal["toybox"] = "toybox"
    view: Literal["instance", "category"] = "instance"
    """Labels are objects (car_03), each in all splits, by blocks of frames; or categories, each object in one split."""
    rate: float = Field(3.0, gt=0)
    """Of videos: frames taken a second."""
    every: int = Field(1, ge=1)
    """Of frame files: so many-th of each video are taken, from the first on."""
    videos: tuple[Video, ...] = Field(ROTATIONS, min_length=1)
    """Which of each object."""
    val: Share = 0.02
    test: Share = 0.02
    """Of view=instance: shares of each object's blocks."""
    block: int = Field(8, ge=1)
    """Of view=instance: frames a block, which is in one split."""
    gap: int = Field(1, ge=0)
    """Of view=instance: so many frames next to a block of another split are in none."""
    seed: int = 0
    """Of view=instance: by which blocks are drawn."""
    objects: str | None = None
    """Of view=category: CSV, below the folder or anywhere, with columns object (car_03) and split; objects that it does
    not list are trained on. By default 28-30 are validated on, and those tested that the publishers test."""

    @model_validator(mode="after")
    def _of_one_view(self) -> "Toybox":
        of_other, other = (_INSTANCE, "instance") if self.view == "category" else (("objects",), "category")
        if wrong := [name for name in of_other if name in self.model_fields_set]:
            raise ValueError(f"{wrong[0]} goes with view={other}, not with view={self.view}")
        return self

    def samples(self, root: Path) -> Found:
        listing = listed(root, also=VIDEO_FILES)
        tree = self._sorted(root, listing)
        frames = tree.frames(self, root)
        samples = self._by_blocks(frames) if self.view == "instance" else self._by_objects(root, frames)
        left_alone = listing.left_alone + tree.left_alone
        if near := sum(not sample.split for sample in samples):
            left_alone["frames next to another split"] = near
        samples = [sample if sample.split else sample._replace(label="") for sample in samples]
        return Found([*samples, *tree.broken], left_alone, listing.empty, [*tree.skipped, *tree.missing(self.videos)])

    def _sorted(self, root: Path, listing: Listing) -> "_Tree":
        """The files by the videos that they are of. Raises DataError where there are none, or of two kinds."""
        tree = _Tree(defaultdict(list), [], Counter(), [])
        for path in map(Path, listing.paths):
            named = clip_of(path)
            if isinstance(named, str):
                tree.skipped.append((path.as_posix(), named))
            elif named[0].video not in self.videos:
                tree.left_alone[f"of other videos ({named[0].video})"] += 1
            else:
                tree.files[named[0]].append((named[1], path))
        if not tree.files:
            kinds = Counter(Path(path).suffix.lower() for path in listing.paths).most_common(3)
            raise DataError(
                f"{root}: holds {', '.join(f'{n} {kind}' for kind, n in kinds)}, e.g. {listing.paths[0]}, "
                f"but nothing called like a video of {', '.join(self.videos)}; expected "
                "CATEGORY_NN_pivothead_VIDEO.mp4 in any folders, or folders CATEGORY_NN_pivothead_VIDEO of frames"
            )
        videos = [path for files in tree.files.values() for _, path in files if is_video(path)]
        if videos and len(videos) != sum(map(len, tree.files.values())):
            raise DataError(f"{root}: holds videos ({videos[0]}) and frames; name the folder that holds one of them")
        idle = "every" if videos else "rate"
        if idle in self.model_fields_set:
            raise DataError(f"{root}: holds {'videos' if videos else 'frames'}, so that {idle} cannot act")
        return tree

    def _by_blocks(self, frames: Mapping[Clip, Sequence[Sample]]) -> list[Sample]:
        by_object = defaultdict[str, dict[str, Sequence[Sample]]](dict)
        for clip, found in frames.items():
            by_object[clip.object][f"{clip.object}/{clip.video}"] = found
        samples = []
        for label, clips in by_object.items():
            lengths = {name: len(found) for name, found in clips.items()}
            drawn = split_blocks(lengths, self.block, self.gap, {"val": self.val, "test": self.test}, self.seed)
            for name, found in clips.items():
                for sample, (block, split) in zip(found, drawn[name], strict=True):
                    samples.append(sample._replace(label=label, group=f"{name}/{block}", split=split))
        return samples

    def _by_objects(self, root: Path, frames: Mapping[Clip, Sequence[Sample]]) -> list[Sample]:
        given = None if self.objects is None else _splits_of(root / self.objects, {clip.object for clip in frames})
        samples = []
        for clip, found in frames.items():
            split = clip.usual_split if given is None else given.get(clip.object, "train")
            samples += [s._replace(label=clip.category, group=clip.object, split=split) for s in found]
        return samples


class _Tree(NamedTuple):
    """What lies in the folder."""

    files: defaultdict[Clip, list[tuple[int, Path]]]
    """Of each video: itself, or its frames with their numbers."""
    skipped: list[tuple[str, str]]
    left_alone: Counter[str]
    broken: list[Sample]
    """The first frames of videos that cannot be opened: they are listed, with the reason, when they are decoded."""

    def frames(self, reader: Toybox, root: Path) -> dict[Clip, list[Sample]]:
        """The frames of each video in their order, without label and split."""
        lengths = _lengths(root, [path for files in self.files.values() for _, path in files if is_video(path)])
        found = defaultdict[Clip, list[Sample]](list)
        for clip, files in sorted(self.files.items()):
            if not lengths:
                found[clip] = [Sample(clip.key(n), path.as_posix()) for n, path in sorted(files)[:: reader.every]]
                continue
            for path, known in ((path, lengths[path]) for _, path in files):
                first = Sample(clip.key(0), path.as_posix(), time=0.0)
                if known is None:
                    self.broken.append(first)
                elif not known.seconds:
                    self.skipped.append((path.as_posix(), "video that does not say how long it is"))
                elif 0 < known.rate < reader.rate * 0.999:
                    raise DataError(f"{root / path}: has {known.rate:.3g} frames a second, fewer than {reader.rate:g}")
                else:
                    count = math.ceil(known.seconds * reader.rate - 1e-6)
                    times = range(max(1, count))
                    found[clip] += [first._replace(key=clip.key(k), time=k / reader.rate) for k in times]
        return found

    def missing(self, videos: Sequence[str]) -> list[tuple[str, str]]:
        """What Toybox has besides, each once: categories, objects, or videos."""
        there = {(clip.object, clip.video) for clip in self.files}
        objects, categories = {name for name, _ in there}, {clip.category for clip in self.files}
        missing = [(category, "no such category") for category in TESTED if category not in categories]
        for name in (f"{category}_{number:02d}" for category in sorted(categories) for number in OBJECTS):
            if name not in objects:
                missing.append((name, "no such object"))
            else:
                missing += [(f"{name} {video}", "no such video") for video in videos if (name, video) not in there]
        return missing


def _lengths(root: Path, paths: Sequence[Path]) -> dict[Path, Length | None]:
    """How long videos are; None of one that cannot be opened."""
    if not paths:
        return {}
    pyav()  # where it is not there, that is no fault of the videos

    def one(path: Path) -> Length | None:
        try:
            return length(str(root / path))
        except (DataError, OSError):
            return None

    with ThreadPoolExecutor(_OPENED_AT_A_TIME) as pool:
        found = tqdm(pool.map(one, paths), total=len(paths), desc="opening", unit="video", disable=None)
        return dict(zip(paths, found, strict=True))


def _splits_of(path: Path, known: set[str]) -> dict[str, str]:
    """The splits of objects, by a list of them."""
    found: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            titles = list(table.fieldnames or [])
            if missing := [title for title in ("object", "split") if title not in titles]:
                raise DataError(f"{path}: has no column {missing[0]!r}; {nearest(missing[0], titles)}")
            for number, row in enumerate(table, 1):
                name, split = (row["object"] or "").strip(), split_called((row["split"] or "").strip())
                if name not in known:
                    raise DataError(f"{path}, row {number}: there is no object {name!r}; {nearest(name, known)}")
                if not split:
                    raise DataError(f"{path}, row {number}: split {row['split']!r} is none of train, val, test")
                if found.setdefault(name, split) != split:
                    raise DataError(f"{path}, row {number}: {name} is in {found[name]} already")
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return found
