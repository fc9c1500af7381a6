"""Grids on the simulated cluster: submitted, watched, interrupted, taken up again; nothing lost, nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from grids import SmallGrid
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset

pytestmark = pytest.mark.slurm


def test_a_grid_with_a_run_on_two_nodes(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    where = [{"match": {"regime": "blurry"}, "resources": {"nodes": 2, "gpus": 2}}]
    grid = SmallGrid.write(quiet, tmp_path, prepared, seeds=[0, 1], where=where, profile={"at_a_time": 2})
    assert grid.states() == ["planned"] * 4
    assert "start" in grid.call("plan").stdout
    assert grid.submit() == 4
    assert set(grid.states()) <= {"queued", "running"}
    followed = grid.rows()[0]["run_id"]
    follower = subprocess.Popen(
        grid.command("logs", followed, "-f"), env=grid.env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert grid.submit() == 0  # all on their way
    grid.await_states("done")
    assert "epoch 3/3" in follower.communicate(timeout=60)[0]
    assert follower.returncode == 0
    assert grid.attempts() == [1] * 4
    assert all("top-1" in row["message"] and row["epoch"] == row["epochs"] for row in grid.rows())
    starts = {
        row["regime"]: json.loads((grid.runs / row["run_id"] / "attempts/0001/journal.jsonl").open().readline())
        for row in grid.rows()
    }
    assert {regime: start["world"] for regime, start in starts.items()} == {"clear": 1, "blurry": 4}
    assert grid.submit() == 0
    assert "epoch 3/3" in grid.call("logs", followed).stdout


def test_cancelled_then_taken_up_again(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    grid = SmallGrid.write(quiet, tmp_path, prepared, epochs=400)
    assert grid.submit() == 2
    wait("both to train", lambda: grid.training() == 2)
    done = grid.call("cancel")
    assert sorted(done.stdout.split()) == sorted(row["run_id"] for row in grid.rows())
    wait("the queue to be empty", lambda: not grid.jobs())
    grid.await_states("cancelled", seconds=10)
    time.sleep(6)
    assert grid.jobs() == []  # what was cancelled does not put itself back into the queue
    assert grid.submit() == 2
    wait("both to train again", lambda: grid.training(attempt=2) == 2)
    assert grid.attempts() == [2, 2]
    starts = [
        json.loads((grid.runs / r["run_id"] / "attempts/0002/journal.jsonl").open().readline()) for r in grid.rows()
    ]
    assert all(start["at"] > 0 for start in starts)


def test_a_failing_run_is_tried_again_and_then_reported(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    settings = {"optimisation": {"batch_size": 31}}  # the data has 30 training images
    grid = SmallGrid.write(
        quiet,
        tmp_path,
        prepared,
        where=[{"match": {"regime": "blurry"}, "settings": settings}],
        profile={"failures": 1},
    )
    assert grid.submit() == 2
    wait("both to end", lambda: grid.states() == ["done", "failed"], 90, every=1)
    row = grid.rows()[1]
    assert "batch_size=31" in row["message"]
    (counts,) = grid.runs.glob(f".slurm/*/failures/{row['run_id']}.json")
    assert json.loads(counts.read_text())["failures"] == 2
    assert "batch_size=31" in grid.call("logs", row["run_id"]).stdout
    again = grid.call("retry", "--failed")
    assert again.stdout.split() == [row["run_id"]]


def test_runs_share_a_gpu(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    grid = SmallGrid.write(quiet, tmp_path, prepared, seeds=[0], regimes=("clear", "blurry"), resources={"pack": 2})
    assert grid.submit() == 2
    assert len({row["job_id"] for row in grid.rows()}) == 1
    grid.await_states("done")
    alone = SmallGrid.write(quiet, tmp_path / "alone", prepared, seeds=[0], regimes=("clear",))
    alone.submit()
    alone.await_states("done")
    assert alone.weights().items() <= grid.weights().items()


IMPATIENT = """
import sys
from jobs import slurm_look
slurm_look.STALE_SECONDS = 10
from blurtrain.cli import main
main(sys.argv[1:])
"""
"""`blurtrain` for which a run hangs a minute sooner than for users."""


def test_a_hung_run_is_stale_and_can_be_tried_again(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    grid = SmallGrid.write(quiet, tmp_path, prepared, regimes=["clear"], epochs=30)

    def impatient(*words: str) -> str:
        command = [sys.executable, "-c", IMPATIENT, *grid.command(*words)[3:]]
        return subprocess.run(command, env=grid.env, capture_output=True, text=True, timeout=60, check=True).stdout

    grid.submit()
    wait("it to train", grid.training, 60)
    grid.send(signal.SIGSTOP)
    wait("it to be stale", lambda: json.loads(impatient("status", "--json"))[0]["state"] == "stale", every=2)
    (row,) = json.loads(impatient("status", "--json"))
    assert row["message"].startswith("no heartbeat from node")
    assert grid.states() == ["running"]
    assert grid.submit() == 0
    assert impatient("retry", "--failed") == ""
    assert impatient("retry", "--stale").split() == [row["run_id"]]
    grid.await_states("done")
    assert grid.attempts() == [2]


def test_a_grid_is_evaluated_as_jobs(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    grid = SmallGrid.write(quiet, tmp_path, prepared, seeds=[0, 1], profile={"failures": 0})
    assert "none of these 4 runs is done" in grid.call("evaluate", "evaluation.sigmas=[0,4]").stderr
    grid.submit()
    grid.await_states("done")
    done = grid.call("evaluate", "evaluation.sigmas=[0,4]", "--wait")
    assert done.returncode == 0, done.stderr
    (job,) = done.stdout.split()
    measured = [p for p in grid.runs.glob("*/evaluations/*.json") if '"sigma": 4' in p.read_text()]
    assert len(measured) == 4
    assert "4 of 4 runs evaluated" in grid.call("logs", job).stdout
    assert set(grid.states()) == {"done"}
    before = {path: path.stat().st_mtime_ns for path in measured}
    assert grid.call("evaluate", "evaluation.sigmas=[0,4]", "--wait").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in measured} == before
    broken = grid.rows()[2]["run_id"]
    (grid.runs / broken / "weights.safetensors").unlink()
    done = grid.call("evaluate", "evaluation.sigmas=[0,5]", "--wait")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("blurtrain: ") and broken in line]


NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, classes: int):
        super().__init__(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(256, classes))
"""


def test_users_own_code_travels_with_the_jobs(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETWORK)
    own = {"model": "mine", "network": {"architecture": "nets.py:Net"}}
    grid = SmallGrid.write(
        quiet, tmp_path, prepared, regimes=["clear"], epochs=2, where=[{"match": {}, "settings": own}]
    )
    planned = grid.rows()
    assert grid.submit() == 1
    (tmp_path / "nets.py").write_text("raise RuntimeError('edited since')")
    (job,) = planned
    wait("the result", lambda: (grid.runs / job["run_id"] / "result.json").exists(), 120)
    (code,) = (grid.runs / ".slurm" / "code").iterdir()
    assert (code / "nets.py").read_text() == NETWORK
    evaluated = grid.call("evaluate", "evaluation.sigmas=[0,4]", "--wait")
    assert evaluated.returncode == 1 and "edited since" in evaluated.stderr  # a new submission, of code as it is now


# --- nodes --------------------------------------------------------------------------------------------------------


def test_an_unfit_node_is_left(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    smi = tools / "nvidia-smi"
    smi.write_text('#!/bin/sh\n[ "$SLURMD_NODENAME" = node1 ] && exit 9\necho "GPU 0: A100"\n')
    smi.chmod(0o755)
    grid = SmallGrid.write(quiet, tmp_path, prepared, profile={"setup": [f"export PATH={tools}:$PATH"]})
    grid.submit()
    grid.await_states("done")
    assert json.loads((grid.runs / ".slurm/nodes/node1.json").read_text())["problem"].startswith("0 of 1 GPUs")
    hosts = {json.loads(p.read_text())["host"] for p in grid.runs.glob("*/attempts/*/origin.json")}
    assert hosts and "node1" not in hosts


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "more", "message"),
    [
        ({"partition": "gpus"}, {}, "the cluster has no partition 'gpus'; did you mean 'gpu'?"),
        ({}, {"resources": {"partition": "big"}}, "the cluster has no partition 'big'"),
        ({"sbatch": {"account": "nobody"}}, {}, "SLURM refused the jobs (Batch job submission failed: Invalid account"),
        ({"minutes": 30 * 24 * 60}, {}, "SLURM refused the jobs (Batch job submission failed: Requested time limit"),
        ({}, {"resources": {"nodes": 5, "gpus": 1}}, "run textures-clear-"),
        ({}, {"resources": {"gpus": 16}}, "run textures-clear-"),
    ],
)
def test_what_the_cluster_would_not_take_is_refused_in_one_line(
    quiet: Cluster, prepared: Dataset, tmp_path: Path, profile: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    grid = SmallGrid.write(quiet, tmp_path, prepared, profile=profile, **more)
    done = grid.call("submit")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"blurtrain: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert grid.jobs() == []
    assert grid.states() == ["planned"] * 2


def test_a_quota_refuses_all_or_nothing(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    where = [{"match": {"regime": "blurry"}, "resources": {"partition": "quota"}}]
    grid = SmallGrid.write(quiet, tmp_path, prepared, seeds=range(5), where=where, epochs=2, profile={"at_a_time": 1})
    done = grid.call("submit")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "QOSMaxSubmitJobPerUserLimit" in done.stderr
    assert done.stderr.endswith("; nothing was submitted\n")
    assert grid.states() == ["planned"] * 10
    assert not grid.jobs()
    assert not list(grid.runs.glob("*/attempts"))
    assert grid.call("cancel").stdout == ""


@pytest.mark.parametrize("used", [False, True])
def test_a_folder_of_runs_that_is_read_only(quiet: Cluster, prepared: Dataset, tmp_path: Path, used: bool) -> None:
    grid = SmallGrid.write(quiet, tmp_path, prepared)
    (grid.runs / ".slurm" if used else grid.runs).mkdir(parents=True)
    if used:
        (grid.runs / ".submitting").touch()
    quiet.run("mount", "--bind", grid.runs, grid.runs)
    try:
        quiet.run("mount", "-o", "remount,bind,ro", grid.runs)
        done = grid.call("submit")
        states = grid.states()
    finally:
        quiet.run("umount", grid.runs)
    message = f"blurtrain: {grid.runs}: cannot be written: Read-only file system; choose another --runs\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert states == ["planned"] * 2
    assert grid.jobs() == []


def test_no_slurm(prepared: Dataset, tmp_path: Path, cluster: Cluster) -> None:
    grid = SmallGrid.write(cluster, tmp_path, prepared)
    done = subprocess.run(
        grid.command("submit"), env={**os.environ, "PATH": "/nowhere"}, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == "blurtrain: no SLURM here (sbatch is not on the PATH): use --cluster local\n"


# --- many -----------------------------------------------------------------------------------------------------------


def test_a_grid_in_many_arrays(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    """`bench grid`: its times are for people, what it found is for us."""
    grid = SmallGrid.write(quiet, tmp_path, prepared)
    command = ("bench", "grid", "--cluster", str(grid.folder / "profile.yaml"), "--count", "1000", "--max-array", "90")
    done = subprocess.run(
        [sys.executable, "-m", "blurtrain", *command, "--repeats", "1", "--json", "--runs", str(grid.runs)],
        env=grid.env, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan, submit, status, cancel, after = json.loads(done.stdout)
    assert plan["found"] == "submitting would take up 1000 of 1000 runs"
    assert submit["found"] == "1000 jobs in 12 arrays"
    for row in (status, after):
        counts = [part.split() for part in row["found"].split(", ")]
        assert sum(int(n) for n, _ in counts) == row["n"] == 1000
        assert {state for _, state in counts} <= {"queued", "running", "stale", "cancelled"}
    # The jobs run `true`: how many are left to be cancelled is up to the machine. SLURM's accounts know of a task that
    # has just ended a moment later, and until then say of it what they say of the rest of its array.
    ended = {state: int(n) for n, state in counts}
    assert ended.get("cancelled", 0) >= int(cancel["found"].split()[0]) and not {"queued", "running"} & set(ended)
    assert not list(grid.runs.iterdir())
    assert grid.jobs() == []


# --- doctor ---------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_the_cluster_fit(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    def doctor(cluster: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "blurtrain", "doctor", "--cluster", cluster, "--runs", str(tmp_path / "runs")]
        return subprocess.run(
            [*command, "--data", str(prepared.folder.parent), *more],
            env={**os.environ, **quiet.env}, cwd=tmp_path, capture_output=True, text=True, timeout=180,
        )  # fmt: skip

    done = doctor("simulator", "--json")
    checks = {check["what"]: check for check in json.loads(done.stdout)}
    assert [what for what, check in checks.items() if not check["good"]] == [], done.stdout
    assert done.returncode == 0
    assert "gloo over 2 nodes" in checks["all-reduce"]["detail"]
    assert {"SLURM", "accounting", "probe job", "exclusive files", "data", "versions"} <= set(checks)

    (tmp_path / "wrong.yaml").write_text("partition: gpus\n")
    done = doctor(str(tmp_path / "wrong.yaml"))
    assert done.returncode == 1
    assert done.stdout == "FAILED  SLURM                      the cluster has no partition 'gpus'; " \
        "did you mean 'gpu'? (known: gpu, preemptible, quota, urgent)\n"  # fmt: skip
