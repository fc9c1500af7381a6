"""Run directories: files appear whole, one writer wins, older attempts stop, and the attempts' journals join up."""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blurtrain import run as run_module
from blurtrain.errors import RunError, Superseded
from blurtrain.files import publish, publish_once, read_json, write_json
from blurtrain.run import Attempt, Run, find
from blurtrain.settings import Settings, compose

WRITERS = 8


@pytest.fixture
def settings() -> Settings:
    return compose({"dataset": "faces", "regime": "clear"}, "test")


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Run:
    return Run.begin(tmp_path / "runs", "a-run", settings)


def in_threads(work: Callable[[int], Any], n: int = WRITERS) -> list[Any]:
    """What `work(k)` returns in each of n threads that begin together."""
    together, outcomes = threading.Barrier(n), [None] * n

    def begin(k: int) -> None:
        together.wait()
        outcomes[k] = work(k)

    threads = [threading.Thread(target=begin, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


# --- files ----------------------------------------------------------------------------------------------------------


def test_publish_writes_text_and_bytes_and_leaves_nothing_beside(tmp_path: Path) -> None:
    publish(tmp_path / "file", "one")
    publish(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_the_old_content_survives_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    publish(tmp_path / "file", "old")
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[failing], no_space)
    with pytest.raises(RunError, match=r"file: cannot be written: No space left .* free some"):
        publish(tmp_path / "file", "new" * 1000)
    assert (tmp_path / "file").read_text() == "old"


def test_readers_see_the_old_content_or_the_new_but_no_part(tmp_path: Path) -> None:
    contents = {letter * 200_000 for letter in "abc"}
    publish(tmp_path / "file", "a" * 200_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for content in contents:
                publish(tmp_path / "file", content)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {(tmp_path / "file").read_text() for _ in range(300)}
    stop.set()
    writer.join()
    assert seen <= contents


def test_publish_once_keeps_the_first(tmp_path: Path) -> None:
    assert publish_once(tmp_path / "file", "first")
    assert not publish_once(tmp_path / "file", "second")
    assert (tmp_path / "file").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_publish_once_lets_one_thread_win(tmp_path: Path) -> None:
    for attempt in range(5):
        won = in_threads(lambda k, path=tmp_path / f"{attempt}": publish_once(path, f"{k}"))
        assert won.count(True) == 1
        assert (tmp_path / f"{attempt}").read_text() == str(won.index(True))


def _publish_once(path: Path) -> tuple[bool, int]:
    return publish_once(path, str(os.getpid())), os.getpid()


def test_publish_once_lets_one_process_win(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for attempt in range(20):
            outcomes = pool.map(_publish_once, [tmp_path / f"{attempt}"] * 4, chunksize=1)
            winners = [pid for won, pid in outcomes if won]
            assert [(tmp_path / f"{attempt}").read_text()] == [str(pid) for pid in winners]


def test_a_damaged_file_is_named_and_a_missing_one_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(RunError, match=r"half\.json: cannot be read"):
        read_json(tmp_path / "half.json")
    write_json(tmp_path / "whole.json", {"a": [1, 2]})
    assert read_json(tmp_path / "whole.json") == {"a": [1, 2]}


# --- run directories ------------------------------------------------------------------------------------------------


def test_the_settings_are_those_the_run_was_begun_with(run: Run, settings: Settings) -> None:
    other = compose({"dataset": "faces", "regime": "clear", "loader": {"workers": 7}}, "test")
    again = Run.begin(run.path.parent, run.id, other)
    assert again.settings == settings != other


def test_only_the_first_result_counts(run: Run) -> None:
    assert run.result() is None
    assert run.finish({"top1": 1})
    assert not run.finish({"top1": 2})
    assert run.result() == {"top1": 1}


def test_runs_are_found_by_their_settings(run: Run, tmp_path: Path) -> None:
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "runs" / ".local").mkdir()
    assert find(tmp_path / "runs") == [run]
    with pytest.raises(RunError, match="no such folder"):
        find(tmp_path / "elsewhere")


def test_a_runs_folder_that_cannot_be_written_is_named(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/a-run: cannot be written: .*; choose another --runs"):
        Run.begin(tmp_path / "file", "a-run", settings)


# --- attempts -------------------------------------------------------------------------------------------------------


def test_attempts_are_numbered_in_order(run: Run, settings: Settings) -> None:
    attempts = [run.new_attempt(settings, "d") for _ in range(11)]
    assert [a.number for a in attempts] == list(range(1, 12))
    assert [p.name for p in run.attempts()] == [f"{n:04d}" for n in range(1, 12)]


def test_attempts_that_begin_together_get_numbers_of_their_own(run: Run, settings: Settings) -> None:
    attempts = in_threads(lambda _: run.new_attempt(settings, "d"))
    assert sorted(a.number for a in attempts) == list(range(1, WRITERS + 1))
    for attempt in attempts:
        attempt.close()


def test_an_attempt_says_what_it_was_started_with(run: Run) -> None:
    own = compose({"dataset": "faces", "regime": "clear", "loader": {"workers": 7}}, "test")
    attempt = run.new_attempt(own, "0123456789abcdef")
    attempt.close()
    origin = read_json(attempt.path / "origin.json")
    assert origin["pid"] == os.getpid()
    assert origin["data_id"] == "0123456789abcdef"
    assert "workers: 7" in (attempt.path / "settings.yaml").read_text()


def test_an_older_attempt_may_not_write_any_more(run: Run, settings: Settings) -> None:
    old = run.new_attempt(settings, "d")
    old.record("start", epoch=0)
    old.beat(epoch=1)
    new = run.new_attempt(settings, "d")
    for write in (old.check, lambda: old.record("epoch", epoch=1), lambda: old.beat(epoch=2)):
        with pytest.raises(Superseded, match="attempt 2 has taken over from attempt 1"):
            write()
    old.fail(RuntimeError("whatever"))  # never raises, nor writes
    assert [e["event"] for e in run.journal()] == ["start"]
    assert read_json(old.path / "heartbeat.json") == {"sequence": 1, "epoch": 1}
    new.beat(epoch=3)
    new.beat(epoch=4)
    assert read_json(new.path / "heartbeat.json") == {"sequence": 2, "epoch": 4}


def test_a_failure_is_noted_in_journal_and_log(run: Run, settings: Settings) -> None:
    attempt = run.new_attempt(settings, "d")
    attempt.fail(ValueError("the loss became nan"))
    attempt.close()
    (event,) = run.journal()
    assert event == {"event": "failed", "error": "ValueError", "message": "the loss became nan", "time": event["time"]}
    assert "the loss became nan" in (attempt.path / "log.txt").read_text()


# --- the journal ----------------------------------------------------------------------------------------------------


def attempt_with(run: Run, settings: Settings, start: int | None, epochs: Sequence[int]) -> Attempt:
    attempt = run.new_attempt(settings, "d")
    if start is not None:
        attempt.record("start", epoch=start, at=10 * start)
    for epoch in epochs:
        attempt.record("epoch", epoch=epoch, at=10 * epoch, by=attempt.number)
    attempt.close()
    return attempt


def epochs(run: Run) -> list[tuple[int, int]]:
    """(epoch, attempt) in the order of the journal."""
    return [(e["epoch"], e["by"]) for e in run.journal() if e["event"] == "epoch"]


def test_epochs_done_again_count_once(run: Run, settings: Settings) -> None:
    attempt_with(run, settings, 0, range(1, 6))
    attempt_with(run, settings, 3, range(4, 7))
    assert epochs(run) == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
    assert [e["event"] for e in run.journal()].count("start") == 2


def test_a_third_attempt_may_go_back_further(run: Run, settings: Settings) -> None:
    attempt_with(run, settings, 0, range(1, 6))
    attempt_with(run, settings, 5, range(6, 8))
    attempt_with(run, settings, 2, range(3, 5))
    assert epochs(run) == [(1, 1), (2, 1), (3, 3), (4, 3)]


def test_steps_done_again_count_once(run: Run, settings: Settings) -> None:
    """The second attempt goes on from a checkpoint inside epoch 1, the third from one after its last step."""
    for epoch, start, last in ((0, 0, 10), (0, 5, 10), (0, 10, 12)):
        attempt = run.new_attempt(settings, "d")
        attempt.record("start", epoch=epoch, at=start)
        for at in range(start + 1, last + 1):
            attempt.record("step", at=at, by=attempt.number)
            if at == 10:
                attempt.record("epoch", epoch=1, at=10, by=attempt.number)
        attempt.close()
    steps = [(e["at"], e["by"]) for e in run.journal() if e["event"] == "step"]
    assert steps == [(k, 1 if k <= 5 else 2 if k <= 10 else 3) for k in range(1, 13)]


def test_an_attempt_that_never_started_takes_nothing_away(run: Run, settings: Settings) -> None:
    attempt_with(run, settings, 0, [1, 2])
    attempt_with(run, settings, None, [])
    failed = run.new_attempt(settings, "d")
    failed.fail(RuntimeError("no memory"))
    failed.close()
    assert epochs(run) == [(1, 1), (2, 1)]


def test_half_a_last_line_is_passed_over(run: Run, settings: Settings) -> None:
    attempt = attempt_with(run, settings, 0, [1, 2])
    journal = attempt.path / "journal.jsonl"
    whole = journal.read_text()
    last = whole.splitlines()[-1]
    for cut in (1, len(last) // 2, len(last) - 1):
        journal.write_text(whole[: len(whole) - 1 - cut])
        assert epochs(run) == [(1, 1)]
    attempt_with(run, settings, 1, [2, 3])
    assert epochs(run) == [(1, 1), (2, 2), (3, 2)]


def test_every_event_is_on_disk_when_record_returns(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = run.new_attempt(settings, "d")
    synced: list[str] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(run_module.os, "fsync", watch)
    attempt.record("epoch", epoch=1)
    assert synced == [str(attempt.path / "journal.jsonl")]
    event = json.loads((attempt.path / "journal.jsonl").read_text())
    assert event == {"event": "epoch", "epoch": 1, "time": event["time"]}


def test_every_event_says_when_it_was(run: Run, settings: Settings) -> None:
    attempt = run.new_attempt(settings, "d")
    before = datetime.now(UTC)
    attempt.record("epoch", epoch=1)
    attempt.record("done")
    times = [datetime.fromisoformat(event["time"]) for event in run.journal()]
    assert before - timedelta(milliseconds=1) <= times[0] <= times[1] <= datetime.now(UTC)


# --- heartbeats -----------------------------------------------------------------------------------------------------


def test_a_run_beats_while_its_process_is_there_and_its_heartbeat_fresh(run: Run, settings: Settings) -> None:
    assert not run.beats()
    attempt = run.new_attempt(settings, "data")
    assert not run.beats()
    attempt.beat(epoch=1)
    assert run.beats()
    heartbeat, origin = attempt.path / "heartbeat.json", attempt.path / "origin.json"
    old = heartbeat.stat().st_mtime - run_module.STALE_SECONDS - 1
    os.utime(heartbeat, (old, old))
    assert not run.beats()
    attempt.beat(epoch=2)
    write_json(origin, {**read_json(origin), "pid": 2**22 + 1})  # above the largest pid that Linux gives
    assert not run.beats()
    write_json(origin, {**read_json(origin), "host": "another-machine"})  # whose processes cannot be seen from here
    assert run.beats()
    attempt.close()
    assert not run.beats()
    assert read_json(heartbeat) == {"sequence": 3, "epoch": 2, "ended": True}
