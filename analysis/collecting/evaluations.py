"""What was measured of one run: all files in its `evaluations/`, merged level by level."""

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.documents import CONDITIONS, Level, Outcome, Result, checked, outcome_at
from blurtrain.errors import RunError
from blurtrain.run import Run

__all__ = ["CONDITIONS", "VALUES", "Level", "Measured", "accuracies", "level_row", "others"]

VALUES = ("loss", "entropy", "cross_entropy")
"""Means of the accuracy measure beside its counts (nats): columns of the frame."""

Measured = dict[tuple[Any, ...], dict[str, Level]]
"""Levels by the label of their blur, by the conditions under which they were measured."""


def accuracies(run: Run, document: Mapping[str, Any], epochs: int) -> tuple[Measured, list[str]]:
    """All accuracies of a done run whose result is `document`; and what was found odd, in plain words.

    A level that was measured twice counts once: as the evaluation at the end of the training has it, or the first file
    by name. Raises RunError where a file is missing or damaged.
    """
    result: Result = checked(document, run.path / "result.json", Result)
    if result.run_id != run.id:
        # A copy would pass for a repetition of the experiment.
        raise RunError(f"{run.path}: holds run {result.run_id!r}; give the folder its name back, or move it elsewhere")
    if not result.accuracy:
        return {}, []  # its task is no classification
    own = run.evaluations / result.accuracy
    files = [path for path in files_of(run) if path.name.startswith("accuracy-") and path != own]
    found: Measured = {}
    odd = []
    for path in (own, *files):
        outcome = outcome_at(path)
        levels = found.setdefault(tuple(outcome.conditions(epochs)[name] for name in CONDITIONS), {})
        for level in outcome.levels_measured():
            if not {"top1", "top5"} <= level.counts.keys():
                raise RunError(f"{path}: has no top1 and top5 at {level.blur}; the file is damaged: remove it")
            before = levels.setdefault(level.blur, level)
            if before is level:
                continue
            if before.counts != level.counts:
                where = level.blur if math.isnan(level.sigma) else f"sigma {level.sigma:g}"
                odd.append(
                    f"{run.id}: measured twice at {where}, with {before.counts['top1']} and (in {path.name}) "
                    f"{level.counts['top1']} of {outcome.n} images right; the first is shown"
                )
            else:
                levels[level.blur] = _together(before, level)
    return found, odd


def level_row(level: Level, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """One level of accuracy, and under what it was measured, as columns of `analysis.load`."""
    top = {name: level.counts[name] for name in ("top1", "top5")}
    shares = {name: 100 * count / conditions["n"] for name, count in top.items()}
    counts = {f"{name}_count": count for name, count in top.items()}
    means = {name: level.values.get(name, math.nan) for name in VALUES}
    objects = {"objects": level.objects, "object_n": level.object_n, "object_top1": level.object_counts.get("top1")}
    where = {"sigma": level.sigma, "blur": level.blur}
    return {**where, **shares, **counts, **means, **conditions, **objects}


def _together(before: Level, level: Level) -> Level:
    """Both hold the same counts; each may know what the other does not: other values, or objects."""
    whole = level if math.isnan(before.objects) else before
    return replace(whole, values={**level.values, **before.values})


def others(run: Run) -> tuple[list[Outcome], list[RunError]]:
    """What measures other than accuracy found, a file each; and which files are damaged."""
    found, damaged = [], []
    for path in files_of(run):
        if not path.name.startswith("accuracy-"):
            try:
                found.append(outcome_at(path))
            except RunError as error:
                damaged.append(error)
    return found, damaged


def files_beside(run: Run, measure: str, ending: str) -> list[Path]:
    """The files of this ending beside the outcomes of a measure, whatever its options; measure: as tables call it."""
    begins = f"{measure.partition('[')[0]}-"
    beside = (path.with_suffix(ending) for path in files_of(run) if path.name.startswith(begins))
    return [path for path in beside if path.exists()]


def files_of(run: Run) -> list[Path]:
    """The outcomes of measures of a run, by name."""
    try:
        with os.scandir(run.evaluations) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
    except FileNotFoundError:
        return []
    return [run.evaluations / name for name in names if not name.startswith(".")]
