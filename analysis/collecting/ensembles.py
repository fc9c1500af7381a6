"""What was measured of several runs as one (`blurtrain evaluate --ensemble`), where it lies among the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.collecting.evaluations import level_row
from analysis.documents import EnsembleForm, Member, checked
from blurtrain.errors import RunError
from blurtrain.files import read_json


@dataclass(frozen=True)
class Ensemble:
    """Networks that were measured as one, under some conditions."""

    members: tuple[Member, ...]
    levels: tuple[dict[str, Any], ...]
    """One each: the columns of `analysis.load` from sigma to object_top1."""


def ensembles(folders: Sequence[Path]) -> tuple[list[Ensemble], list[tuple[Path, str]]]:
    """Those whose outcomes lie in one of these folders (`--out runs/ensembles`), by the names of their files; and which
    files are damaged, and why."""
    found, damaged = [], []
    for path in sorted(path for folder in folders for path in folder.glob("accuracy-*.json")):
        try:
            document = read_json(path)
            if isinstance(document, Mapping) and "members" in document:
                outcome = checked(document, path, EnsembleForm)
                levels = tuple(level_row(level, outcome.conditions(0)) for level in outcome.levels_measured())
                found.append(Ensemble(outcome.members, levels))
        except RunError as error:
            damaged.append((path, str(error)))
    return found, damaged
