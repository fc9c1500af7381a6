"""The videos of Toybox, by the names of files: 12 categories of 30 objects, 12 videos each."""

import re
from pathlib import Path
from typing import Literal, NamedTuple

TESTED = {
    "airplane": (2, 6, 15),
    "ball": (1, 7, 9),
    "car": (6, 11, 13),
    "cat": (4, 9, 15),
    "cup": (12, 13, 15),
    "duck": (5, 9, 13),
    "giraffe": (1, 5, 13),
    "helicopter": (5, 10, 15),
    "horse": (1, 10, 15),
    "mug": (12, 13, 14),
    "spoon": (5, 7, 8),
    "truck": (2, 6, 8),
}
"""The categories, and of each the objects that its publishers test on (see docs/datasets/toybox.md)."""
VALIDATED = (28, 29, 30)
OBJECTS = range(1, 31)
Video = Literal[
    "rxplus", "rxminus", "ryplus", "ryminus", "rzplus", "rzminus",
    "absent", "present", "hodgepodge", "tx", "ty", "tz",
]  # fmt: skip
ROTATIONS: tuple[Video, ...] = ("rxplus", "rxminus", "ryplus", "ryminus", "rzplus", "rzminus")
VIDEO_FILES = {".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm"}
_VIDEOS = {*ROTATIONS, "absent", "present", "hodgepodge", "tx", "ty", "tz"}
_OBJECT = r"([a-z]+)_(\d+)(?:_pivothead)?"
_NAMED = re.compile(rf"{_OBJECT}_([a-z]+)", re.IGNORECASE)
_FRAME = re.compile(rf"{_OBJECT}_([a-z]+)(?:\.[a-z0-9]+)?[_-](?:.*?[_-])?(\d+)", re.IGNORECASE)


class Clip(NamedTuple):
    """One video."""

    category: str
    number: int
    video: str

    @property
    def object(self) -> str:
        """The name of the object, as cup_07."""
        return f"{self.category}_{self.number:02d}"

    @property
    def usual_split(self) -> str:
        """The split of its object: test where its publishers test on it, val where it is in VALIDATED, else train."""
        return "test" if self.number in TESTED[self.category] else "val" if self.number in VALIDATED else "train"

    def key(self, number: int) -> str:
        """The key of frame `number` in a store, as cup/cup_07/rxplus/00042."""
        return f"{self.category}/{self.object}/{self.video}/{number:05d}"


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_FILES


def clip_of(path: Path) -> tuple[Clip, int] | str:
    """The video that a file is, or that it is a frame of, and its number there; else why its name is none."""
    if is_video(path):
        said, number = _NAMED.fullmatch(path.stem), "0"
    elif said := _FRAME.fullmatch(path.stem):
        number = said[4]
    else:
        said, last = _NAMED.match(path.parent.name), re.search(r"\d+$", path.stem)
        number = last[0] if last else ""
    if not said or not number:
        return "not named CATEGORY_NN_pivothead_VIDEO"
    clip = Clip(said[1].lower(), int(said[2]), said[3].lower())
    if clip.category not in TESTED:
        return "no category of Toybox"
    if clip.number not in OBJECTS:
        return "no object of Toybox (1-30)"
    if clip.video not in _VIDEOS:
        return "no video of Toybox"
    if any(_is_of_another(folder.lower(), clip) for folder in path.parts[:-1]):
        return "lies in the folder of another object"
    return clip, int(number)


def _is_of_another(folder: str, clip: Clip) -> bool:
    inside = re.match(_OBJECT, folder)
    if inside and inside[1] in TESTED:
        return (inside[1], int(inside[2])) != clip[:2]
    return folder in TESTED and folder != clip.category
