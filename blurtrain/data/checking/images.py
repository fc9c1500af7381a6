"""The images that are checked: what is known of each, and how their pixels are read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.checking.looks import Look, Pixels
from blurtrain.data.dataset import SPLITS


@dataclass
class Images:
    """Columns of an entry an image."""

    paths: Sequence[str]
    classes: list[str]
    """Empty where it is not known which there are."""
    label: NDArray[np.int64]
    leaf: NDArray[np.int64]
    """Which object (leaf folder) it shows; -1 where that is not known."""
    split: NDArray[np.int64]
    """Position in SPLITS; -1 where there are none yet."""
    content: NDArray[np.uint64]
    """Equal for the same images; see `content_of`."""
    looks: "Looks"

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def splits(self) -> dict[str, NDArray[np.int64]]:
        """The entries [n] of each split that there is; of "all", where there are no splits."""
        if not self.has_splits:
            return {"all": np.arange(len(self))}
        entries = {name: np.flatnonzero(self.split == k) for k, name in enumerate(SPLITS)}
        return {name: of for name, of in entries.items() if len(of)}

    @property
    def has_splits(self) -> bool:
        """Whether any image is in a split."""
        return bool((self.split >= 0).any())

    @property
    def leaves_are_classes(self) -> bool:
        """Whether each class of each split is one leaf, so that a leaf is no object in a class."""
        return all(
            len(np.unique(self.leaf[entries])) == len(np.unique(self.label[entries]))
            for entries in self.splits.values()
        )


@dataclass
class Looks:
    """What was found by looking at each image; columns as in `Images`."""

    hashes: NDArray[np.uint64]
    comparable: NDArray[np.bool_]
    """Whether there is anything to compare; see `thumbnails.hashes`."""
    sides: NDArray[np.int64]
    """Height and width [n, 2] of what was looked at."""
    sharpness: dict[int, dict[str, float]] = field(default_factory=dict)
    """Of some entries; see `blurtrain.data.sharpness`."""

    @classmethod
    def none_of(cls, count: int) -> "Looks":
        """Room for those of so many images."""
        return cls(np.zeros(count, np.uint64), np.zeros(count, np.bool_), np.zeros((count, 2), np.int64))

    def put(self, entry: int, look: Look) -> None:
        """Note the look at the image of this entry."""
        self.hashes[entry], self.comparable[entry], self.sides[entry] = look.hash, look.comparable, look.sides
        if look.sharpness is not None:
            self.sharpness[entry] = look.sharpness

    def kept(self, entries: NDArray[np.int64]) -> "Looks":
        """Of these alone, in this order."""
        sharpness = {new: self.sharpness[old] for new, old in enumerate(entries.tolist()) if old in self.sharpness}
        return Looks(self.hashes[entries], self.comparable[entries], self.sides[entries], sharpness)


class Source(Protocol):
    """Where images come from."""

    images: Images

    def pixels(self, entries: NDArray[np.int64]) -> Iterator[Pixels]:
        """Of each, [height, width, 3]."""
        ...

    def source_sides(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Height and width [k, 2] of the files of those of the entries that are at hand."""
        ...


def content_of(sha256: str, part: str = "") -> int:
    """64 bits that say which image this is: of its file's SHA-256 (hex digits), and of what part of the file is it."""
    digest = hashlib.sha256(f"{sha256} {part}".encode()).hexdigest() if part else sha256
    return int(digest[:16], 16)


def evenly(entries: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the entries [n], evenly apart."""
    if len(entries) <= most:
        return entries
    return entries[np.linspace(0, len(entries) - 1, most).round().astype(np.int64)]


def sampled(split: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """[n]: whether each entry is of the evenly spaced ones of its split."""
    chosen = np.zeros(len(split), np.bool_)
    for k in np.unique(split):
        chosen[evenly(np.flatnonzero(split == k), most)] = True
    return chosen
