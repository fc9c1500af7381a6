"""After the Python of a job was killed, its processes may still train: `python -m jobs.killed FOLDER SIGNAL`, which the
job's shell runs then, puts the job back into the queue, upon which SLURM ends them; what has failed too often stays
failed, with exit code 1. FOLDER is submitit's, and holds the job's task."""

import sys
from pathlib import Path

from blurtrain.errors import JobError
from blurtrain.run import slurm_job
from jobs.slurm_task import Task, after_kill


def _task(folder: Path) -> Task:
    from submitit.core.utils import DelayedSubmission, JobPaths

    (task,) = DelayedSubmission.load(JobPaths(folder, slurm_job()).submitted_pickle).args
    if not isinstance(task, Task):
        raise JobError(f"{folder}: is no job of a grid")
    return task


if __name__ == "__main__":
    try:
        print(after_kill(_task(Path(sys.argv[1])), int(sys.argv[2])), flush=True)
    except JobError as error:
        sys.exit(f"blurtrain: {error}")
