"""Jobs on SLURM: items become job arrays; what was interrupted on the way is found and repaired."""

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurtrain.errors import JobError
from blurtrain.run import Run
from jobs import scheduler
from jobs.cluster import Cluster, Resources, check_resources
from jobs.item import Item
from jobs.sbatch import parameters, refusals_in_one_line, warning_seconds
from jobs.slurm_look import ArrayTask, SlurmLook, array_tasks, cancelled, in_queue
from jobs.slurm_task import Task, work
from jobs.snapshot import own_packages, snapshot, source_of
from jobs.submissions import Array, Submission, submissions

STRAY_SECONDS = 90.0
"""So long a cancelled job may take to end."""


@dataclass(frozen=True)
class Slurm:
    """SLURM, for one folder of runs (a `jobs.backend.Backend`)."""

    runs: Path
    python: str | None = None
    """The interpreter that its jobs run; None: the one that runs this."""

    @property
    def folder(self) -> Path:
        """Where submissions and copies of code lie."""
        return self.runs / ".slurm"

    def installed(self) -> bool:
        """Whether `sbatch` is on the PATH."""
        return scheduler.installed()

    def pause_seconds(self) -> float:
        """Longer where it is used at all, since others use its database as well."""
        return 10.0 if self.folder.exists() else 0.0

    def check(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Raise JobError where there is no SLURM here, or it has not what an item asks for."""
        if not scheduler.installed():
            raise JobError("no SLURM here (sbatch is not on the PATH): use --cluster local")
        for item in items:
            check_resources(item.resources, item.batch_size, cluster, f"run {item.id}")
        scheduler.check_partitions([cluster.partition, *(item.resources.partition for item in items)])

    def repair(self) -> None:
        """Submissions that were interrupted: those that SLURM has all jobs of are released; of the others none may
        stay."""
        records = submissions(self.runs)
        for submission in records:
            if submission.jobs and not submission.released:
                _release(submission)
        cut = [s for s in records if not s.jobs]
        for submission in cut:
            if not submission.abandoned:
                submission.abandon()
        _cancel_all([array.name for submission in cut for array in submission.arrays])

    def start(self, items: Sequence[Item], cluster: Cluster) -> None:
        """Submit on hold, and release once SLURM has taken the last one. Whatever comes in between, none stays."""
        self.folder.mkdir(exist_ok=True)
        self._let_cancelled_end([item.id for item in items])
        by_id = {item.id: item for item in items}
        code = snapshot(
            self.folder.resolve() / "code", {**own_packages(), **source_of({p for i in items for p in i.parts})}
        )
        arrays = list(_arrays(items, cluster))
        submission = Submission.begin(self.folder.resolve(), arrays, cluster=cluster.model_dump(), code=code.name)
        ids: dict[str, str] = {}
        try:
            for array in submission.arrays:
                ids[array.name] = self._submit(submission, array, by_id, cluster, code)
            submission = submission.record(ids)
        except BaseException:
            submission.abandon()
            with contextlib.suppress(JobError):  # else the next submission does
                _cancel_all([array.name for array in submission.arrays])
            raise
        _release(submission)

    def _submit(
        self, submission: Submission, array: Array, items: Mapping[str, Item], cluster: Cluster, code: Path
    ) -> str:
        """Submit an array on hold; its job id."""
        from submitit import SlurmExecutor

        wanted = array.resources
        folder = submission.folder / array.name
        executor = SlurmExecutor(folder, python=self.python)
        named = parameters(array.name, folder, wanted, len(array.tasks), self.runs, cluster, code)
        named["additional_parameters"]["hold"] = True
        executor.update_parameters(**named)
        tasks = [
            Task(
                self.runs.resolve(),
                submission.folder,
                tuple(items[item] for item in names),
                wanted,
                wanted.cpus_per_gpu or 1,
                cluster.failures,
                warning_seconds(wanted, cluster),
                cluster.start_seconds,
            )
            for names in array.tasks
        ]
        with refusals_in_one_line(cluster):
            return str(executor.map_array(work, tasks)[0].job_id).split("_")[0]

    def jobs_at_a_time(self, cluster: Cluster) -> int:
        """As the profile says; 0: as SLURM decides."""
        return cluster.at_a_time

    def look(self, items: Sequence[str]) -> SlurmLook:
        """By what `squeue` says; where that fails, `trouble` says why."""
        records = submissions(self.runs)
        tasks = {item: found for item, found in array_tasks(records, items).items() if found}
        try:
            return SlurmLook(self.folder, tasks, {item: job for item, (_, job) in in_queue(tasks).items()})
        except JobError as error:
            return SlurmLook(self.folder, tasks, trouble=str(error))

    def cancel(self, items: Collection[str] | None, wait: bool = False) -> list[str]:
        """Stop these items, or all, that are in the queue; returns them. `wait`: until they have ended; raises JobError
        where one does not. A job that several items share goes on with the others: it sees for itself which are
        cancelled."""
        records = submissions(self.runs)
        if not records:
            return []
        known = self.submitted_items()
        wanted = sorted(known if items is None else known & set(items))
        queued = in_queue(array_tasks(records, wanted))
        for item, (task, _) in queued.items():
            (task.submission.folder / "cancelled" / item).touch()
        self._end_cancelled(wanted)
        if strays := scheduler.queue([a.name for s in records if s.abandoned for a in s.arrays]):
            scheduler.cancel_arrays(strays)
        if wait and (left := self._await_cancelled(list(queued))):
            raise JobError(f"job {left[0].id} does not end; try again later")
        return sorted(queued)

    def _end_cancelled(self, items: Sequence[str]) -> None:
        """Cancel those jobs of these items that have nothing else to do."""
        by_array: dict[str, set[str]] = {}
        for _, job, alone in self._cancelled(items):
            if alone:
                by_array.setdefault(job.name, set()).add(job.id)
        sizes = {a.name: len(a.tasks) for s in submissions(self.runs) for a in s.arrays} if by_array else {}
        for name, ids in by_array.items():
            whole = len(ids) == sizes[name]
            scheduler.cancel(sorted({i.split("_")[0] for i in ids}) if whole else sorted(ids))

    def _await_cancelled(self, items: Sequence[str]) -> list[scheduler.Job]:
        """Wait until nothing works any more on those of these items that were cancelled; the jobs that still do after
        STRAY_SECONDS."""
        deadline = time.monotonic() + STRAY_SECONDS
        while True:
            # In a job that others share, a run has ended when it says so.
            found = self._cancelled(items)
            left = [job for item, job, alone in found if alone or Run(self.runs / item).beats()]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)

    def _let_cancelled_end(self, items: Sequence[str]) -> None:
        """What was cancelled a moment ago is given time to save: a later attempt would keep it from that. Where its job
        does not end at all, since its node is away, say, it does no harm."""
        marked = {item for s in submissions(self.runs) for item in s.cancelled}
        if again := sorted(marked.intersection(items)):
            self._end_cancelled(again)
            self._await_cancelled(again)

    def _cancelled(self, items: Sequence[str]) -> Iterator[tuple[str, scheduler.Job, bool]]:
        return cancelled(array_tasks(submissions(self.runs), items), self.runs)

    def submitted_items(self) -> set[str]:
        """All items of any submission."""
        return {item for s in submissions(self.runs) for a in s.arrays for task in a.tasks for item in task}

    def outputs(self, item: str) -> list[Path]:
        """The files that the item's jobs have printed into, newest first."""
        return [path for task in self._tasks(item) for path in task.outputs(item)]

    def exit_code(self, item: str) -> int | None:
        """Of the item's process in its newest job; None where that has left none."""
        newest = self._tasks(item)[:1]
        return newest[0].exit_code(item) if newest else None

    def _tasks(self, item: str) -> list[ArrayTask]:
        """Those that the item was submitted in, newest first."""
        return array_tasks(submissions(self.runs), [item])[item][::-1]


def _release(submission: Submission) -> None:
    try:
        scheduler.release(sorted(submission.jobs.values()))
    except JobError as error:
        raise JobError(f"{error}; the jobs are submitted, but on hold: submit again to release them") from None
    submission.mark_released()


def _cancel_all(names: Sequence[str]) -> None:
    """Cancel all jobs of these names, and wait until they are gone."""
    deadline = time.monotonic() + STRAY_SECONDS
    while names and (strays := scheduler.queue(names)):
        scheduler.cancel_arrays(strays)
        if time.monotonic() > deadline:
            raise JobError(f"job {strays[0].id} of an interrupted submission cannot be cancelled; try again later")
        time.sleep(0.5)


def _arrays(items: Iterable[Item], cluster: Cluster) -> Iterator[tuple[Resources, list[tuple[str, ...]]]]:
    """Items that ask for the same, in arrays as large as SLURM takes them."""
    alike: dict[Resources, list[str]] = {}
    for item in items:
        alike.setdefault(cluster.complete(item.resources), []).append(item.id)
    limit = cluster.max_array or scheduler.max_array()
    for resources, ids in alike.items():
        tasks = [tuple(ids[k : k + resources.pack]) for k in range(0, len(ids), resources.pack)]
        for k in range(0, len(tasks), limit):
            yield resources, tasks[k : k + limit]
