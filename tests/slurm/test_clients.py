"""Grids whose client is killed while it submits, or has company: each run is done once, with the same bits."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from grids import SmallGrid
from outcomes import Undisturbed, check_end
from simulated import Cluster

from blurtrain.data.dataset import Dataset

pytestmark = pytest.mark.slurm

KILLER = """
import importlib, os, signal, sys
module, name, when, count = sys.argv.pop(1).split(",")
place = importlib.import_module(module)
*outer, name = name.split(".")
for part in outer:
    place = getattr(place, part)
function, calls = getattr(place, name), 0
def deadly(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(count) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*args, **kwargs)
    if calls == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(place, name, deadly)
from blurtrain.cli import main
main(sys.argv[1:])
"""

RELEASED = "jobs.scheduler,release,after,1"
POINTS = [
    "jobs.slurm,snapshot,before,1",
    "jobs.snapshot,shutil.copyfile,after,20",
    "jobs.slurm,snapshot,after,1",
    "jobs.submissions,publish,after,1",  # the plan is written
    "submitit.core.utils,DelayedSubmission.dump,after,2",
    "submitit.core.utils,CommandFunction.__call__,before,1",  # sbatch
    "submitit.core.utils,CommandFunction.__call__,after,1",
    "submitit.core.utils,JobPaths.move_temporary_file,after,2",
    "submitit.core.utils,CommandFunction.__call__,after,2",  # SLURM has it all
    "jobs.submissions,Submission.record,after,1",
    RELEASED,
    "jobs.submissions,Submission.mark_released,after,1",
]


def short_runs(
    cluster: Cluster,
    folder: Path,
    dataset: Dataset,
    seeds: Sequence[int] = (0,),
    profile: dict[str, Any] | None = None,
) -> SmallGrid:
    """Runs of two epochs that ask for different times, so that they go into two arrays."""
    where: list[dict[str, Any]] = [
        {"match": {}, "settings": {"logging": {"every_steps": 1}}},
        {"match": {"regime": "blurry"}, "resources": {"minutes": 11}},
    ]
    return SmallGrid.write(cluster, folder, dataset, seeds=seeds, where=where, epochs=2, profile=profile)


def submit_and_be_killed(grid: SmallGrid, point: str) -> None:
    command = [sys.executable, "-c", KILLER, point, *grid.command("submit")[3:]]
    done = subprocess.run(command, env=grid.env, cwd=grid.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, (point, done.stderr)


def test_submissions_that_are_killed_add_up_to_one(
    quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    alone = short_runs(quiet, tmp_path / "alone", prepared)
    submit_and_be_killed(alone, RELEASED)  # its jobs start
    grid = short_runs(quiet, tmp_path / "all", prepared)
    for point in POINTS[1::2]:
        submit_and_be_killed(grid, point)
    for each in (alone, grid):
        each.submit()
    for each in (alone, grid):
        check_end(each, undisturbed)
        assert each.attempts() == [1, 1]


@pytest.mark.parametrize("point", [point for point in POINTS[::2] if point != RELEASED])
def test_a_submission_may_be_killed_anywhere(quiet: Cluster, prepared: Dataset, tmp_path: Path, point: str) -> None:
    grid = short_runs(quiet, tmp_path, prepared, profile={"sbatch": {"begin": "now+1hour"}})
    submit_and_be_killed(grid, point)
    grid.submit()
    assert [row["message"] for row in grid.rows()] == ["waits in the queue: BeginTime"] * 2  # not on hold
    assert len(grid.jobs()) == 2  # nothing is left of the other submission
    assert len(set(grid.jobs())) == 2


def test_several_clients_at_once(quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed) -> None:
    grid = short_runs(quiet, tmp_path, prepared, seeds=[0, 1])
    clients = [
        subprocess.Popen(grid.command("submit"), env=grid.env, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [client.communicate(timeout=60)[1] for client in clients]
    assert [client.returncode for client in clients] == [0, 0, 0], said
    assert sorted(int(words.split(" of ")[0]) for words in said) == [0, 0, 4]
    check_end(grid, undisturbed)
    assert grid.attempts() == [1] * 4
