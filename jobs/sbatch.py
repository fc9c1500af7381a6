"""How sbatch is asked, through submitit: options of an array, the start of its jobs, and what a refusal said."""

import contextlib
import io
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blurtrain.errors import JobError
from jobs import node, scheduler
from jobs.cluster import Cluster, Resources

RESTARTS = 64
"""A job that was requeued so often, for whatever reason, does not look for yet another node with the shared folders."""


@contextlib.contextmanager
def refusals_in_one_line(cluster: Cluster) -> Iterator[None]:
    """sbatch in here obeys this profile alone; what it refuses becomes a JobError of one line."""
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
    """How long before its time limit a run is asked to stop: half of its time at most, else it would be at once."""
    return min(cluster.signal_seconds, 30 * (wanted.minutes or cluster.minutes))


def parameters(name: str, wanted: Resources, tasks: int, runs: Path, cluster: Cluster, code: Path) -> dict[str, Any]:
    """What submitit takes for an array of so many tasks: what to ask for, and how its jobs begin."""
    given = {
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
        # The shell ignores what SLURM signals to it, and waits on for the work to end.
        "setup": [*cluster.setup, "trap : TERM USR1 USR2",
                  f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}", "export PYTHONSAFEPATH=1",
                  shared_folders_or_requeue(sys.executable, code)],
        "use_srun": False,
        "additional_parameters": {"requeue": True, **cluster.sbatch},
    }  # fmt: skip
    return {key: value for key, value in given.items() if value is not None or key == "wckey"}


def shared_folders_or_requeue(python: str, code: Path) -> str:
    """A line of shell: on a node without the shared folders, the job goes back to the queue and excludes it. (jobs.node
    could not even begin there.)"""
    wanted = f"[ -x {shlex.quote(python)} ] && [ -d {shlex.quote(str(code))} ]"
    # One task of each array has the array's own id as its job id: by that all tasks would be requeued.
    again = (
        "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}; job=${job:-$SLURM_JOB_ID}; "
        "old=$(scontrol --oneliner show job $job | sed -n 's/.* ExcNodeList=\\([^ (]*\\).*/\\1/p'); "
        f'if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {RESTARTS} ] && scontrol requeue $job; then '
        'scontrol update JobId=$job ExcNodeList="$SLURMD_NODENAME${old:+,$old}"; sleep 60; fi'
    )
    return f"{wanted} || {{ echo {shlex.quote(f'no {python} or no {code} on this node')} >&2; {again}; exit 1; }}"
