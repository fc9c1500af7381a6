"""How a folder of runs stands: how many are done, and what of each that is not."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.collecting.collection import Collection
from analysis.collecting.runs import Collected
from blurtrain.settings.labels import differences, short_names, shown

STATES = ("done", "running", "failed", "waiting", "submitted", "pruned")
"""In the order of the page; submitted: a job or a worker has it, but it has not begun and has no folder."""
_RUN_ID = re.compile(r".+-s\d+-[0-9a-f]{12}")
"""What a submission calls a training; other jobs, such as evaluations, are called otherwise."""


@dataclass(frozen=True)
class Unfinished:
    """One run that is not done."""

    run_id: str
    state: str
    message: str
    epoch: float
    epochs: int
    """0: not known."""
    dataset: str = ""
    regime: str = ""
    model: str = ""
    seed: str = ""
    detail: str = ""
    """In which settings it differs from other runs of its dataset, regime and model."""


@dataclass(frozen=True)
class Experiment:
    """The runs that differ in their seed alone."""

    dataset: str
    regime: str
    model: str
    detail: str
    """Other settings in which runs differ."""
    counts: Mapping[str, int]
    """By state."""

    @property
    def total(self) -> int:
        """Runs in whatever state."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Standing:
    """How a folder of runs stands."""

    unfinished: tuple[Unfinished, ...]
    """In the order of STATES, then by name; runs that a search has stopped are the last."""
    experiments: tuple[Experiment, ...]
    """In the order of their runs; empty where only the ids of runs are known."""
    counts: Mapping[str, int]
    """By state, of those that there are, in the order of STATES."""

    @property
    def total(self) -> int:
        """Runs in whatever state."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Runs that are done."""
        return self.counts.get("done", 0)

    @property
    def missing(self) -> tuple[Unfinished, ...]:
        """Without those that a search has stopped."""
        return tuple(run for run in self.unfinished if run.state != "pruned")

    @property
    def pruned(self) -> tuple[Unfinished, ...]:
        """Those that a search has stopped."""
        return tuple(run for run in self.unfinished if run.state == "pruned")

    @cached_property
    def incomplete(self) -> tuple[Experiment, ...]:
        """Those with a run that is not done, nor stopped by a search."""
        return tuple(one for one in self.experiments if set(one.counts) - {"done", "pruned"})


def standing(collected: Collected) -> Standing:
    """From what was collected, and from what was submitted from the folder of runs."""
    if collected.collection is None:
        done = collected.frame["run_id"].nunique()
        runs = [Unfinished(run_id, "waiting", "", 0, 0) for run_id in collected.missing]
        runs += [Unfinished(run_id, "pruned", "", 0, 0) for run_id in collected.pruned]
        return Standing(tuple(runs), (), _counts([*["done"] * done, *(run.state for run in runs)]))
    rows = collected.collection.rows
    details = _details(collected.collection)
    runs = [_unfinished(row, details.get(row["run_id"], "")) for row in rows if row["state"] != "done"]
    runs += [
        Unfinished(run_id, "submitted", "has not begun: there is no folder of it yet", 0, 0)
        for run_id in _submitted(collected.collection.folder)
    ]
    order = {state: place for place, state in enumerate(STATES)}
    states: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        about = (row["dataset"], row["regime"], row["model"], details.get(row["run_id"], ""))
        states.setdefault(about, []).append(row["state"])
    experiments = tuple(Experiment(*about, _counts(own)) for about, own in states.items())
    done = sum(row["state"] == "done" for row in rows)
    unfinished = tuple(sorted(runs, key=lambda run: (order[run.state], run.run_id)))
    return Standing(unfinished, experiments, _counts([*["done"] * done, *(run.state for run in runs)]))


def _details(collection: Collection) -> dict[str, str]:
    """By run, the settings in which runs differ beyond dataset, regime, model and seed."""
    known = collection.settings
    found = differences([*known.values()])
    titles = short_names(found)
    return {run_id: ", ".join(f"{titles[name]} {shown(values[k])}" for name, values in found.items())
            for k, run_id in enumerate(known)}  # fmt: skip


def _unfinished(row: Mapping[str, Any], detail: str) -> Unfinished:
    about = (row["dataset"], row["regime"], row["model"], str(row["seed"]), detail)
    return Unfinished(row["run_id"], row["state"], row["message"], row["epoch"], row["epochs"], *about)


def _counts(states: Sequence[str]) -> dict[str, int]:
    counted = Counter(states)
    return {state: counted[state] for state in STATES if counted[state]}


def _submitted(runs: Path) -> list[str]:
    """Trainings that were submitted from this folder and have left nothing in it yet."""
    from jobs.backend import backends  # here, as reading results needs no jobs

    items = {item for backend in backends(runs) for item in backend.submitted_items()}
    return sorted(item for item in items if _RUN_ID.fullmatch(item) and not (runs / item).exists())
