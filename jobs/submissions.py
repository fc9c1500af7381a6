"""What was submitted to SLURM from a folder of runs, as it stands on disk: enough to find every job again, whatever
happened to whoever submitted it.

    <runs>/.slurm/lock                      held (flock) while somebody submits
    <runs>/.slurm/code/<hash>/              copies of the code, see jobs.snapshot
    <runs>/.slurm/nodes/<node>.json         nodes that failed a job's check of them, see jobs.node
    <runs>/.slurm/<stamp>/                  one submission
        plan.json                           its arrays, by name, and the runs of each task; written before any sbatch
        jobs/<array name>.json              its job id; written right after its sbatch
        abandoned/<array name>              its sbatch may or may not have happened: its jobs end at their start
        cancelled/<run id>                  by `grid cancel`
        failures/<run id>.json              how often the run ended in an error here
        settings/, logs/<run id>.log        what the jobs write, submitit's files in <array name>/
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurtrain.run import publish, read_json, write_json
from jobs.cluster import Resources


@dataclass(frozen=True)
class Array:
    """Jobs that are submitted together and ask for the same. An array of one task is a plain job to SLURM."""

    name: str
    resources: Resources
    tasks: tuple[tuple[str, ...], ...]
    """The run ids of each task: one, or as many as share a GPU."""


@dataclass(frozen=True)
class Submission:
    """One submission, by its folder."""

    folder: Path
    arrays: tuple[Array, ...]

    @classmethod
    def begin(
        cls, slurm: Path, arrays: Sequence[tuple[Resources, Sequence[tuple[str, ...]]]], **origin: Any
    ) -> "Submission":
        """Write down what is about to be submitted, with names that nothing else has."""
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=slurm))
        folder.chmod(0o755)
        named = tuple(Array(f"blurtrain-{folder.name}-{k}", r, tuple(t)) for k, (r, t) in enumerate(arrays))
        for name in ("jobs", "abandoned", "cancelled", "failures", "settings", "logs"):
            (folder / name).mkdir()
        plan = [{"name": a.name, "resources": a.resources.model_dump(), "tasks": a.tasks} for a in named]
        publish(folder / "plan.json", json.dumps({**origin, "arrays": plan}))
        return cls(folder, named)

    def record(self, array: Array, job: str) -> None:
        """The array has been submitted as this job."""
        write_json(self.folder / "jobs" / f"{array.name}.json", {"job": job})

    def job(self, array: Array) -> str | None:
        """The job id of an array; None where nobody can say whether it was submitted, or where it was refused."""
        document = read_json(self.folder / "jobs" / f"{array.name}.json")
        return document["job"] if document else None

    def abandon(self, array: Array) -> None:
        """Whatever has become of the array's sbatch: if its jobs start, they end at once."""
        publish(self.folder / "abandoned" / array.name, "")

    def is_abandoned(self, array: Array) -> bool:
        return (self.folder / "abandoned" / array.name).exists()


def submissions(runs: Path) -> list[Submission]:
    """All submissions from this folder of runs, oldest first."""
    return list(_read(runs / ".slurm"))


def _read(slurm: Path) -> Iterator[Submission]:
    for path in sorted(slurm.glob("[0-9]*/plan.json")):
        plan: Any = read_json(path)
        yield Submission(
            path.parent,
            tuple(
                Array(a["name"], Resources(**a["resources"]), tuple(tuple(t) for t in a["tasks"]))
                for a in plan["arrays"]
            ),
        )
