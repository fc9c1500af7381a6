"""Jobs on this machine: a few workers, started through submitit's local executor, take items from a queue.

    <runs>/.local/locks/<item>           held (flock) by whoever is at that item: none runs twice at a time
    <runs>/.local/code/<hash>/           copies of users' own code, see jobs.snapshot
    <runs>/.local/queues/<stamp>/        one submission: queue.json (its items), commands.json, settings/, logs/,
                                         taken/<item>, cancelled/<item>, workers/<k>

A lock is released by the kernel when its holder dies, however it dies, so nothing has to be cleaned up.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurtrain.errors import REQUEUE, JobError
from blurtrain.files import is_held, read_json, write_json
from blurtrain.run import existing
from jobs.cluster import Cluster
from jobs.item import Item
from jobs.local_worker import work
from jobs.record import Record, Row, killed_by, last_line
from jobs.snapshot import SAFE_PATH, snapshot, source_of

A_YEAR = 365 * 24 * 60
"""In minutes: submitit ends its local jobs after two unless it is given another limit."""
START_SECONDS = 60.0


@dataclass(frozen=True)
class Local:
    """The workers of this machine, for one folder of runs (a `jobs.backend.Backend`)."""

    runs: Path

    @property
    def folder(self) -> Path:
        """Where queues, locks and copies of code lie."""
        return self.runs / ".local"

    def installed(self) -> bool:
        """Always."""
        return True

    def pause_seconds(self) -> float:
        """One: to look at files costs little."""
        return 1.0

    def check(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Any item can be tried here."""

    def repair(self) -> None:
        """Nothing can be half submitted here: workers start when their queue is whole."""

    def start(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Start as many workers as `jobs_at_a_time` says."""
        for name in ("locks", "queues"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        files = source_of({name for item in items for name in item.parts})
        code = snapshot(self.folder / "code", files).resolve() if files else None
        stamp = time.strftime("%Y%m%d-%H%M%S-", time.gmtime())
        queue = Path(tempfile.mkdtemp(prefix=stamp, dir=self.folder / "queues"))
        for name in ("settings", "logs", "taken", "cancelled", "workers"):
            (queue / name).mkdir()
        write_json(queue / "commands.json", {item.id: item.words((queue / "settings").resolve()) for item in items})
        write_json(queue / "queue.json", [item.id for item in items])
        _start_workers(queue, self.runs.resolve(), min(self.jobs_at_a_time(cluster), len(items)), code)

    def jobs_at_a_time(self, cluster: Cluster) -> int:
        """By default one a processor core, but no more than eight."""
        return cluster.at_a_time or min(len(os.sched_getaffinity(0)), 8)

    def look(self, items: Sequence[str]) -> "LocalLook":
        """From the queues that have a living worker, and the locks that are held."""
        queues = self._queues()
        waiting = {
            item: queue.name
            for queue, held_here in queues.items()
            if _has_workers(queue)
            for item in set(held_here) - existing(queue / "taken") - existing(queue / "cancelled")
        }
        newest = {item: queue.name for queue, held_here in queues.items() for item in held_here}
        return LocalLook(self, waiting, newest, existing(self.folder / "locks"))

    def cancel(self, items: Collection[str] | None, wait: bool = False) -> list[str]:
        """Stop these items, or all, of those that wait for a worker or have one; returns them. Workers see it for
        themselves, and let runs save. `wait`: until nothing works on these any more."""
        look = self.look([])
        stopped = []
        for queue, held_here in self._queues().items():
            for item in held_here if _has_workers(queue) else ():
                here = look.newest[item] == queue.name and look.holds(item)
                if here and (items is None or item in items) and not (queue / "cancelled" / item).exists():
                    (queue / "cancelled" / item).touch()
                    stopped.append(item)
        while wait and any(is_held(self.folder / "locks" / item) for item in stopped):
            time.sleep(0.2)
        return stopped

    def submitted_items(self) -> set[str]:
        """All items of any queue."""
        return {item for held_here in self._queues().values() for item in held_here}

    def outputs(self, item: str) -> list[Path]:
        """The logs of an item, the newest queue's first."""
        return sorted(self.folder.glob(f"queues/*/logs/{item}.log"), reverse=True)

    def exit_code(self, item: str) -> int | None:
        """Of the item's newest process; None where none has ended."""
        return self.ended(item).get("code")

    def ended(self, item: str) -> Mapping[str, int]:
        """The code and the pid of the newest process of an item; empty where there is none that has ended."""
        logs = self.outputs(item)
        return (read_json(logs[0].with_suffix(".exit.json")) or {}) if logs else {}

    def _queues(self) -> dict[Path, list[str]]:
        """The queues, oldest first, and the items submitted to each."""
        folders = sorted((self.folder / "queues").glob("*"))
        return {queue: list(read_json(queue / "queue.json") or []) for queue in folders}


@dataclass(frozen=True)
class LocalLook:
    """What the workers of this machine have (a `jobs.backend.Look`)."""

    local: Local
    waiting: Mapping[str, str]
    """Items that wait for a living worker, with the name of their queue."""
    newest: Mapping[str, str]
    """The newest queue that each item was ever in."""
    locks: Collection[str]
    """Items that a worker has ever been at."""
    trouble: str = ""

    def holds(self, item: str) -> bool:
        """Whether an item waits for a living worker, or its lock is held."""
        return item in self.waiting or self._is_running(item)

    def _is_running(self, item: str) -> bool:
        return item in self.locks and is_held(self.local.folder / "locks" / item)

    def row(self, record: Record) -> Row:
        """How a run stands that is held here: running or queued."""
        run_id = record.run.id
        if self._is_running(run_id) or run_id not in self.waiting:
            return {"state": "running", **record.speed}
        return {"state": "queued", "job_id": self.waiting[run_id]}

    def made(self, record: Record) -> bool:
        """Never."""
        return False  # a lock says more than an attempt can: it is held as long as the process lives

    def submitted(self, item: str) -> str:
        """The name of the newest queue that it was in, which begins with the time; empty where there is none."""
        return self.newest.get(item, "")

    def last_row(self, record: Record) -> Row:
        """How a run stands whose worker has left it."""
        run_id = record.run.id
        if (self.local.folder / "queues" / self.newest[run_id] / "cancelled" / run_id).exists():
            return {"state": "cancelled"}
        ended = self.local.ended(run_id)
        code, own = ended.get("code"), record.attempts_of(ended.get("pid"))
        if code and own and own[-1] != record.attempts[-1]:
            taken_over = f"attempt {int(own[-1].name)} was superseded by attempt {int(record.attempts[-1].name)}"
            row = record.ended()
            return {**row, "message": f"{taken_over}: {row['message']}"}
        if code == REQUEUE:
            return record.stopped
        if code:
            said = killed_by(code) or (record.error if own else "") or last_line(self.local.outputs(run_id)[0])
            return {"state": "failed", "message": said}
        return record.ended()


def _has_workers(queue: Path) -> bool:
    return any(is_held(worker) for worker in (queue / "workers").glob("[0-9]*"))


def _start_workers(queue: Path, runs: Path, count: int, code: Path | None) -> None:
    import submitit

    executor = submitit.LocalExecutor(folder=queue / "submitit")
    executor.update_parameters(timeout_min=A_YEAR, tasks_per_node=1)
    cores, gpus = sorted(os.sched_getaffinity(0)), gpus_here()
    # Inherited: workers outlive this terminal and its Ctrl-C, and no jobs.py in this folder takes the place of ours.
    ignored = _signals_ignored(signal.SIGHUP, signal.SIGINT)
    with ignored, _without_working_folder(), _output_to(queue / "submitit" / "processes.log"):
        for k in range(count):
            own = cores[k::count] or [cores[k % len(cores)]]
            # None: as torch finds them, since submitit would hide them.
            gpu = gpus[k % len(gpus)] if gpus else "" if "CUDA_VISIBLE_DEVICES" in os.environ else None
            executor.submit(work, queue.resolve(), runs, k, own, gpu, code)
    deadline = time.monotonic() + START_SECONDS
    while not all(
        is_held(queue / "workers" / str(k)) or (queue / "workers" / f"{k}.done").exists() for k in range(count)
    ):
        if time.monotonic() > deadline:
            raise JobError(f"{queue}: the workers did not start in {START_SECONDS:g} s; see {queue / 'submitit'}")
        time.sleep(0.05)


def gpus_here() -> list[str]:
    """The GPUs that this process was given, or that the machine has; found without torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    return [str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """What is started meanwhile prints there, and keeps no pipe of ours open: `grid submit | tee` would wait for it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as restored, log.open("ab") as file:
        for number in (1, 2):
            kept = os.dup(number)
            restored.callback(os.close, kept)
            restored.callback(os.dup2, kept, number)
            os.dup2(file.fileno(), number)
        yield


@contextlib.contextmanager
def _without_working_folder() -> Iterator[None]:
    """What Python is started with meanwhile does not import from the working folder first."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        del os.environ[SAFE_PATH]
        if before is not None:
            os.environ[SAFE_PATH] = before


@contextlib.contextmanager
def _signals_ignored(*signals: signal.Signals) -> Iterator[None]:
    before = [signal.signal(s, signal.SIG_IGN) for s in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
