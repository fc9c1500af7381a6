"""Grids on this machine: runs are trained once, a failure stays alone, and each run's state is told."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs.status import STATES, states, summary, table, wait

from blurtrain.data.dataset import Dataset
from blurtrain.errors import JobError
from blurtrain.run import Run
from blurtrain.settings import Settings, run_id
from jobs.grid import Member
from jobs.local import cancel, held, is_held, queued, running, submit

KEYS = ["run_id", "dataset", "regime", "seed", "state", "epoch", "epochs", "job_id", "message", "submitted", "model"]
SHORT = {"epochs": 1, "warmup_epochs": 0.5}


@pytest.fixture(scope="module")
def member(prepared: Dataset, tiny: Callable[..., Settings]) -> Callable[..., Member]:
    def make(**overrides: Any) -> Member:
        settings = tiny(**overrides)
        return Member(run_id(settings, prepared.data_id), settings)

    return make


@pytest.fixture
def lone(member: Callable[..., Member]) -> Member:
    return member(optimisation=SHORT)


def state(one: Member, runs: Path) -> tuple[str, str]:
    (row,) = states([one], runs)
    return row["state"], row["message"]


# --- states ---------------------------------------------------------------------------------------------------------


def test_rows_have_the_keys_that_others_rely_on(lone: Member, tmp_path: Path) -> None:
    (row,) = states([lone], tmp_path / "runs")
    assert list(row) == KEYS
    assert row == {
        "run_id": lone.run_id,
        "dataset": "textures",
        "regime": "clear",
        "seed": 0,
        "state": "planned",
        "epoch": 0,
        "epochs": 1,
        "job_id": "",
        "message": "",
        "submitted": False,
        "model": "alexnet-sup",
    }
    assert not (tmp_path / "runs").exists()  # who only looks leaves nothing behind


def test_a_held_lock_means_running(lone: Member, tmp_path: Path) -> None:
    (tmp_path / ".local" / "locks").mkdir(parents=True)
    lock = tmp_path / ".local" / "locks" / lone.run_id
    with held(lock) as alone:
        assert alone
        assert state(lone, tmp_path) == ("running", "")
        with held(lock, patience=0.1) as second:
            assert not second
        assert submit([lone], tmp_path) == []
    assert not running(tmp_path, lone.run_id)
    assert state(lone, tmp_path) == ("planned", "")


def test_what_waits_for_a_living_worker_is_queued(lone: Member, tmp_path: Path) -> None:
    queue = tmp_path / ".local" / "queues" / "20260101-000000-x"
    for folder in ("taken", "workers"):
        (queue / folder).mkdir(parents=True)
    (queue / "queue.json").write_text(json.dumps([lone.run_id, "another"]))
    assert queued(tmp_path) == {}
    with held(queue / "workers" / "0"):
        assert queued(tmp_path) == {lone.run_id: queue.name, "another": queue.name}
        (row,) = states([lone], tmp_path)
        assert (row["state"], row["job_id"]) == ("queued", queue.name)
        (queue / "taken" / lone.run_id).mkdir()
        assert queued(tmp_path) == {"another": queue.name}
    assert state(lone, tmp_path) == ("planned", "")


def test_what_nobody_works_on_is_stale_or_failed(lone: Member, tmp_path: Path) -> None:
    run = Run.begin(tmp_path, lone.run_id, lone.settings)
    attempt = run.new_attempt(lone.settings, "d")
    attempt.record("start", epoch=0)
    attempt.beat(epoch=0.256)
    attempt.close()
    assert state(lone, tmp_path) == ("stale", "nobody is working on it; submit again to continue it")
    assert states([lone], tmp_path)[0]["epoch"] == 0.26
    attempt = run.new_attempt(lone.settings, "d")
    attempt.fail(ValueError("the loss became nan"))
    attempt.close()
    assert state(lone, tmp_path) == ("failed", "ValueError: the loss became nan")
    run.finish({"headline": "top-1 99 %"})
    assert state(lone, tmp_path) == ("done", "top-1 99 %")
    assert states([lone], tmp_path)[0]["epoch"] == 1


def test_table_and_summary_tell_the_same(member: Callable[..., Member], tmp_path: Path) -> None:
    members = [member(seed=k) for k in range(3)]
    Run.begin(tmp_path, members[1].run_id, members[1].settings).finish({"headline": "fine"})
    rows = states(members, tmp_path)
    assert summary(rows) == "3 runs: 2 planned, 1 done"
    assert {row["state"] for row in rows} <= set(STATES)
    lines = table(rows).splitlines()
    assert lines[-1] == summary(rows)
    assert [line for line in lines if members[1].run_id in line and "done" in line and line.endswith("fine")]


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_a_runs_folder_that_cannot_be_written_is_named(lone: Member, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"file: cannot be written: .*choose another --runs"):
        submit([lone], tmp_path / "file")


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(member: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Member]]:
    """Two runs, submitted to be trained at the same time, and waited for."""
    runs = tmp_path_factory.mktemp("grid") / "runs"
    members = [member(seed=seed, optimisation=SHORT) for seed in (0, 1)]
    assert submit(members, runs, at_a_time=2) == members
    told: list[str] = []
    assert wait(members, runs, told.append), told
    assert told[-1].startswith("[2/2] done")
    # A run is done a moment before its process has ended and let go of its lock.
    locks = [*(runs / ".local" / "locks").iterdir(), *(runs / ".local").glob("queues/*/workers/*")]
    until(lambda: not any(is_held(lock) for lock in locks))
    return runs, members


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def written(runs: Path) -> dict[Path, int]:
    """When each file of the run directories was written."""
    return {p: p.stat().st_mtime_ns for p in runs.glob("[!.]*/**/*") if p.is_file()}


@pytest.mark.slow
def test_submitted_runs_are_trained_to_their_end(finished: tuple[Path, list[Member]]) -> None:
    runs, members = finished
    rows = states(members, runs)
    assert [(row["state"], row["epoch"], row["seed"]) for row in rows] == [("done", 1, 0), ("done", 1, 1)]
    assert all("top-1" in row["message"] for row in rows)
    for member in members:
        assert Run(runs / member.run_id).weights.stat().st_size > 1e6
        assert len(Run(runs / member.run_id).attempts()) == 1
    assert queued(runs) == {}


@pytest.mark.slow
def test_submitting_again_trains_nothing_again(finished: tuple[Path, list[Member]]) -> None:
    runs, members = finished
    before = written(runs)
    assert submit(members, runs) == []
    assert submit([*members, members[0]], runs, at_a_time=1) == []
    assert wait(members, runs, print)
    assert written(runs) == before
    assert len([*(runs / ".local" / "queues").iterdir()]) == 1


@pytest.mark.slow
def test_a_failing_run_is_told_and_leaves_the_others_alone(
    finished: tuple[Path, list[Member]], member: Callable[..., Member]
) -> None:
    runs, members = finished
    # Valid as settings, but the data has 30 training images only.
    failing = member(optimisation={**SHORT, "batch_size": 31})
    before = written(runs)
    assert submit([failing, *members], runs) == [failing]
    told: list[str] = []
    assert not wait([failing, *members], runs, told.append)
    rows = states([failing, *members], runs)
    assert [row["state"] for row in rows] == ["failed", "done", "done"]
    assert rows[0]["message"].startswith("blurtrain: optimisation.batch_size=31 is more than the 30 training images")
    assert any("failed" in line and "batch_size=31" in line for line in told)
    assert written(runs) == before


@pytest.mark.slow
def test_cancelled_runs_stop_and_can_be_submitted_again(member: Callable[..., Member], tmp_path: Path) -> None:
    long = member(optimisation={"epochs": 10_000})
    assert submit([long], tmp_path) == [long]
    lock = tmp_path / ".local" / "locks" / long.run_id
    until(lambda: is_held(lock))
    assert state(long, tmp_path)[0] == "running"
    assert submit([long], tmp_path) == []
    assert cancel(tmp_path) == [long.run_id]
    assert not wait([long], tmp_path, print)
    assert state(long, tmp_path)[0] == "cancelled"
    assert not is_held(lock)
    assert cancel(tmp_path) == []
