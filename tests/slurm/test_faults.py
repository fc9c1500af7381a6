"""Grids on a cluster that misbehaves while they train: each run is done once, with the bits of one left in peace."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from grids import SmallGrid
from outcomes import LAUNCH_FAILED, Undisturbed, check_end, events, retry_unlaunched
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset
from blurtrain.run import Run

pytestmark = pytest.mark.slurm
EPOCHS = 16
TWO_NODES = "blurry-to-clear"
SETTINGS = {"checkpoints": {"every_minutes": 0.01}, "logging": {"every_steps": 1}}


def three_runs(
    cluster: Cluster, folder: Path, dataset: Dataset, profile: dict[str, Any] | None = None, pack: int = 1
) -> SmallGrid:
    """Two runs of one process, `pack` a job; one of two processes on two nodes."""
    return SmallGrid.write(
        cluster,
        folder,
        dataset,
        seeds=[0, 1],
        regimes=["clear", TWO_NODES],
        epochs=EPOCHS,
        profile=profile,
        where=[
            {"match": {}, "settings": SETTINGS},
            {"match": {"regime": "clear"}, "resources": {"pack": pack}},
            {"match": {"regime": TWO_NODES}, "resources": {"nodes": 2}},
        ],
        exclude=[{"regime": TWO_NODES, "seed": 1}],
    )


def await_training_or_end(grid: SmallGrid) -> None:
    """Until all train, or all jobs are gone: a node refuses a job that SLURM starts anew just as it has killed the one
    that SLURM had forgotten ("Job credential revoked"), upon which SLURM ends the job as failed, so that one submits
    again, or holds it."""

    def ready() -> bool:
        retry_unlaunched(grid)
        return all_train(grid) or not grid.jobs()

    wait("all runs to train, or their jobs to be gone", ready, 180, every=1)


def all_train(grid: SmallGrid) -> bool:
    """Whether each run has a checkpoint."""
    return len({path.parent for path in grid.runs.glob("*/checkpoints/*.pt")}) == 3


def nodes_of(grid: SmallGrid, run: Mapping[str, Any]) -> list[str]:
    listed = grid.cluster.run("squeue", "--noheader", f"--jobs={run['job_id']}", "--format=%N")
    return grid.cluster.run("scontrol", "show", "hostnames", listed).split()


# --- faults ---------------------------------------------------------------------------------------------------------


def test_the_controller_dies(quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed) -> None:
    grid = three_runs(quiet, tmp_path, prepared, profile={"sbatch": {"begin": "now+12"}, "start_seconds": 15})
    assert grid.submit() == 3
    submitted, saved = time.time(), quiet.directory / "state" / "job_state"
    wait("SLURM to save its jobs", lambda: saved.exists() and saved.stat().st_mtime > submitted, 30)
    wait("jobs to start", lambda: "R" in quiet.run("squeue", "--noheader", "--format=%t").split(), 30)
    try:
        quiet.fault("ctld-kill")  # it has not saved that they were started
        quiet.fault("ctld-up")
        await_training_or_end(grid)
        if not all_train(grid):
            grid.submit()
        wait("all runs to train", lambda: all_train(grid), 180)
        quiet.fault("ctld-kill")
        time.sleep(3)
    finally:
        quiet.fault("ctld-up")
    check_end(grid, undisturbed, unlaunched=True)


def test_a_node_loses_power(quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed) -> None:
    grid = three_runs(quiet, tmp_path, prepared)
    grid.submit()
    grid.stop_in_the_middle(3)
    wide = next(row for row in grid.rows() if row["regime"] == TWO_NODES)
    victim = nodes_of(grid, wide)[1]
    quiet.fault("node-kill", victim)
    grid.send(signal.SIGCONT)
    try:
        wait("it to be put back", lambda: quiet.job(wide["job_id"])["Restarts"] != "0", 90)
    finally:
        quiet.fault("node-up", victim)
    check_end(grid, undisturbed, unlaunched=True)
    attempts = dict(zip([row["run_id"] for row in grid.rows()], grid.attempts(), strict=True))
    assert attempts[wide["run_id"]] == 2


def test_all_are_preempted(quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed) -> None:
    grid = three_runs(quiet, tmp_path, prepared, profile={"partition": "preemptible"})
    grid.submit()
    grid.stop_in_the_middle(3)  # SLURM wakes what it preempts
    urgent = quiet.submit("--partition=urgent", "--nodes=4", "--gpus-per-node=8", script="sleep 1")
    quiet.await_state(urgent, "RUNNING", "COMPLETED", seconds=60)
    assert set(grid.states()) <= {"preempted", "running", "queued"}
    check_end(grid, undisturbed)
    assert grid.attempts() == [2] * 3


def test_a_node_is_cut_off_and_trains_on(
    quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    if not quiet.network:
        pytest.skip("network namespaces are not permitted here")
    grid = three_runs(quiet, tmp_path, prepared)
    grid.submit()
    grid.stop_in_the_middle(3)
    alone = next(row for row in grid.rows() if row["regime"] != TWO_NODES)
    (victim,) = nodes_of(grid, alone)
    run = Run(grid.runs / alone["run_id"])
    quiet.fault("node-cut", victim)
    quiet.run("scontrol", "update", f"NodeName={victim}", "State=DOWN", "Reason=cut off")  # or SLURM would, in 20 s
    try:
        (first,) = run.attempts()
        before = len(events(first))
        grid.send(signal.SIGCONT)
        wait("it to go on while it is cut off", lambda: len(events(first)) > before + 1)
        grid.send(signal.SIGSTOP, run.id)  # lest it be done before SLURM has started it anew
        wait("another attempt", lambda: len(run.attempts()) > 1, 120)
        grid.send(signal.SIGCONT, run.id)  # both train, from here on
        second = run.attempts()[1]
        wait("the other attempt to train", lambda: len(events(second)) > 1, 60)
        wait("the first one to notice", lambda: "Superseded" in (first / "log.txt").read_text(), 60)
    finally:
        quiet.fault("node-heal", victim)
        quiet.set_nodes("RESUME", victim)
    check_end(grid, undisturbed, unlaunched=True)


def test_what_could_not_be_launched_is_held_until_it_is_retried(
    quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    quiet.set_nodes("DRAIN")
    grid = SmallGrid.write(
        quiet, tmp_path, prepared, regimes=["clear"], epochs=2, where=[{"match": {}, "settings": SETTINGS}]
    )
    grid.submit()
    (row,) = grid.rows()
    # Where slurmd is to put the job's script, in a folder of this name, there is a file.
    spool = [quiet.directory / "spool" / f"node{k}" / f"job{int(row['job_id']):05d}" for k in range(1, 5)]
    for path in spool:
        path.touch()
    try:
        quiet.set_nodes("RESUME")
        wait("it to be held", lambda: grid.states() == ["held"], every=1)
    finally:
        for path in spool:
            path.unlink(missing_ok=True)
    (held,) = grid.rows()
    assert held["message"].startswith(f"held in the queue: {LAUNCH_FAILED}; `scontrol release {row['job_id']}` ")
    assert grid.submit() == 0  # it is for the user to see why
    check_end(grid, undisturbed, unlaunched=True)
    assert grid.attempts() == [1]


def test_the_time_limit_is_reached(quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed) -> None:
    grid = three_runs(quiet, tmp_path, prepared, profile={"minutes": 2, "signal_seconds": 15})
    grid.submit()
    grid.stop_in_the_middle(3)  # SLURM wakes them when it asks them to stop; else their jobs do, 15 s before the end
    runs = [Run(grid.runs / row["run_id"]) for row in grid.rows()]

    def stopped() -> bool:
        if any(passed >= "1:47" for passed in quiet.run("squeue", "--noheader", "--format=%M").split()):
            grid.send(signal.SIGCONT)
        return all(events(run.attempts()[0])[-1]["event"] == "stopped" for run in runs)

    wait("all to be stopped", stopped, 150, every=1)
    check_end(grid, undisturbed)
    assert {events(attempt)[-1]["event"] for run in runs for attempt in run.attempts()[:-1]} == {"stopped"}


def kill_python_of(job: Mapping[str, str]) -> None:
    """What submitit has started for a job, by -9: the shell around it and the training live on."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_text(errors="replace").split("\0")
            command = (process / "cmdline").read_text().split("\0")
            if f"SLURM_JOB_ID={job['JobId']}" in environment and "submitit.core._submit" in command:
                found.append(int(process.name))
    (pid,) = found
    os.kill(pid, signal.SIGKILL)


def test_killed_and_cancelled_and_submitted_again(
    quiet: Cluster, prepared: Dataset, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    grid = three_runs(quiet, tmp_path, prepared, pack=2)
    assert grid.submit() == 3
    grid.stop_in_the_middle(3)
    rows = {(row["regime"], row["seed"]): row for row in grid.rows()}
    runs = {key: Run(grid.runs / row["run_id"]) for key, row in rows.items()}

    # The Python of a job is killed while its training goes on: the job goes on by itself.
    killed = rows[TWO_NODES, 0]["job_id"]
    kill_python_of(quiet.job(killed))
    wait("it to be put back", lambda: quiet.job(killed)["Restarts"] == "1", 30)
    again = runs[TWO_NODES, 0].path / "attempts" / "0002"
    wait("it to train again", lambda: len(events(again)) > 1, 60)
    grid.send(signal.SIGSTOP)

    # Another grid is cancelled: of two runs that share a job it declares one, and the other goes on.
    declared = yaml.safe_load((tmp_path / "grid.yaml").read_text())
    declared["axes"] |= {"regime": ["clear"], "seed": [1, 2]}
    declared["where"].pop()  # it is for the other
    declared.pop("exclude")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(declared))
    cancel = (sys.executable, "-m", "blurtrain", "grid", "cancel", tmp_path / "other.yaml", "--runs", grid.runs)
    assert quiet.run(*cancel) == runs["clear", 1].id
    logs = list(grid.runs.glob(".slurm/*/*/*_log.out"))
    wait("its job to notice", lambda: any("cancelled" in log.read_text() for log in logs), 30)
    grid.send(signal.SIGCONT, "-clear-")
    wait("it to stop", lambda: events(runs["clear", 1].attempts()[0])[-1]["event"] == "stopped", 30)
    reached = len(events(runs["clear", 0].attempts()[0]))
    wait("the other one to go on", lambda: len(events(runs["clear", 0].attempts()[0])) > reached)
    grid.send(signal.SIGSTOP)
    assert [row["state"] for row in grid.rows()] == ["running", "cancelled", "running"]

    # All are cancelled, and submitted again while their jobs are still ending.
    assert len(grid.call("cancel").stdout.split()) == 2
    assert grid.submit() == 3
    check_end(grid, undisturbed)
    assert grid.attempts() == [2, 2, 3]
