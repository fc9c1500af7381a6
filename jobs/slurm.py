"""Grids on SLURM: what is missing becomes job arrays; what was interrupted on the way is found and put right."""

import contextlib
import io
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurtrain.errors import JobError
from blurtrain.files import held, read_json
from blurtrain.run import Run
from jobs import local, node, scheduler
from jobs.cluster import Cluster, Resources, check_resources
from jobs.grid import Member
from jobs.snapshot import snapshot
from jobs.submissions import Array, Submission, submissions
from jobs.work import Task, work

PATIENCE_SECONDS = 300.0
STRAY_SECONDS = 90.0
RESTARTS = 64
"""A job that was put back so often, for whatever reason, does not look for yet another node with the shared folders."""


@dataclass(frozen=True)
class ArrayTask:
    """Where a run is in what was submitted."""

    submission: Submission
    array: Array
    task: int

    @property
    def job(self) -> str:
        """The job's id, as 12 or 12_3; empty where nobody knows it."""
        base = self.submission.jobs.get(self.array.name, "")
        return base if not base or len(self.array.tasks) == 1 else f"{base}_{self.task}"


def places(records: Iterable[Submission], wanted: Iterable[str]) -> dict[str, list[ArrayTask]]:
    """Where each of the wanted runs was submitted, oldest first; abandoned submissions do not count."""
    found: dict[str, list[ArrayTask]] = {run_id: [] for run_id in wanted}
    for submission in records:
        for array in () if submission.abandoned else submission.arrays:
            for task, members in enumerate(array.tasks):
                for run_id in members:
                    if run_id in found:
                        found[run_id].append(ArrayTask(submission, array, task))
    return found


def in_queue(found: Mapping[str, Sequence[ArrayTask]]) -> dict[str, scheduler.Job]:
    """The job of each run that has one in SLURM's queue, waiting or running."""
    names = {place.array.name for places_ in found.values() for place in places_}
    jobs = {(job.name, job.task): job for job in scheduler.queue(sorted(names))}
    return {
        run_id: job
        for run_id, places_ in found.items()
        for place in places_
        if (job := jobs.get((place.array.name, place.task)))
    }


def submit(members: Sequence[Member], runs: Path, cluster: Cluster, python: str | None = None) -> list[Member]:
    """Submit the members that are neither done nor on their way, and return those; their jobs run `python`, which is
    the interpreter that runs this unless something else is named.

    All or none: jobs are on hold until SLURM has taken the last one. Safe to repeat, to kill at any moment, and to call
    twice at the same time. Raises JobError, with nothing submitted, where the cluster would not take it.
    """
    runs = runs.resolve()
    if not scheduler.installed():
        raise JobError("no SLURM here (sbatch is not on the PATH): use --cluster local")
    for member in members:
        where = f"run {member.run_id}"
        check_resources(member.resources, member.settings.optimisation.batch_size, cluster, where)
    scheduler.check_partitions([cluster.partition, *(m.resources.partition for m in members)])
    slurm = runs / ".slurm"
    try:
        slurm.mkdir(parents=True, exist_ok=True)
        lock = slurm / "lock"
        lock.touch()
    except OSError as error:
        raise JobError(f"{runs}: cannot be written: {error.strerror}; choose another --runs") from None
    with held(lock, patience=PATIENCE_SECONDS) as alone:
        if not alone:
            raise JobError(f"{lock}: another submission has been at it for {PATIENCE_SECONDS:g} s; try again later")
        _take_up(submissions(runs))
        absent = missing(members, runs)
        if absent:
            code = snapshot(slurm / "code")
            arrays = list(_arrays(absent, cluster))
            submission = Submission.begin(slurm, arrays, cluster=cluster.model_dump(), code=code.name)
            _let_go(_submit_arrays(submission, absent, runs, cluster, code, python))
    return absent


def _let_go(submission: Submission) -> None:
    try:
        scheduler.release(sorted(submission.jobs.values()))
    except JobError as error:
        raise JobError(f"{error}; the jobs are submitted, but on hold: submit again to let them go") from None
    submission.mark_released()


def missing(members: Sequence[Member], runs: Path) -> list[Member]:
    """Those neither done, nor in SLURM's queue, nor at work on this machine."""
    found = places(submissions(runs), [m.run_id for m in members])
    queued = in_queue(found)  # before the results are looked at: a job that ends in between has left one
    there = existing(runs)
    waiting = local.queued(runs)

    def absent(member: Member) -> bool:
        if member.run_id in queued or member.run_id in waiting:
            return False
        if member.run_id not in there:
            return not local.is_locked(runs, member.run_id)
        run = Run(runs / member.run_id)
        if (run.path / "result.json").exists():
            return False
        return ours(run, found[member.run_id]) or not local.running(runs, member.run_id)

    return [member for member in members if absent(member)]


def existing(runs: Path) -> set[str]:
    """The names of what lies in the folder of runs."""
    try:
        return {path.name for path in runs.iterdir()}
    except FileNotFoundError:
        return set()


def ours(run: Run, found: Sequence[ArrayTask]) -> bool:
    """Whether the newest attempt was made by one of these jobs: then SLURM knows whether it still lives."""
    attempts = run.attempts()
    origin = (read_json(attempts[-1] / "origin.json") if attempts else None) or {}
    return bool(origin.get("job")) and origin["job"] in {place.job for place in found}


def _take_up(records: Sequence[Submission]) -> None:
    """Submissions that were cut short: those that SLURM has all jobs of are let go, of the others none may stay."""
    for submission in records:
        if submission.jobs and not submission.released:
            _let_go(submission)
    cut = [s for s in records if not s.jobs]
    for submission in cut:
        if not submission.abandoned:
            submission.abandon()
    _await_gone([array.name for submission in cut for array in submission.arrays])


def _await_gone(names: Sequence[str]) -> None:
    """Cancel all jobs of these names, and wait until they are gone."""
    deadline = time.monotonic() + STRAY_SECONDS
    while names and (strays := scheduler.queue(names)):
        scheduler.cancel_arrays(strays)
        if time.monotonic() > deadline:
            raise JobError(f"job {strays[0].id} of an interrupted submission cannot be cancelled; try again later")
        time.sleep(0.5)


def _arrays(members: Sequence[Member], cluster: Cluster) -> Iterator[tuple[Resources, list[tuple[str, ...]]]]:
    """Members that ask for the same, in arrays as large as SLURM takes them."""
    alike: dict[Resources, list[str]] = {}
    for member in members:
        alike.setdefault(cluster.complete(member.resources), []).append(member.run_id)
    limit = cluster.max_array or scheduler.max_array()
    for resources, ids in alike.items():
        tasks = [tuple(ids[k : k + resources.pack]) for k in range(0, len(ids), resources.pack)]
        for k in range(0, len(tasks), limit):
            yield resources, tasks[k : k + limit]


def _submit_arrays(
    submission: Submission,
    members: Sequence[Member],
    runs: Path,
    cluster: Cluster,
    code: Path,
    python: str | None,
) -> Submission:
    """Submit them on hold, and write down their job ids. Whatever comes in between, none stays."""
    settings = {m.run_id: m.settings.model_dump_json() for m in members}
    ids: dict[str, str] = {}
    try:
        for array in submission.arrays:
            ids[array.name] = _submit_array(submission, array, settings, runs, cluster, code, python)
        return submission.record(ids)
    except BaseException:
        submission.abandon()
        with contextlib.suppress(JobError):  # else the next submission sees to it
            _await_gone([array.name for array in submission.arrays])
        raise


def _submit_array(
    submission: Submission,
    array: Array,
    settings: Mapping[str, str],
    runs: Path,
    cluster: Cluster,
    code: Path,
    python: str | None,
) -> str:
    from submitit import SlurmExecutor

    executor = SlurmExecutor(submission.folder / array.name, python=python)
    named = sbatch_parameters(array.name, array.resources, len(array.tasks), runs, cluster, code)
    named["additional_parameters"]["hold"] = True
    executor.update_parameters(**named)
    tasks = [
        Task(
            runs,
            submission.folder,
            tuple((run_id, settings[run_id]) for run_id in run_ids),
            array.resources,
            array.resources.cpus_per_gpu or 1,
            cluster.failures,
            warning_seconds(array.resources, cluster),
            cluster.start_seconds,
        )
        for run_ids in array.tasks
    ]
    with refused_words(cluster):
        return str(executor.map_array(work, tasks)[0].job_id).split("_")[0]


@contextlib.contextmanager
def refused_words(cluster: Cluster) -> Iterator[None]:
    """sbatch in here is told by this profile alone; what it refuses becomes a JobError of one line."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        usual = {f"SBATCH_{name.upper()}" for name in ("account", "qos") if name not in cluster.sbatch}
        # What sbatch says would be printed by submitit as well.
        with scheduler.own_environment(kept=usual), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, OSError) as error:
        raise JobError(f"SLURM refused the jobs ({_words(error)}); nothing was submitted") from None


def _words(error: Exception) -> str:
    """What sbatch itself said, in what submitit made of it."""
    lines = [line for line in str(error).splitlines() if "sbatch: error:" in line] or [scheduler.last_line(str(error))]
    return "; ".join(line.split("sbatch: error:")[-1].strip() for line in lines)


def warning_seconds(wanted: Resources, cluster: Cluster) -> int:
    """How long before its time limit a run is told to stop: half of its time at most, else it would be at once."""
    return min(cluster.signal_seconds, 30 * (wanted.minutes or cluster.minutes))


def sbatch_parameters(
    name: str, wanted: Resources, tasks: int, runs: Path, cluster: Cluster, code: Path
) -> dict[str, Any]:
    """What submitit is told of an array of so many tasks: how to ask for it, and how its jobs begin."""
    parameters = {
        "job_name": name,
        "partition": wanted.partition,
        "time": wanted.minutes or cluster.minutes,
        "nodes": wanted.nodes,
        "ntasks_per_node": wanted.tasks,
        "cpus_per_task": wanted.cpus_per_gpu,
        "gpus_per_node": wanted.gpus or None,
        "mem_per_gpu": cluster.memory_per_gpu,
        "signal_delay_s": warning_seconds(wanted, cluster),
        "array_parallelism": cluster.at_a_time or tasks,
        "exclude": ",".join(sorted(node.unfit(runs))) or None,
        "wckey": None,
        # The shell passes over what SLURM signals to it, and waits on for the work to end.
        "setup": [*cluster.setup, "trap : TERM USR1 USR2", f"export PYTHONPATH={shlex.quote(str(code))}",
                  "export PYTHONSAFEPATH=1", _node_has(sys.executable, code)],
        "use_srun": False,
        "additional_parameters": {"requeue": True, **cluster.sbatch},
    }  # fmt: skip
    return {key: value for key, value in parameters.items() if value is not None or key == "wckey"}


def _node_has(python: str, code: Path) -> str:
    """A line of shell: a node without the shared folders is left to others. (jobs.node could not even begin there.)"""
    wanted = f"[ -x {shlex.quote(python)} ] && [ -d {shlex.quote(str(code))} ]"
    # One task of each array has the array's own id as its job id: by that all tasks would be put back.
    again = (
        "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}; job=${job:-$SLURM_JOB_ID}; "
        "old=$(scontrol --oneliner show job $job | sed -n 's/.* ExcNodeList=\\([^ (]*\\).*/\\1/p'); "
        f'if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RESTARTS} ] && scontrol requeue $job; then '
        'scontrol update JobId=$job ExcNodeList="$SLURMD_NODENAME${old:+,$old}"; sleep 60; fi'
    )
    return f"{wanted} || {{ echo {shlex.quote(f'no {python} or no {code} on this node')} >&2; {again}; exit 1; }}"


def cancel(members: Sequence[Member] | None, runs: Path, wait: bool = False) -> list[str]:
    """Cancel the jobs of these runs, or of all in this folder of runs; returns the runs that had one.

    A task that several runs share is cancelled with all of them. `wait`: until SLURM has forgotten them.
    """
    records = submissions(runs)
    if not records:
        return []
    wanted = {r for s in records for a in s.arrays for t in a.tasks for r in t}
    if members is not None:
        wanted &= {m.run_id for m in members}
    found = places(records, sorted(wanted))
    queued = in_queue(found)
    for run_id in queued:
        (found[run_id][-1].submission.folder / "cancelled" / run_id).touch()
    whole: dict[str, set[str]] = {}
    for job in queued.values():
        whole.setdefault(job.name, set()).add(job.id)
    sizes = {a.name: len(a.tasks) for s in records for a in s.arrays}
    for name, ids in whole.items():
        everything = len(ids) == sizes[name]
        scheduler.cancel(sorted({i.split("_")[0] for i in ids}) if everything else sorted(ids))
    if strays := scheduler.queue([a.name for s in records if s.abandoned for a in s.arrays]):
        scheduler.cancel_arrays(strays)
    deadline = time.monotonic() + STRAY_SECONDS
    while wait and (left := in_queue({run_id: found[run_id] for run_id in queued})):
        if time.monotonic() > deadline:
            raise JobError(f"job {next(iter(left.values())).id} does not end; try again later")
        time.sleep(0.5)
    return sorted(queued)
