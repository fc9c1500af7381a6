"""Jobs on SLURM: items become job arrays; what was interrupted on the way is found and repaired."""

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurtrain.errors import JobError
from jobs import scheduler
from jobs.cluster import Cluster, Resources, check_resources
from jobs.item import Item
from jobs.sbatch import parameters, refusals_in_one_line, warning_seconds
from jobs.slurm_look import ArrayTask, SlurmLook, array_tasks, in_queue
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
        return self.runs / ".slurm"

    def installed(self) -> bool:
        return scheduler.installed()

    def pause_seconds(self) -> float:
        """Longer where it is used at all, since others use its database as well."""
        return 10.0 if self.folder.exists() else 0.0

    def check(self, items: Sequence[Item], cluster: Cluster) -> None:
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
        executor = SlurmExecutor(submission.folder / array.name, python=self.python)
        named = parameters(array.name, wanted, len(array.tasks), self.runs, cluster, code)
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
        return cluster.at_a_time

    def look(self, items: Sequence[str]) -> SlurmLook:
        records = submissions(self.runs)
        tasks = {item: found for item, found in array_tasks(records, items).items() if found}
        try:
            return SlurmLook(self.folder, tasks, in_queue(tasks))
        except JobError as error:
            return SlurmLook(self.folder, tasks, trouble=str(error))

    def cancel(self, items: Collection[str] | None, wait: bool = False) -> list[str]:
        """A task that several items share is cancelled with all of them."""
        records = submissions(self.runs)
        if not records:
            return []
        known = self.submitted_items()
        found = array_tasks(records, sorted(known if items is None else known & set(items)))
        queued = in_queue(found)
        for item in queued:
            (found[item][-1].submission.folder / "cancelled" / item).touch()
        by_array: dict[str, set[str]] = {}
        for job in queued.values():
            by_array.setdefault(job.name, set()).add(job.id)
        sizes = {a.name: len(a.tasks) for s in records for a in s.arrays}
        for name, ids in by_array.items():
            whole = len(ids) == sizes[name]
            scheduler.cancel(sorted({i.split("_")[0] for i in ids}) if whole else sorted(ids))
        if strays := scheduler.queue([a.name for s in records if s.abandoned for a in s.arrays]):
            scheduler.cancel_arrays(strays)
        deadline = time.monotonic() + STRAY_SECONDS
        while wait and (left := in_queue({item: found[item] for item in queued})):
            if time.monotonic() > deadline:
                raise JobError(f"job {next(iter(left.values())).id} does not end; try again later")
            time.sleep(0.5)
        return sorted(queued)

    def submitted_items(self) -> set[str]:
        return {item for s in submissions(self.runs) for a in s.arrays for task in a.tasks for item in task}

    def outputs(self, item: str) -> list[Path]:
        return [path for task in self._tasks(item) for path in task.outputs(item)]

    def exit_code(self, item: str) -> int | None:
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
