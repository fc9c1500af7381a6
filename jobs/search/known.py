"""What is known of a space before a search goes on: its own trials, and runs of others that lie in it."""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from blurtrain.documents import parse_yaml
from blurtrain.errors import BlurtrainError, SettingsError
from blurtrain.files import read_json
from blurtrain.run import Run, existing
from blurtrain.trials import Trial, mean_of, values
from jobs.search import space as spaces
from jobs.search.file import PRESET_NAMES, SearchFile
from jobs.search.space import Flat

Known = tuple[Flat, float | None]
"""A point and what it has reached; None: it failed."""


def flat_of(file: SearchFile, trial: Trial) -> Flat | None:
    """The point of a trial; of the base settings, where they lie in the space."""
    return trial.flat if trial.flat is not None else spaces.flat_of(file.document, file.search.space)


def of_trials(file: SearchFile, runs: Path, trials: Iterable[Trial]) -> dict[int, Known]:
    """What the trials that have ended have reached, by number."""
    found: dict[int, Known] = {}
    for trial in trials:
        flat = flat_of(file, trial)
        if trial.ended and flat is not None:
            reached = values(file.search.objective, runs, trial.runs)
            epoch = _pruned_at(file, runs, trial) or max(reached, default=0)
            found[trial.number] = flat, reached.get(epoch) if trial.ended != "failed" else None
    return found


def _pruned_at(file: SearchFile, runs: Path, trial: Trial) -> int:
    """The epoch by which a trial was judged: its runs may have come further before they were stopped."""
    marks = [Run(runs / run_id).pruned() for run_id in trial.runs] if trial.ended == "pruned" else []
    return max(
        (int(m["epoch"]) for m in marks if m and (m["search"], m["trial"]) == (file.id, trial.number)), default=0
    )


def of_others(file: SearchFile, runs: Path, trials: Iterable[Trial]) -> list[Known]:
    """What runs have reached that lie in the folder of runs, are done, and are of no trial: those of points of the
    space, where all seeds of the point are there, each with the objective at its last epoch."""
    own = {run_id for trial in trials for run_id in trial.runs}
    found: list[Known] = []
    for flat, ids in points(file, runs):
        if not own.intersection(ids) and (value := _reached(file, runs, ids)) is not None:
            found.append((flat, value))
    return found


def _reached(file: SearchFile, runs: Path, ids: Iterable[str]) -> float | None:
    objective, each = file.search.objective, []
    try:
        for run in (Run(runs / run_id) for run_id in ids):
            result, reached = run.result(), objective.values(run)
            if result is None or result["epochs"] not in reached:
                return None
            each.append((reached, True))
    except BlurtrainError:
        return None  # what is damaged is named where it is asked for
    mean = mean_of(each)
    value = mean[max(mean)]
    return value if math.isfinite(value) else None


def points(file: SearchFile, runs: Path) -> Iterator[tuple[Flat, tuple[str, ...]]]:
    """The points of the space all of whose runs are done in the folder of runs, with these, by run id.

    Thousands of other runs cost little: those of another dataset, regime, model or seed are known by their names, and
    of the settings of the rest only those sections are read that the space speaks of. That the others fit, the run id
    shows, which is a hash over all.
    """
    space, names = file.search.space, existing(runs)
    sections = {path.split(".")[0] for path in [*space, *(p for d in space.values() for p in d.when)]}
    for name in sorted(filter(_label(file).fullmatch, names)):
        folder = runs / name
        try:
            if not (folder / "result.json").exists():
                continue
            flat = spaces.flat_of(_sections(folder / "settings.yaml", sections), space)
            if flat is None:
                continue
            ids = tuple(member.run_id for member in file.members(flat))
        except (SettingsError, OSError):
            continue
        if ids[0] == name and all(i in names and (runs / i / "result.json").exists() for i in ids[1:]):
            yield flat, ids


def _label(file: SearchFile) -> re.Pattern[str]:
    """What the runs of the first seed are called."""
    said = []
    for part in ("dataset", *PRESET_NAMES):
        dimension = file.search.space.get(part)
        listed = [file.document[part]] if dimension is None else dimension.values() or ()
        said.append("|".join(re.escape(str(value)) for value in listed))
    return re.compile("-".join(f"(?:{names})" for names in said) + f"-s{file.search.seeds[0]}-[0-9a-f]+")


def _sections(path: Path, sections: set[str]) -> dict[str, Any]:
    """These sections of a settings file as `settings.dump` writes it, each from the start of a line."""
    parts = re.split(r"^(?=[a-z])", path.read_text(), flags=re.MULTILINE)
    text = "".join(part for part in parts if part.partition(":")[0] in sections)
    document = parse_yaml(text, str(path))
    return document if isinstance(document, dict) else {}


def measuring(file: SearchFile, run: Run) -> list[str]:
    """The command that measures the objective of a run that was done by somebody else, without looking at the val
    split itself; empty where nothing is missing, or this objective cannot be measured later."""
    objective, result = file.search.objective, read_json(run.path / "result.json")
    if result is None or not objective.can_be_measured(run) or result["epochs"] in objective.values(run):
        return []
    return ["blurtrain", "evaluate", str(run.path), *objective.measuring(), f"data.root={file.base.data.root}"]
