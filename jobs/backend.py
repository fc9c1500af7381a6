"""Where jobs wait and run: the workers of this machine, or SLURM. All else speaks to them through this.

The way of a grid: `jobs.grid.expand` -> members -> `jobs.item.training` -> items -> `submit` here -> `Backend.start`;
and back: `Backend.look` -> `jobs.states.states`, a row a run.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from blurtrain.errors import JobError, SettingsError
from blurtrain.files import held
from blurtrain.run import Run, existing
from jobs.cluster import Cluster
from jobs.item import Item
from jobs.local import Local
from jobs.record import Record, Row
from jobs.slurm import Slurm
from jobs.submissions import submissions

PATIENCE_SECONDS = 300.0
"""So long a submission waits for another one from the same folder of runs."""


class Look(Protocol):
    """A backend's queue, looked at once for many items."""

    @property
    def trouble(self) -> str:
        """Why it could not be looked at; empty where it could."""

    def holds(self, item: str) -> bool:
        """Whether an item waits or runs here."""

    def row(self, record: Record) -> Row:
        """How a run stands that is held here."""

    def made(self, record: Record) -> bool:
        """Whether a job of this backend made the run's newest attempt: then that lives only if the run is held."""

    def submitted(self, item: str) -> str:
        """When an item was submitted here last, as a stamp that sorts; empty where it never was."""

    def last_row(self, record: Record) -> Row:
        """How a run stands whose last job was here and is gone."""


class Backend(Protocol):
    """What runs jobs for one folder of runs."""

    @property
    def runs(self) -> Path:
        """The folder of run directories."""

    def installed(self) -> bool:
        """Whether this machine can submit to it."""

    def pause_seconds(self) -> float:
        """How long to wait between two looks at it."""

    def check(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Raise JobError where it would not take these items."""

    def repair(self) -> None:
        """Finish, or undo, submissions that were interrupted."""

    def start(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Submit these items, all or none, and return."""

    def jobs_at_a_time(self, cluster: Cluster) -> int:
        """How many jobs run at the same time, 0: not known."""

    def look(self, items: Sequence[str]) -> Look:
        """What it has of these items now."""

    def cancel(self, items: Collection[str] | None, wait: bool = False) -> list[str]:
        """Stop what waits or runs of these items, or of all; returns those. `wait`: until they have ended."""

    def submitted_items(self) -> set[str]:
        """All items that were ever submitted."""

    def outputs(self, item: str) -> list[Path]:
        """The files that the jobs of an item have printed into, newest first."""

    def exit_code(self, item: str) -> int | None:
        """Of the item's newest process; None where there was none, or it was killed with its job."""


def backends(runs: Path) -> list[Backend]:
    """All there are; SLURM first, since asking it takes longest, and what ends meanwhile has left its result."""
    return [Slurm(runs), Local(runs)]


def backend_of(cluster: Cluster, runs: Path) -> Backend:
    """The one that a profile is for."""
    return Slurm(runs) if cluster.scheduler == "slurm" else Local(runs)


def default_cluster(runs: Path) -> str:
    """The profile where none is named: this machine. Raises SettingsError where SLURM was used before, so that a login
    node does not train a grid by mistake."""
    if submissions(runs):
        raise SettingsError(f"{runs}: was submitted to SLURM before; say --cluster PROFILE, or --cluster local")
    return "local"


def submit(items: Sequence[Item], backend: Backend, cluster: Cluster) -> list[Item]:
    """Submit the items that are neither done nor on their way on any backend, and return those.

    All or none. Safe to repeat, to kill at any moment, and to call twice at the same time. Raises JobError, with
    nothing submitted, where the backend would not take it.
    """
    backend.check(items, cluster)
    with _alone(backend.runs):
        backend.repair()
        absent = missing(items, backend.runs)
        if absent:
            backend.start(absent, cluster)
    return absent


@contextlib.contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Let one submission at a time look at what is missing, and start it."""
    lock = runs / ".submitting"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise JobError(f"{runs}: cannot be written: {error.strerror}; choose another --runs") from None
    with held(lock, patience=PATIENCE_SECONDS) as alone:
        if not alone:
            raise JobError(f"{lock}: another submission has been running for {PATIENCE_SECONDS:g} s; try again later")
        yield


def missing(items: Sequence[Item], runs: Path) -> list[Item]:
    """Those neither done, nor waiting or running on a backend, nor trained by hand. Raises JobError where one does
    not answer."""
    names = existing(runs)

    def done(item: Item) -> bool:
        return item.id in names and (runs / item.id / "result.json").exists()

    undone = {item.id: item for item in items if not done(item)}
    looks = [backend.look(list(undone)) for backend in backends(runs) if backend.installed()]
    if trouble := next((look.trouble for look in looks if look.trouble), ""):
        raise JobError(trouble)
    names = existing(runs)  # a job that ended since has left its result
    return [
        item
        for item in undone.values()
        if not any(look.holds(item.id) for look in looks)
        and not done(item)
        and not trained_by_hand(Record.of(Run(runs / item.id), item.id in names), looks)
    ]


def trained_by_hand(record: Record, looks: Sequence[Look]) -> bool:
    """Whether a process is training this run that no backend has started."""
    return bool(record.attempts) and not any(look.made(record) for look in looks) and record.run.beats()
