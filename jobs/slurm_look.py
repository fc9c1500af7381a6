"""How runs stand on SLURM: from its queue and accounts, the heartbeats of their attempts, and what was submitted."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blurtrain.files import read_json
from blurtrain.run import STALE_SECONDS
from jobs import scheduler
from jobs.record import Record, Row, clock, duration, killed_by, last_line
from jobs.submissions import Array, Submission

WORKING = ("RUNNING", "COMPLETING", "SIGNALING")
SUSPENDED = ("SUSPENDED", "STOPPED")
FAILED = ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
HELD = re.compile(r"held|JobHold", re.IGNORECASE)
"""Reasons of jobs that wait until they are released by hand: JobHeldUser, launch failed requeued held, ..."""
NO_NODE = "BadConstraints"
"""The reason of a job that would wait for ever: it may start on no node that there is."""
START_SECONDS = 900.0
"""A job whose run has no heartbeat for so long from its start does not begin any more."""
FINISHING_SECONDS = 120.0
"""So long a result may take to be seen here once its job has ended: file systems in a network remember what was not
there."""


@dataclass(frozen=True)
class ArrayTask:
    """Where an item is in what was submitted."""

    submission: Submission
    array: Array
    task: int

    @property
    def job(self) -> str:
        """The job's id, as 12 or 12_3; empty where it was never recorded."""
        base = self.submission.jobs.get(self.array.name, "")
        return base if not base or len(self.array.tasks) == 1 else f"{base}_{self.task}"

    @property
    def items(self) -> tuple[str, ...]:
        """All that share the job."""
        return self.array.tasks[self.task]

    @property
    def away(self) -> str:
        """Which of its folders was not there where the job was started last; empty where all were."""
        return last_line(self.submission.folder / "away" / self.job).removeprefix("blurtrain: ")

    def exit_code(self, item: str) -> int | None:
        """Of the item's newest process here, as a shell has it; None where it has not ended, or with its job."""
        return (read_json(self.submission.folder / "logs" / f"{item}.exit.json") or {}).get("code")

    def outputs(self, item: str) -> list[Path]:
        """Where an item and its job print to, as far as it is there: the item's own output first."""
        folder = self.submission.folder
        job = [folder / self.array.name / f"{self.job}_0_log.{kind}" for kind in ("err", "out")]
        return [path for path in (folder / "logs" / f"{item}.log", *job) if path.exists()]


def array_tasks(records: Iterable[Submission], wanted: Iterable[str]) -> dict[str, list[ArrayTask]]:
    """Where each of the wanted items was submitted, oldest first; abandoned submissions do not count."""
    found: dict[str, list[ArrayTask]] = {item: [] for item in wanted}
    for submission in records:
        for array in () if submission.abandoned else submission.arrays:
            for task, items in enumerate(array.tasks):
                for item in items:
                    if item in found:
                        found[item].append(ArrayTask(submission, array, task))
    return found


def in_queue(found: Mapping[str, Sequence[ArrayTask]]) -> dict[str, tuple[ArrayTask, scheduler.Job]]:
    """The job of each item that has one in SLURM's queue, waiting or running. Raises JobError.

    An item that was cancelled has none, though its job may take a while to end, or go on with others.
    """
    queued = ((item, task, job) for item, task, job in _queued(found) if item not in task.submission.cancelled)
    return {item: (task, job) for item, task, job in queued}


def cancelled(found: Mapping[str, Sequence[ArrayTask]], runs: Path) -> Iterator[tuple[str, scheduler.Job, bool]]:
    """The items that were cancelled though their jobs are in the queue yet, and whether such a job has nothing else to
    do. Raises JobError."""

    def over(task: ArrayTask, item: str) -> bool:
        return item in task.submission.cancelled or (runs / item / "result.json").exists()

    for item, task, job in _queued(found):
        if item in task.submission.cancelled:
            yield item, job, all(over(task, other) for other in task.items)


def _queued(found: Mapping[str, Sequence[ArrayTask]]) -> Iterator[tuple[str, ArrayTask, scheduler.Job]]:
    names = {task.array.name for tasks in found.values() for task in tasks}
    jobs = {(job.name, job.task): job for job in scheduler.queue(sorted(names))}
    for item, tasks in found.items():
        for task in tasks:
            if job := jobs.get((task.array.name, task.task)):
                yield item, task, job


@dataclass(frozen=True)
class SlurmLook:
    """What SLURM has of a folder of runs (a `jobs.backend.Look`)."""

    folder: Path
    tasks: Mapping[str, Sequence[ArrayTask]]
    jobs: Mapping[str, scheduler.Job] = field(default_factory=dict)
    trouble: str = ""

    @functools.cached_property
    def _ended(self) -> Mapping[str, str]:
        """How the jobs that are gone have ended, by id."""
        gone = {tasks[-1].job.split("_")[0] for item, tasks in self.tasks.items() if item not in self.jobs}
        return scheduler.history(sorted(gone - {""}))

    @functools.cached_property
    def _now(self) -> float:
        return clock(self.folder)

    def holds(self, item: str) -> bool:
        """Whether an item has a job in the queue; where SLURM does not answer, whether it ever had one."""
        return item in self.jobs or (bool(self.trouble) and item in self.tasks)

    def made(self, record: Record) -> bool:
        """Whether one of its jobs made the newest attempt."""
        return bool(record.job) and record.job in {task.job for task in self.tasks.get(record.run.id, ())}

    def submitted(self, item: str) -> str:
        """The name of its newest submission, which begins with the time; empty where there is none."""
        return self.tasks[item][-1].submission.folder.name if item in self.tasks else ""

    def row(self, record: Record) -> Row:
        """How a run stands that has a job: running, queued, held, preempted, stale, or failed within a job that goes
        on."""
        job = self.jobs.get(record.run.id)
        if job is None:
            alive = record.run.beats()
            return {"state": "running" if alive else "queued", **(record.speed if alive else {}),
                    "message": self.trouble}  # fmt: skip
        row = {"job_id": job.id}
        if job.state in SUSPENDED:
            return {**row, "state": "preempted", "message": f"SLURM has suspended it on {job.nodes}"}
        return {**row, **(self._working(job, record) if job.state in WORKING else self._waiting(job, record))}

    def _waiting(self, job: scheduler.Job, record: Record) -> Row:
        task = self.tasks[record.run.id][-1]
        if job.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or HELD.search(job.reason):
            anew = f"`scontrol release {job.id}` releases it, `grid retry` starts it anew"
            cure = anew if task.submission.released else "submit again"
            return {"state": "held", "message": f"held in the queue: {job.reason}; {cure}"}
        if job.reason == NO_NODE:
            return {
                "state": "held",
                "message": "SLURM has no node left that it may start on; `grid retry` starts it anew",
            }
        reason = f"waits in the queue: {job.reason}"
        if record.job and record.job == task.job:
            then = "it goes on from its checkpoint" if record.run.saved_step() else "nothing was saved: it begins anew"
            return {"state": "preempted", "message": f"{reason}; {then}"}
        return {"state": "queued", "message": reason}

    def _working(self, job: scheduler.Job, record: Record) -> Row:
        task, beat, age = self.tasks[record.run.id][-1], record.beat, record.silence(self._now)
        if beat.get("ended") and len(task.array.tasks[task.task]) > 1 and record.error:
            return {"state": "failed", "message": record.error}  # it shares its job with others, which go on
        if age < job.seconds and beat.get("ended"):
            return {"state": "running", "message": f"ending on {job.nodes}"}
        if STALE_SECONDS < age < job.seconds:
            return {"state": "stale", "message": f"no heartbeat from {job.nodes} for {age:.0f} s"}
        if age > STALE_SECONDS or beat.get("ended"):
            if job.seconds > START_SECONDS:
                return {"state": "stale", "message": f"has not begun on {job.nodes} within {duration(job.seconds)}"}
            return {"state": "running", "message": f"starting on {job.nodes}"}
        unmoved = max(age, float(beat.get("unmoved_seconds", 0)))
        slow = f"; no progress for {unmoved:.0f} s" if unmoved > STALE_SECONDS else ""
        return {"state": "running", "message": f"{beat.get('doing', 'running')} on {job.nodes}{slow}", **record.speed}

    def last_row(self, record: Record) -> Row:
        """How a run stands whose last job is gone, by what SLURM and the run itself say of its end."""
        task = self.tasks[record.run.id][-1]
        job, ended = task.job, self._ended.get(task.job, "")
        row: Row = {"job_id": job}
        if record.run.id in task.submission.cancelled or ended == "CANCELLED":
            return {**row, "state": "cancelled"}
        if not job:
            return {"state": "stale" if record.attempts else "planned", "message": "its submission was interrupted"}
        if ended == "COMPLETED" and record.silence(self._now) < FINISHING_SECONDS:
            return {**row, "state": "running", "message": "finishing", "submitted": True}
        stopped = record.last_event["event"] == "stopped" and ended not in ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY")
        if ended in ("PREEMPTED", "TIMEOUT") or stopped:
            message = f"ended by {ended or 'a signal'}; {record.again}"
            return {**row, "state": "preempted", "message": message}
        if ended in FAILED or record.error:
            said = [killed_by(task.exit_code(record.run.id)), *map(last_line, task.outputs(record.run.id))]
            printed = (line for line in said if line)
            message = task.away or record.error or next(printed, "") or f"its job ended as {ended}"
            return {**row, "state": "failed", "message": message}
        return {**row, "state": "stale", "message": f"its job is gone; {record.again}"}
