"""What was submitted to SLURM from a folder of runs, as it stands on disk: enough to find every job again, whatever
happened to whoever submitted it.

    <runs>/.slurm/code/<hash>/              copies of the code, see jobs.snapshot
    <runs>/.slurm/nodes/<node>.json         nodes that failed a job's check of them, see jobs.node
    <runs>/.slurm/<stamp>/                  one submission
        plan.json                           its arrays, by name, and the items of each task; written before any sbatch
        jobs.json                           the job id of each array; written once SLURM has them all, on hold
        released                            written once they were released
        abandoned                           instead of the last two: interrupted, or refused; none of its jobs may begin
        cancelled/<item>                    by `grid cancel`
        failures/<item>.json                how often it failed, moved, reached its time limit since its last progress
        away/<job>                          why a job found no Python or snapshot where it was started last
        settings/, logs/<item>.log          what the jobs write, submitit's files in <array name>/
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blurtrain.files import publish, read_json, write_json
from jobs.cluster import Resources


@dataclass(frozen=True)
class Array:
    """Jobs that are submitted together and ask for the same. An array of one task is a plain job to SLURM."""

    name: str
    resources: Resources
    tasks: tuple[tuple[str, ...], ...]
    """The items of each task: one, or as many as share a GPU."""


@dataclass(frozen=True)
class Submission:
    """One submission: its folder, and what was found there."""

    folder: Path
    arrays: tuple[Array, ...]
    jobs: Mapping[str, str] = field(default_factory=dict)
    """The job id of each array by its name; empty until SLURM has them all."""
    released: bool = False
    abandoned: bool = False
    cancelled: frozenset[str] = frozenset()
    """Items that were cancelled by `grid cancel`."""

    @classmethod
    def begin(
        cls, slurm: Path, arrays: Sequence[tuple[Resources, Sequence[tuple[str, ...]]]], **origin: Any
    ) -> "Submission":
        """Write down what is about to be submitted, with names that nothing else has."""
        folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-", time.gmtime()), dir=slurm))
        folder.chmod(0o755)
        named = tuple(Array(f"blurtrain-{folder.name}-{k}", r, tuple(t)) for k, (r, t) in enumerate(arrays))
        for name in ("cancelled", "failures", "settings", "logs", "away"):
            (folder / name).mkdir()
        plan = [{"name": a.name, "resources": a.resources.model_dump(), "tasks": a.tasks} for a in named]
        publish(folder / "plan.json", json.dumps({**origin, "arrays": plan}))
        return cls(folder, named)

    def record(self, jobs: Mapping[str, str]) -> "Submission":
        """SLURM has all arrays: their job ids, by the arrays' names."""
        write_json(self.folder / "jobs.json", dict(jobs))
        return replace(self, jobs=jobs)

    def mark_released(self) -> None:
        """Note that its jobs are on hold no more."""
        publish(self.folder / "released", "")

    def abandon(self) -> None:
        """Whatever has become of its sbatch commands: should one of its jobs start, it ends at once."""
        publish(self.folder / "abandoned", "")


def submissions(runs: Path) -> list[Submission]:
    """All submissions from this folder of runs, oldest first."""
    return [_read(plan) for plan in sorted((runs / ".slurm").glob("[0-9]*/plan.json"))]


def _read(plan: Path) -> Submission:
    folder, document = plan.parent, read_json(plan) or {}
    arrays = tuple(
        Array(a["name"], Resources(**a["resources"]), tuple(tuple(t) for t in a["tasks"])) for a in document["arrays"]
    )
    jobs = read_json(folder / "jobs.json") or {}
    marks, cancelled = {path.name for path in folder.iterdir()}, folder / "cancelled"
    names = frozenset(path.name for path in cancelled.iterdir()) if cancelled.name in marks else frozenset()
    return Submission(folder, arrays, jobs, "released" in marks, "abandoned" in marks, names)
