"""A search as it stands on disk, enough to go on after anything died, and to show what has come of it:

<runs>/.searches/<name>-<hash>/
    search.json               the search as it was started last
    trials/0003.json          each trial: its point, its runs, how it ended; written by the driver alone
    driver                    locked (flock) by the process that drives the search; holds its host and pid
    stopping, cancelled       the driver is asked to stop, or was by `tune cancel`
    log.txt, logs/<run id>.log
    best.yaml, best-grid.yaml, trials.csv     the outcome

What a trial has reached is not written here: it is read from its runs (see blurtrain.objective).
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from blurtrain.errors import RunError
from blurtrain.files import read_json, write_json
from blurtrain.objective import Objective
from blurtrain.run import Run

FOLDER = ".searches"
OPEN = ""
ENDS = ("done", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """One trial."""

    number: int
    flat: dict[str, Any] | None
    """The point, with a value for every dimension by its dotted name; None: the base settings."""
    active: dict[str, Any]
    """What it sets."""
    runs: tuple[str, ...]
    """Its runs, one a seed. Of population based training: those that it is at by now."""
    ended: str = OPEN
    """One of ENDS; empty: it is to go on."""
    message: str = ""
    lineage: tuple[dict[str, Any], ...] = field(default=())
    """Of population based training: what it was before (runs), after which epoch it was left, from which trial it goes
    on, and more; oldest first."""


def _trial(path: Path) -> Trial:
    try:
        document = dict(read_json(path) or {})
        lineage = tuple(document.get("lineage", ()))
        if any(not {"runs", "epoch", "from"} <= entry.keys() for entry in lineage):
            raise KeyError("lineage")
        return Trial(**{**document, "runs": tuple(document["runs"]), "lineage": lineage})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise RunError(f"{path}: is damaged: it is no trial of a search") from None


class Named(Protocol):
    """A search file."""

    @property
    def id(self) -> str:
        """Its name and hash: <name>-<hash>."""
        ...


@dataclass(frozen=True)
class Study:
    """One search in one folder of runs."""

    runs: Path
    id: str

    @classmethod
    def of(cls, file: Named, runs: Path) -> "Study":
        """The study of a search file in a folder of runs."""
        return cls(runs, file.id)

    @property
    def folder(self) -> Path:
        """Where all of it lies: <runs>/.searches/<id>."""
        return self.runs / FOLDER / self.id

    @property
    def driver(self) -> Path:
        """The file that the driving process locks."""
        return self.folder / "driver"

    @property
    def stopping(self) -> Path:
        """The mark that the driver is asked to stop."""
        return self.folder / "stopping"

    @property
    def cancelled(self) -> Path:
        """The mark that the search was cancelled."""
        return self.folder / "cancelled"

    @property
    def progress(self) -> Path:
        """How far the study has come: {"at": epochs of all trials together}."""
        return self.folder / "progress.json"

    def is_marked(self, mark: Path) -> bool:
        """Whether `stopping` or `cancelled` is there. By a listing, as NFS goes on denying a file that it has once been
        asked for in vain."""
        return mark in self.folder.glob(mark.name + "*")

    @property
    def ray(self) -> Path:
        """Where Ray writes what members of a population hand over to each other; emptied when a search begins."""
        return self.folder / "ray"

    def log(self, run_id: str) -> Path:
        """What the processes of a run print."""
        return self.folder / "logs" / f"{run_id}.log"

    def begin(self, document: Mapping[str, Any]) -> None:
        """Make the folder, and note what is searched."""
        for name in ("trials", "settings", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "search.json", document)

    def document(self) -> dict[str, Any]:
        """What is searched; raises RunError where the file is damaged."""
        return read_json(self.folder / "search.json") or {}

    def trials(self) -> list[Trial]:
        """Those there are, by number; raises RunError where a file is damaged."""
        return [_trial(path) for path in sorted((self.folder / "trials").glob("[0-9]*.json"))]

    def write(self, trial: Trial) -> Trial:
        """Note a trial, or how it stands by now."""
        write_json(self.folder / "trials" / f"{trial.number:04d}.json", asdict(trial))
        return trial

    def reopen(self, trials: Iterable[Trial]) -> list[Trial]:
        """Let those that failed go on; returns them."""
        return [self.write(replace(trial, ended=OPEN, message="")) for trial in trials if trial.ended == "failed"]


@dataclass(frozen=True)
class Standing:
    """How a trial stands, by what its runs have reported."""

    state: str
    """One of ENDS, or running, or open: nothing works on it, and the next start of the search goes on with it."""
    at: float
    """Epochs that its runs have been trained; of several, the one that is behind."""
    values: Mapping[int, float]
    """The objective by epoch, see `values`."""
    spread: Mapping[int, float]
    """Standard deviation over the seeds at these epochs; NaN of one."""
    images: int
    """That the objective of a run is a mean over; 0: not known yet."""

    @property
    def epoch(self) -> int:
        """The last that all runs have a value at; 0: none."""
        return max(self.values, default=0)

    @property
    def objective(self) -> float | None:
        """The objective at `epoch`; None where there is none yet."""
        return self.values.get(self.epoch)

    @property
    def sd(self) -> float | None:
        """Over the seeds, where there are several."""
        sd = self.spread.get(self.epoch, math.nan)
        return None if math.isnan(sd) else sd


def standing(objective: Objective, runs: Path, trial: Trial) -> Standing:
    """How a trial stands; with a lineage, its values are those of what it was at the time."""
    of_trial = [Run(runs / run_id) for run_id in trial.runs]
    stages = [*((entry["runs"], entry["epoch"]) for entry in trial.lineage), (trial.runs, math.inf)]
    rows: dict[int, list[float]] = {}
    begin = 0.0
    for ids, until in stages:
        each = [(objective.values(run), run.result() is not None) for run in (Run(runs / run_id) for run_id in ids)]
        rows |= {epoch: row for epoch, row in _by_epoch(each).items() if begin < epoch <= until}
        begin = until
    state = trial.ended or ("running" if any(run.beats() for run in of_trial) else "open")
    return Standing(
        state,
        min((_epochs_done(run) for run in of_trial), default=0.0),
        {epoch: sum(row) / len(row) for epoch, row in rows.items()},
        {epoch: statistics.stdev(row) if len(row) > 1 else math.nan for epoch, row in rows.items()},
        max((objective.images(run) for run in of_trial), default=0),
    )


def best_of(trials: Sequence[tuple[str, float | None]], is_max: bool) -> int | None:
    """Which is the best of the trials that are done, given as state and objective; the first of equals."""
    done = {k: value for k, (state, value) in enumerate(trials) if state == "done" and value is not None}
    return max(done, key=lambda k: done[k] if is_max else -done[k], default=None)


def _epochs_done(run: Run) -> float:
    if (result := run.result()) is not None:
        return float(result["epochs"])
    return float(run.heartbeat().get("epoch", 0))


def values(objective: Objective, runs: Path, ids: Sequence[str]) -> dict[int, float]:
    """The objective of a trial by epoch: the mean over its runs, for the epochs that all have reached. A run that has
    ended earlier than others keeps its last value."""
    each = []
    for run_id in ids:
        run = Run(runs / run_id)
        each.append((objective.values(run), run.result() is not None))
    return mean_of(each)


def mean_of(each: Sequence[tuple[dict[int, float], bool]]) -> dict[int, float]:
    """The mean over runs, given as values by epoch and whether that is all there will be."""
    return {epoch: sum(row) / len(row) for epoch, row in _by_epoch(each).items()}


def _by_epoch(each: Sequence[tuple[dict[int, float], bool]]) -> dict[int, list[float]]:
    """The values of all runs at the epochs that all have reached."""
    if not each or any(not found for found, _ in each):
        return {}
    epochs = sorted(set().union(*(found for found, _ in each)))

    def at(epoch: int) -> Iterator[float | None]:
        for found, ended in each:
            last = max(found)
            yield found.get(epoch, found[last] if ended and epoch > last else None)

    rows = {epoch: list(at(epoch)) for epoch in epochs}
    return {epoch: [v for v in row if v is not None] for epoch, row in rows.items() if None not in row}


def studies(runs: Path) -> list[Study]:
    """All searches in a folder of runs."""
    return [Study(runs, path.parent.name) for path in sorted((runs / FOLDER).glob("*/search.json"))]
