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

AROUND = Path(__file__).with_name("around.sh")
MOVES = 3
"""A job excludes so many nodes at most for want of the shared folders: then it is not the nodes."""
PATIENCE_SECONDS = 60
"""So long the shared folders may be away before that, or as long as a job may take to start."""


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


def parameters(
    name: str, folder: Path, wanted: Resources, tasks: int, runs: Path, cluster: Cluster, code: Path
) -> dict[str, Any]:
    """What submitit takes for an array of so many tasks, whose files go into `folder`: what to ask for, and how its
    jobs begin."""
    unfit = _avoided(runs, wanted)
    around = {"python": sys.executable, "code": code, "array": folder,
              "patience": min(PATIENCE_SECONDS, cluster.start_seconds), "limit": len(unfit) + MOVES}  # fmt: skip
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
        "exclude": ",".join(unfit) or None,
        "wckey": None,
        "setup": [*cluster.setup, *(f"{name}={shlex.quote(str(value))}" for name, value in around.items()),
                  f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}", "export PYTHONSAFEPATH=1",
                  AROUND.read_text()],
        "use_srun": False,
        "additional_parameters": {"requeue": True, **cluster.sbatch},
    }  # fmt: skip
    return {key: value for key, value in given.items() if value is not None or key == "wckey"}


def _avoided(runs: Path, wanted: Resources) -> list[str]:
    """Nodes that were found unfit, unless too few were left without them: then they are looked at again."""
    unfit = sorted(node.unfit(runs))
    return unfit if unfit and scheduler.enough_without(unfit, wanted.nodes, wanted.partition) else []
