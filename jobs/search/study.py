"""A search as it stands on disk, enough to go on after anything died:

<runs>/.searches/<name>-<hash>/
    search.json               the search as it was started last
    trials/0003.json          each trial: its point, its runs, how it ended; written by the driver alone
    driver                    locked (flock) by the process that drives the search; holds its host and pid
    stopping, cancelled       the driver is asked to stop, or was by `tune cancel`
    log.txt, logs/<run id>.log
    best.yaml, best-grid.yaml, trials.csv     the outcome

What a trial has reached is not written here: it is read from its runs (see jobs.search.objective).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from blurtrain.files import read_json, write_json
from blurtrain.run import Run
from jobs.search.file import SearchFile
from jobs.search.objective import Objective
from jobs.search.space import Flat

FOLDER = ".searches"
OPEN = ""
ENDS = ("done", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """One trial."""

    number: int
    flat: Flat | None
    """The point, with a value for every dimension; None: the base settings."""
    active: Flat
    """What it sets."""
    runs: tuple[str, ...]
    """Its runs, one a seed. Of population based training: those that it is at by now."""
    ended: str = OPEN
    """One of ENDS; empty: it is to go on."""
    message: str = ""
    lineage: tuple[dict[str, Any], ...] = field(default=())
    """Of population based training: the runs before, each with what it was left for."""

    @property
    def name(self) -> str:
        return f"trial {self.number}"


@dataclass(frozen=True)
class Study:
    """One search in one folder of runs."""

    runs: Path
    id: str

    @classmethod
    def of(cls, file: SearchFile, runs: Path) -> "Study":
        return cls(runs, file.id)

    @property
    def folder(self) -> Path:
        return self.runs / FOLDER / self.id

    @property
    def driver(self) -> Path:
        return self.folder / "driver"

    @property
    def stopping(self) -> Path:
        return self.folder / "stopping"

    @property
    def cancelled(self) -> Path:
        return self.folder / "cancelled"

    @property
    def ray(self) -> Path:
        """Where Ray writes what members of a population hand over to each other; emptied when a search begins."""
        return self.folder / "ray"

    def log(self, run_id: str) -> Path:
        """What the processes of a run print."""
        return self.folder / "logs" / f"{run_id}.log"

    def begin(self, file: SearchFile) -> None:
        """Make the folder, and note what is searched."""
        for name in ("trials", "settings", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "search.json", {"name": file.name, **file.search.model_dump(mode="json"),
                                                 "base": dict(file.written)})  # fmt: skip

    def trials(self) -> list[Trial]:
        """Those there are, by number."""
        documents = (read_json(path) for path in sorted((self.folder / "trials").glob("[0-9]*.json")))
        return [
            Trial(**{**d, "runs": tuple(d["runs"]), "lineage": tuple(d.get("lineage", ()))}) for d in documents if d
        ]

    def write(self, trial: Trial) -> Trial:
        """Note a trial, or how it stands by now."""
        write_json(self.folder / "trials" / f"{trial.number:04d}.json", asdict(trial))
        return trial

    def reopen(self, trials: Iterable[Trial]) -> list[Trial]:
        """Let those that failed go on; returns them."""
        return [self.write(replace(trial, ended=OPEN, message="")) for trial in trials if trial.ended == "failed"]

    def end(self, trial: Trial, ended: str, message: str = "") -> Trial:
        """Note that a trial has come to its end."""
        return self.write(replace(trial, ended=ended, message=message))


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
    if not each or any(not found for found, _ in each):
        return {}
    epochs = sorted(set().union(*(found for found, _ in each)))

    def at(epoch: int) -> Iterator[float | None]:
        for found, ended in each:
            last = max(found)
            yield found.get(epoch, found[last] if ended and epoch > last else None)

    means = {epoch: list(at(epoch)) for epoch in epochs}
    return {e: sum(v for v in row if v is not None) / len(row) for e, row in means.items() if None not in row}


def studies(runs: Path) -> list[Study]:
    """All searches in a folder of runs."""
    return [Study(runs, path.parent.name) for path in sorted((runs / FOLDER).glob("*/search.json"))]
