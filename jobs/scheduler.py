"""What SLURM says and does: each function is one call of one of its commands, with a time limit."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from blurtrain.errors import JobError, nearest

SECONDS = 60
"""SLURM's commands go on trying for minutes where the controller does not answer."""
UNKNOWN = "Invalid job id"
NEEDED = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
"""By these SLURM's commands find their cluster."""
WORDS = 500
"""So many job ids or names go into one command line."""


@dataclass(frozen=True)
class Job:
    """A job, or one task of an array, that is in the queue."""

    id: str
    name: str
    task: int
    """Its place in the array; 0 for a job that is none."""
    state: str
    """PENDING, RUNNING, COMPLETING, ..."""
    reason: str
    nodes: str
    seconds: int
    """Since it was started, this time."""


def installed() -> bool:
    """Whether `sbatch` is on the PATH."""
    return shutil.which("sbatch") is not None


def ask(*command: str, seconds: float = SECONDS) -> str:
    """What one of SLURM's commands prints; raises JobError with the command's own words where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=_environment())
    except FileNotFoundError:
        raise JobError(f"no SLURM here ({command[0]} is not on the PATH): use --cluster local") from None
    except subprocess.TimeoutExpired:
        raise JobError(f"SLURM's {command[0]} has not answered for {seconds:g} s; is slurmctld up?") from None
    if done.returncode:
        raise JobError(f"SLURM's {command[0]} failed: {last_line(done.stderr) or f'exit code {done.returncode}'}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line that is not empty."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _environment() -> dict[str, str]:
    """Without what would change the form of the answers."""
    return {
        k: v for k, v in os.environ.items() if not re.match(r"(SQUEUE|SACCT|SCANCEL|SINFO|SCONTROL|SLURM_TIME)_", k)
    }


@contextlib.contextmanager
def own_environment(kept: Iterable[str] = ()) -> Iterator[None]:
    """Without what would change the jobs that are submitted here: variables that say how (SBATCH_*, which count for
    more than what a job's script says), or that are of a job in which we run ourselves. `kept` stay nevertheless."""
    of_others = re.compile(r"(SBATCH|SLURM|SLURMD|SRUN|SUBMITIT)_|(MASTER_(ADDR|PORT)|(LOCAL_)?(RANK|WORLD_SIZE))$")
    theirs = {k: os.environ.pop(k) for k in list(os.environ) if of_others.match(k) and k not in {*NEEDED, *kept}}
    try:
        yield
    finally:
        os.environ.update(theirs)


def queue(names: Iterable[str]) -> list[Job]:
    """The jobs of these names that wait or run, of any user, one entry for each task of an array."""
    names, found = list(names), list[Job]()
    for k in range(0, len(names), WORDS):
        shown = ask(
            *("squeue", "--all", "--noheader", "--array", "--states=all", f"--name={','.join(names[k : k + WORDS])}"),
            "--format=%F|%K|%T|%M|%N|%j|%r",
        )
        for line in shown.splitlines():
            job, task, state, time, nodes, name, reason = line.split("|", 6)
            if state in LIVING:
                place = int(task) if task.isdigit() else None
                whole = job if place is None else f"{job}_{place}"
                found.append(Job(whole, name, place or 0, state, reason, nodes, _seconds(time)))
    return found


def _seconds(time: str) -> int:
    """1-02:03:04, 02:03 or INVALID, in seconds."""
    days, _, clock = time.rpartition("-")
    parts = [int(part) for part in [days or "0", *clock.split(":")] if part.isdigit()]
    return parts[0] * 86400 + sum(part * 60**k for k, part in enumerate(reversed(parts[1:]))) if parts else 0


LIVING = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
          "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD")  # fmt: skip


def history(jobs: Iterable[str]) -> dict[str, str]:
    """How the jobs (arrays: each of their tasks) stand or ended, by id; nothing where SLURM keeps no accounts."""
    jobs, ended = list(jobs), dict[str, str]()
    for k in range(0, len(jobs), WORDS):
        try:
            shown = ask(
                *("sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,State"),
                f"--jobs={','.join(jobs[k : k + WORDS])}",
            )
        except JobError:
            return {}
        for line in shown.splitlines():
            job, _, state = line.partition("|")
            ended |= dict.fromkeys(_tasks(job), state.split(" ")[0])  # "CANCELLED by 1000"
    return ended


def _tasks(job: str) -> list[str]:
    """12_[3,5-7%2], as tasks are called that never began, as 12_3, 12_5, ...; others as they are."""
    found = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", job)
    if not found:
        return [job]
    bounds = [part.partition("-") for part in found[2].split(",")]
    return [f"{found[1]}_{k}" for first, _, last in bounds for k in range(int(first), int(last or first) + 1)]


def show(job: str) -> dict[str, str]:
    """What `scontrol show job` says of one job: JobState, Restarts, ...; nothing where SLURM knows no such job."""
    try:
        words = ask("scontrol", "--oneliner", "show", "job", job, seconds=20).split()
    except JobError as error:
        if UNKNOWN in str(error):
            return {}
        raise
    return dict(word.split("=", 1) for word in words if "=" in word)


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs, arrays or single tasks; those that are gone already are no mistake."""
    for k in range(0, len(jobs), WORDS):
        ask("scancel", "--quiet", *jobs[k : k + WORDS])


def cancel_arrays(jobs: Iterable[Job]) -> None:
    """Cancel the whole arrays that these jobs are tasks of."""
    cancel(sorted({job.id.split("_")[0] for job in jobs}))


def release(jobs: Sequence[str]) -> None:
    """Let jobs go that were submitted on hold; those that have begun or are gone already are no mistake."""
    try:
        ask("scontrol", "release", ",".join(jobs))
    except JobError as error:
        if len(jobs) > 1:
            for job in jobs:
                release([job])
        elif not re.search(f"{UNKNOWN}|no longer pending|already complet", str(error)):
            raise


def max_array() -> int:
    """How many tasks an array may have."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"))
    return max(1, int(found[1])) if found else 1001


OUT_OF_ORDER = re.compile(r"down|drain|drng|fail|maint|inval|unk|.*\*$")
"""States of nodes on which no job starts for now, as sinfo shortens them; * means that they do not answer."""


def enough_without(excluded: Iterable[str], nodes: int, partition: str | None) -> bool:
    """Whether as many nodes are up in a partition (None: the default one) without those that are excluded, which may
    stand as SLURM lists them, e.g. node[1-3]. Raises JobError where SLURM does not say."""
    where = [f"--partition={partition}"] if partition else []
    lines = ask("sinfo", "--noheader", "--Node", "--format=%N|%t|%P", *where, seconds=20).splitlines()
    shown = [line.split("|") for line in lines]
    up = {name for name, state, where in shown if (partition or where.endswith("*")) and not OUT_OF_ORDER.match(state)}
    lists = ",".join(excluded)
    return len(up - set(ask("scontrol", "show", "hostnames", lists, seconds=20).split() if lists else ())) >= nodes


def check_partitions(wanted: Iterable[str | None]) -> None:
    """Raise JobError for a partition that the cluster does not have."""
    known = {line.strip() for line in ask("sinfo", "--all", "--noheader", "--format=%R").splitlines()}
    for name in sorted({n for n in wanted if n is not None}):
        for part in name.split(","):
            if part not in known:
                raise JobError(f"the cluster has no partition {part!r}; {nearest(part, known)}")
