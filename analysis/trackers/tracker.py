"""Where runs are written to: what a tracker is given, and what it says that it did."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from analysis.trackers.tracked_run import Point, TrackedRun
from blurtrain.errors import RunError


@dataclass(frozen=True)
class Written:
    """What one run gave that the tracker did not have."""

    id: str
    """Of the run in the tracker."""
    epochs: int = 0
    """New ones."""
    results: int = 0
    """Numbers of measures that are new."""
    differing: tuple[str, ...] = ()
    """Numbers that the tracker has with another value; it keeps its own."""


class Tracker(Protocol):
    """An open tracker."""

    def write(self, run: TrackedRun) -> Written:
        """Add what is new of a run. Raises RunError where it cannot be written."""

    def close(self) -> None:
        """Once all is written."""


_SPEED = {f"train/{name}" for name in ("images_per_second", "data_wait", "memory_gib", "gpu_memory_gib")}
"""Of an epoch that was done again these are others, and all else is the same."""


def not_in(known: Mapping[tuple[str, int], float], points: Iterable[Point]) -> tuple[list[Point], tuple[str, ...]]:
    """The points that a tracker has not, by name and epoch; and those that it has with another value, in words."""
    points = list(points)
    return [p for p in points if (p.name, p.epoch) not in known], tuple(
        f"{p.name} of epoch {p.epoch} is {p.value:g}, there {known[p.name, p.epoch]:g}"
        for p in points
        if p.name not in _SPEED and known.get((p.name, p.epoch), p.value) != p.value
    )


def writable(folder: Path) -> Path:
    """The folder, made if it is not there; raises RunError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}; choose another --out") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunError(f"{folder}: cannot be written; choose another --out")
    return folder.absolute()


def is_address(out: str) -> bool:
    """Whether it is no folder, but `http://...` or the like."""
    return "://" in out
