"""A run as trackers take it: settings, points of curves, results of evaluation, each with its epoch and its time."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from analysis.collecting.read_run import Found, RunRead, read_run
from analysis.collecting.read_settings import SettingsReader
from analysis.collecting.settings_columns import settings_columns
from analysis.documents import CONDITIONS, checked, outcome_at
from analysis.documents import Result as ResultFile
from analysis.trackers.names import tracker_name
from blurtrain.errors import RunError
from blurtrain.run import Run
from blurtrain.settings.labels import NAMES

ABOUT = ("dataset", "regime", "model", "seed", "state", "data_id", "version")
"""Of a run, what becomes its tags."""
_PLACES = ("epoch", "at", "time", "split", "blur", "pixels")
"""What a row of the journal says of where it stands."""
_OF_IMAGES = ("n", "classes", "largest_class")
"""Conditions that follow from the others and the data."""


@dataclass(frozen=True)
class Point:
    """One number."""

    name: str
    """split/metric, or split/metric/blur, as `tracker_name` spells it."""
    epoch: int
    """Epochs that were done."""
    time: float
    """Seconds since 1970, when it was logged."""
    value: float


@dataclass
class TrackedRun:
    """What is known of one run."""

    run_id: str
    about: dict[str, Any]
    """ABOUT."""
    settings: dict[str, Any]
    """By dotted name, as `tracker_name` spells it: numbers, text, None; lists as JSON."""
    began: float
    """Seconds since 1970."""
    ended: float | None
    """None: it is not done."""
    curves: list[Point] = field(default_factory=list)
    """What was logged by epoch, oldest first; no two of one name and epoch, nor with results."""
    results: list[Point] = field(default_factory=list)
    """What measures found, and of how many images (`.../n`); counts in percent."""
    omitted: list[str] = field(default_factory=list)
    """What is not there and why, in words."""


def tracked_run(path: Path, reader: SettingsReader) -> TrackedRun:
    """Reads a run directory; raises SettingsError or RunError where it cannot be read, or has no journal yet."""
    read, run = read_run(path, reader), Run(path)
    events = list(run.journal(steps=False))
    if not events:
        raise RunError(f"{path}: has no journal: nothing of it has been trained yet")
    written = max(file.stat().st_mtime for file in path.glob("attempts/[0-9]*/journal.jsonl"))
    times = [time for event in events if (time := _seconds(event.get("time"))) is not None] or [written]
    about = {name: read.row[name] for name in ABOUT}
    if read.row["beat_ns"] and run.beats():
        about["state"] = "running"
    ended = max(times) if about["state"] == "done" else None
    found = TrackedRun(path.name, about, _settings(read), min(times), ended)
    for row in read.epochs:
        time = _seconds(row.get("time"))
        own = [Point(name, row["epoch"], written if time is None else time, value) for name, value in _of_epoch(row)]
        found.curves += _finite(own, found.omitted)
    if read.measures:
        conditions = _own_conditions(run, read.row["epochs"])
        points = dict[tuple[str, int], Point]()
        for measured in read.measures:
            epoch = measured.conditions["epoch"]
            for name, value in _of_measure(measured, conditions):
                points.setdefault((name, epoch), Point(name, epoch, max(times), value))
        found.results += _finite(points.values(), found.omitted)
    return found


def _seconds(time: Any) -> float | None:
    """Since 1970; None in journals of older versions, which do not say it."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _finite(points: Iterable[Point], omitted: list[str]) -> list[Point]:
    """But for those that are no number: trackers take such for a gap, an error or zero."""
    points = list(points)
    omitted += [f"{p.name} of epoch {p.epoch} is {p.value}" for p in points if not math.isfinite(p.value)]
    return [point for point in points if math.isfinite(point.value)]


def _settings(read: RunRead) -> dict[str, Any]:
    columns = settings_columns({name: ([text], np.zeros(1, int)) for name, text in read.settings.items()})
    named = {name: read.row[name] for name in NAMES} | {name: one.values[0] for name, one in columns.items()}
    return {tracker_name(name): value for name, value in named.items()}


def _of_epoch(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of one row of the epochs; of a level of blur without what its look has in common."""
    split, blur = row["split"], row["blur"]
    for name, value in row.items():
        if name in _PLACES or (blur is not None and name == "n"):
            continue
        parts = (split, name) if blur is None else (split, name, blur)
        for inner, number in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield tracker_name(*parts, *([] if inner is None else [inner])), float(number)


def _own_conditions(run: Run, epochs: int) -> Mapping[str, Any]:
    """Under which it was evaluated at the end of its training: these go without saying."""
    path = run.path / "result.json"
    result: ResultFile = checked(run.result(), path, ResultFile)
    return outcome_at(run.evaluations / (result.accuracy or result.measured)).conditions(epochs)


def _of_measure(found: Found, own: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of one measure, and of how many images (or whatever it counts) each metric is."""
    others = [f"{name}={found.conditions[name]}" for name in CONDITIONS
              if name not in ("split", *_OF_IMAGES) and found.conditions[name] != own[name]]  # fmt: skip
    split, n = str(found.conditions["split"]), found.conditions["n"]
    prefix = "" if found.measure == "accuracy" else f"{found.measure}."
    named = set[str]()
    for level in found.levels:
        shares = {name: 100 * count / n for name, count in level.counts.items()}
        for metric, value in (shares | dict(level.values)).items():
            yield tracker_name(split, prefix + metric, level.blur, *others), value
            if metric not in named:
                named.add(metric)
                yield tracker_name(split, prefix + metric, "n", *others), float(n)
