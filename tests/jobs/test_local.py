"""Grids on this machine: runs are trained once, a failure stays alone, and each run's state is shown."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobs
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import JobError, Stopped, Superseded
from blurtrain.files import held, is_held
from blurtrain.run import Run
from blurtrain.settings import Settings, run_id
from jobs.backend import missing
from jobs.grid import Member
from jobs.item import training
from jobs.states import STATES, intent, on_its_way, states, summary
from jobs.table import table

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
        assert jobs.submit([lone], runs=tmp_path) == []
    assert missing([training(lone, tmp_path)], tmp_path)
    assert state(lone, tmp_path) == ("planned", "")


def test_what_waits_for_a_living_worker_is_queued(lone: Member, tmp_path: Path) -> None:
    queue = tmp_path / ".local" / "queues" / "20260101-000000-x"
    for folder in ("taken", "workers"):
        (queue / folder).mkdir(parents=True)
    (queue / "queue.json").write_text(json.dumps([lone.run_id, "another"]))
    assert state(lone, tmp_path) == ("planned", "")
    with held(queue / "workers" / "0"):
        (row,) = states([lone], tmp_path)
        assert (row["state"], row["job_id"]) == ("queued", queue.name)
        (queue / "taken" / lone.run_id).mkdir()
        assert state(lone, tmp_path) == ("planned", "")


def test_what_no_process_works_on_is_stale_or_failed(lone: Member, tmp_path: Path) -> None:
    run = Run.begin(tmp_path, lone.run_id, lone.settings)
    attempt = run.new_attempt(lone.settings, "d")
    attempt.record("start", epoch=0)
    attempt.beat(epoch=0.256)
    attempt.close()
    assert state(lone, tmp_path) == (
        "stale", "no process works on it; nothing was saved: submit again to begin it anew"
    )  # fmt: skip
    (run.checkpoints / f"step-00000004-{'0' * 16}.pt").touch()
    assert state(lone, tmp_path) == ("stale", "no process works on it; submit again to continue it")
    assert states([lone], tmp_path)[0]["epoch"] == 0.26
    attempt = run.new_attempt(lone.settings, "d")
    attempt.fail(ValueError("the loss became nan"))
    attempt.close()
    assert state(lone, tmp_path) == ("failed", "ValueError: the loss became nan")
    run.finish({"headline": "top-1 99 %"})
    assert state(lone, tmp_path) == ("done", "top-1 99 %")
    assert states([lone], tmp_path)[0]["epoch"] == 1


def test_what_a_search_has_stopped_is_pruned_until_it_goes_on(lone: Member, tmp_path: Path) -> None:
    run = Run.begin(tmp_path, lone.run_id, lone.settings)
    assert not run.mark_pruned("a-search", 7, 0, "too early"), "there is nothing yet to go on with"
    assert run.pruned() is None and state(lone, tmp_path)[0] == "planned"
    attempt = run.new_attempt(lone.settings, "d")
    attempt.fail(Stopped("by SIGTERM"))
    attempt.close()
    assert state(lone, tmp_path)[0] == "preempted"
    assert run.mark_pruned("a-search", 7, 3, "trial 7 of a-search was pruned after epoch 3")
    assert run.pruned() == {
        "search": "a-search", "trial": 7, "epoch": 3, "message": "trial 7 of a-search was pruned after epoch 3",
    }  # fmt: skip
    (row,) = states([lone], tmp_path)
    assert (row["state"], row["message"]) == ("pruned", "trial 7 of a-search was pruned after epoch 3")
    assert not on_its_way(row) and intent(row) == "continue"
    assert missing([training(lone, tmp_path)], tmp_path), "submitting takes it up again"
    assert summary([row]) == "1 runs: 1 pruned" and "pruned" in table([row])
    reported: list[str] = []
    assert [row["state"] for row in jobs.wait([lone], runs=tmp_path, report=reported.append)] == ["pruned"]
    assert len(reported) == 1 and reported[0].startswith("[0/1] pruned")
    assert jobs.cancel([lone], runs=tmp_path) == []
    second = run.new_attempt(lone.settings, "d")
    second.record("start", at=0, epoch=0)
    second.beat(epoch=1)
    assert state(lone, tmp_path)[0] == "running"
    second.close()
    assert (state(lone, tmp_path)[0], run.pruned()) == ("stale", None)
    run.mark_pruned("a-search", 7, 3, "again")
    run.finish({"headline": "fine"})
    assert state(lone, tmp_path) == ("done", "fine")


def test_pruned_counts_for_more_than_what_a_grid_once_made_of_it(lone: Member, tmp_path: Path) -> None:
    queue = tmp_path / ".local" / "queues" / "20260101-000000-x"
    for folder in ("taken", "workers", f"cancelled/{lone.run_id}"):
        (queue / folder).mkdir(parents=True)
    (queue / "queue.json").write_text(json.dumps([lone.run_id]))
    run = Run.begin(tmp_path, lone.run_id, lone.settings)
    run.new_attempt(lone.settings, "d").close()
    assert state(lone, tmp_path)[0] == "cancelled"
    run.mark_pruned("a-search", 7, 3, "others promise more")
    assert state(lone, tmp_path) == ("pruned", "others promise more")


def ended(runs: Path, item: str, pid: int, code: int) -> None:
    """As a worker leaves what has ended so."""
    logs = runs / ".local" / "queues" / "20260101-000000-x" / "logs"
    for folder in (logs, logs.with_name("taken"), logs.with_name("cancelled"), logs.with_name("workers")):
        folder.mkdir(parents=True, exist_ok=True)
    logs.with_name("queue.json").write_text(json.dumps([item]))
    (logs / f"{item}.log").write_text("epoch 3/9: loss 1.2\n")
    (logs / f"{item}.exit.json").write_text(json.dumps({"code": code, "pid": pid}))


def test_what_ended_a_process_is_said_and_not_what_it_logged_last(lone: Member, tmp_path: Path) -> None:
    run = Run.begin(tmp_path, lone.run_id, lone.settings)
    attempt = run.new_attempt(lone.settings, "d")
    attempt.fail(ValueError("the loss became nan"))
    attempt.beat(epoch=3)
    attempt.close()
    # The next process was killed before it came to an attempt, or at the beginning of one.
    ended(tmp_path, lone.run_id, 2**30, -9)
    killed = ("failed", "killed by signal 9 (SIGKILL, out of memory?)")
    assert state(lone, tmp_path) == killed
    second = run.new_attempt(lone.settings, "d")
    ended(tmp_path, lone.run_id, os.getpid(), -9)
    assert state(lone, tmp_path) == killed
    assert states([lone], tmp_path)[0]["epoch"] == 3, "not 0, as long as the new attempt has not said anything"
    ended(tmp_path, lone.run_id, os.getpid(), -11)
    assert state(lone, tmp_path) == ("failed", "killed by signal 11 (SIGSEGV)")
    second.close()


def test_an_attempt_that_another_has_taken_over_from_says_so(
    lone: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.begin(tmp_path, lone.run_id, lone.settings)
    monkeypatch.setattr(os, "getpid", lambda: 2**30)
    ours = run.new_attempt(lone.settings, "d")
    monkeypatch.undo()
    theirs = run.new_attempt(lone.settings, "d")
    with pytest.raises(Superseded) as caught:
        ours.beat(epoch=1)
    ours.fail(caught.value)
    assert [e["event"] for e in journal_of(ours.path)] == ["superseded"]
    theirs.close()
    ended(tmp_path, lone.run_id, 2**30, 2)
    (run.checkpoints / f"step-00000004-{'0' * 16}.pt").touch()
    assert state(lone, tmp_path) == (
        "stale", "attempt 1 was superseded by attempt 2: no process works on it; submit again to continue it"
    )  # fmt: skip
    run.new_attempt(lone.settings, "d").fail(ValueError("no"))
    assert state(lone, tmp_path) == ("failed", "attempt 1 was superseded by attempt 3: ValueError: no")


def journal_of(attempt: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (attempt / "journal.jsonl").read_text().splitlines()]


def test_table_and_summary_show_the_same(member: Callable[..., Member], tmp_path: Path) -> None:
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
        jobs.submit([lone], runs=tmp_path / "file")


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(member: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Member]]:
    """Two runs, submitted to be trained at the same time, and waited for."""
    runs = tmp_path_factory.mktemp("grid") / "runs"
    members = [member(seed=seed, optimisation=SHORT) for seed in (0, 1)]
    assert jobs.submit(members, runs=runs, at_a_time=2) == [m.run_id for m in members]
    reported: list[str] = []
    rows = jobs.wait(members, runs=runs, report=reported.append)
    assert [row["state"] for row in rows] == ["done"] * 2, reported
    assert reported[-1].startswith("[2/2] done")
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


@pytest.mark.slow
def test_submitting_again_trains_nothing_again(finished: tuple[Path, list[Member]]) -> None:
    runs, members = finished
    before = written(runs)
    assert jobs.submit(members, runs=runs, wait=True) == []
    assert jobs.submit([*members, members[0]], runs=runs, at_a_time=1) == []
    assert written(runs) == before
    assert len([*(runs / ".local" / "queues").iterdir()]) == 1


@pytest.mark.slow
def test_a_failing_run_is_reported_and_leaves_the_others_alone(
    finished: tuple[Path, list[Member]], member: Callable[..., Member]
) -> None:
    runs, members = finished
    # Valid as settings, but the data has 30 training images only.
    failing = member(optimisation={**SHORT, "batch_size": 31})
    before = written(runs)
    with pytest.raises(JobError, match=rf"1 of 3 runs are not done: {failing.run_id}: failed: .*batch_size=31"):
        jobs.submit([failing, *members], runs=runs, wait=True)
    rows = jobs.status([failing, *members], runs=runs)
    assert [row["state"] for row in rows] == ["failed", "done", "done"]
    assert rows[0]["message"].startswith("blurtrain: optimisation.batch_size=31 is more than the 30 training images")
    assert "batch_size=31" in jobs.logs(failing.run_id, runs=str(runs))
    assert written(runs) == before


@pytest.mark.slow
def test_cancelled_runs_stop_alone_and_can_be_submitted_again(member: Callable[..., Member], tmp_path: Path) -> None:
    long, other = (member(seed=seed, optimisation={"epochs": 10_000}) for seed in (0, 1))
    assert len(jobs.submit([long, other], runs=tmp_path, at_a_time=2)) == 2
    locks = tmp_path / ".local" / "locks"
    until(lambda: all(is_held(locks / m.run_id) for m in (long, other)))
    assert state(long, tmp_path)[0] == "running"
    assert jobs.submit([long], runs=tmp_path) == []
    assert jobs.cancel([long], runs=tmp_path) == [long.run_id]
    until(lambda: not is_held(locks / long.run_id))
    assert [state(m, tmp_path)[0] for m in (long, other)] == ["cancelled", "running"]
    assert jobs.cancel(runs=tmp_path) == [other.run_id]
    jobs.wait([long, other], runs=tmp_path, report=print)
    assert [state(m, tmp_path)[0] for m in (long, other)] == ["cancelled", "cancelled"]
    assert jobs.cancel(runs=tmp_path) == []
    assert jobs.submit([long], runs=tmp_path) == [long.run_id]
    assert jobs.cancel(runs=tmp_path) == [long.run_id]
    jobs.wait([long], runs=tmp_path, report=print)


@pytest.mark.slow
def test_a_job_refuses_data_that_were_prepared_anew(tree: Path, tiny: Callable[..., Settings], tmp_path: Path) -> None:
    def prepared_at(resolution: int) -> Dataset:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        return prepare(tmp_path / "data", "textures", Recipe(images=str(tree), resolution=resolution))[0]

    settings = tiny(optimisation=SHORT, data={"root": str(tmp_path / "data")})
    one = Member(run_id(settings, prepared_at(64).data_id), settings)
    assert prepared_at(80).data_id  # between submission and start
    jobs.submit([one], runs=tmp_path)
    (row,) = jobs.wait([one], runs=tmp_path, report=print)
    assert row["state"] == "failed"
    assert row["message"].startswith("blurtrain: ")
    assert one.run_id in row["message"] and "was prepared anew" in row["message"]
    assert not list(tmp_path.glob("*/settings.yaml"))
