"""What jobs rest on goes away, or changes, while they wait in the queue: the snapshot of the code, the environment, the
data. One line says so, no node is excluded without need, and in the end each run is done once, with the same bits."""

import sys
from pathlib import Path

import pytest
from grids import SmallGrid, explain
from outcomes import Undisturbed, check_end, members
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare

pytestmark = pytest.mark.slurm
PATIENCE = 10
"""Seconds that a job waits for what is not there."""


def one_run(cluster: Cluster, folder: Path, dataset: Dataset, python: Path = Path(sys.executable)) -> SmallGrid:
    """Submitted by this Python, while all nodes are drained."""
    settings = {"logging": {"every_steps": 1}}
    grid = SmallGrid.write(
        *(cluster, folder, dataset),
        regimes=["clear"],
        epochs=2,
        where=[{"match": {}, "settings": settings}],
        profile={"start_seconds": PATIENCE, "failures": 0},
    )
    cluster.run(python, *grid.command("submit")[1:])
    return grid


def snapshot_of(grid: SmallGrid) -> Path:
    (code,) = (grid.runs / ".slurm" / "code").iterdir()
    return code


def failure(grid: SmallGrid) -> str:
    """The message of the grid's only run, once it has failed."""
    try:
        wait("it to fail", lambda: grid.states() == ["failed"], 90, every=1)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{explain(grid.rows(), grid.runs)}") from None
    return str(grid.rows()[0]["message"])


def test_jobs_wait_while_the_ground_moves(
    quiet: Cluster, prepared: Dataset, tree: Path, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    environment = tmp_path / "environment"
    environment.symlink_to(sys.prefix)
    data = prepare(tmp_path / "data", "textures", Recipe(images=str(tree), resolution=64))[0]
    quiet.set_nodes("DRAIN")
    shortly, long = (one_run(quiet, tmp_path / name, prepared) for name in ("shortly", "long"))
    bare = one_run(quiet, tmp_path / "bare", prepared, environment / "bin" / Path(sys.executable).name)
    anew = one_run(quiet, tmp_path / "anew", data)
    (before,) = members(anew)
    jobs = {grid.folder.name: str(grid.rows()[0]["job_id"]) for grid in (shortly, long, bare, anew)}

    gone = [(path, path.with_name("gone")) for path in (snapshot_of(shortly), snapshot_of(long), environment)]
    for path, elsewhere in gone:
        path.rename(elsewhere)
    prepare(data.folder.parent, "textures", Recipe(images=str(tree), resolution=64, val=0.3), replace=True)
    quiet.set_nodes("RESUME", "node[1-2]")
    quiet.await_state(jobs["shortly"], "RUNNING")
    gone[0][1].rename(gone[0][0])

    # Data prepared anew: the job names the cure, and nothing is written; submitting again trains on what is there now.
    quiet.await_state(jobs["anew"], "FAILED")
    (line,) = (x for x in anew.call("logs", before.run_id).stdout.splitlines() if x.startswith("blurtrain: "))
    assert "was prepared anew" in line and line.endswith("submit again")
    assert not (anew.runs / before.run_id).exists()
    assert anew.submit() == 1

    # Away on one node after the other: the last one is not excluded, the cause is said, and `retry` goes on.
    for name, grid, (path, elsewhere) in zip(("long", "bare"), (long, bare), gone[1:], strict=True):
        message = failure(grid)
        assert message.startswith(f"{path}") and "is not there on node" in message and "grid retry" in message
        assert quiet.job(jobs[name])["ExcNodeList"] in ("node1", "node2")
        assert not (grid.runs / ".slurm" / "nodes").exists()
        elsewhere.rename(path)
        assert grid.call("retry").stdout.split() == [members(grid)[0].run_id]

    for grid in (shortly, long, bare, anew):
        check_end(grid, undisturbed)
        assert grid.attempts() == [1]
    # Back in time: the job has waited, and no more.
    job = quiet.job(jobs["shortly"])
    assert (job["Restarts"], job["ExcNodeList"]) == ("0", "(null)")
