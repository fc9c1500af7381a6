"""What a submission to SLURM leaves on disk, and what a pretend squeue says of it."""

from collections.abc import Callable
from pathlib import Path

from jobs.cluster import Resources
from jobs.grid import Member
from jobs.submissions import Submission

Answer = Callable[..., None]


def submitted(runs: Path, *members: Member, job: str = "12", released: bool = True) -> Submission:
    """As `submit` leaves it: one array with a task a run. Without a job, or not released: if it was killed."""
    (runs / ".slurm").mkdir(parents=True, exist_ok=True)
    submission = Submission.begin(runs / ".slurm", [(Resources(), [(m.run_id,) for m in members])])
    if job:
        submission.record({submission.arrays[0].name: job})
    if job and released:
        submission.mark_released()
    return submission


def squeue(answer: Answer, submission: Submission, *lines: str) -> None:
    name = submission.arrays[0].name
    answer("squeue", "".join(line.replace("NAME", name) + "\n" for line in lines))
