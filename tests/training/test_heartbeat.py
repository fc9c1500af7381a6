"""The heartbeat of a training, and its stopwatch."""

import mmap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attempts import EPOCHS, METRICS, SETTINGS, VALUES
from torch import nn

from blurtrain.errors import BlurtrainError, RunError, Superseded
from blurtrain.files import read_json
from blurtrain.run import Attempt
from blurtrain.settings import Settings
from blurtrain.training import progress as module
from blurtrain.training.progress import Progress, Stopwatch

Tiny = Callable[..., Settings]


def beat(attempt: Attempt) -> dict[str, Any]:
    heartbeat = read_json(attempt.path / "heartbeat.json")
    assert isinstance(heartbeat, dict)
    return heartbeat


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Be busy, and never tick, until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        sum(range(10_000))


def hearts() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


@pytest.fixture
def fast_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)


def test_the_heart_beats_while_the_training_is_busy(fast_heart: None, attempt: Attempt) -> None:
    with Progress(EPOCHS, attempt) as progress:
        assert beat(attempt) == {"sequence": 1, "doing": "starting", "epoch": 0.0, "epochs": 4}
        progress.tick(doing="training", epoch=1.5, sigma=8.0)
        until(lambda: beat(attempt)["sequence"] >= 4 and beat(attempt).get("unmoved_seconds", 0) >= 0.3)
        stuck = beat(attempt)
        assert (stuck["doing"], stuck["epoch"], stuck["epochs"], stuck["sigma"]) == ("training", 1.5, 4, 8.0)
        progress.tick(epoch=1.75)
        until(lambda: beat(attempt)["epoch"] == 1.75)
        moved = beat(attempt)
        assert moved["doing"] == "training" and moved["sequence"] > stuck["sequence"]
        assert moved["unmoved_seconds"] < stuck["unmoved_seconds"]
        assert attempt.run.beats()


def test_the_heart_stops_with_the_training_and_says_so(
    fast_heart: None, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = attempt.beat

    def slow(**progress: Any) -> None:
        original(**progress)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.2)  # so that the training ends in the midst of a beat

    monkeypatch.setattr(attempt, "beat", slow)
    with pytest.raises(ArithmeticError), Progress(EPOCHS, attempt) as progress:
        progress.tick(doing="training", epoch=0.5)
        until(lambda: "unmoved_seconds" in beat(attempt))
        assert hearts()
        raise ArithmeticError
    assert not hearts()
    last = beat(attempt)
    time.sleep(0.1)
    assert beat(attempt) == last
    attempt.close()
    ended = beat(attempt)
    assert ended.pop("ended") is True and ended.pop("sequence") == last.pop("sequence") + 1
    assert ended == last and ended["epoch"] == 0.5
    assert not attempt.run.beats()


def test_a_newer_attempt_ends_the_older_one_at_its_next_tick(fast_heart: None, attempt: Attempt) -> None:
    with Progress(EPOCHS, attempt) as progress:
        newer = attempt.run.new_attempt(SETTINGS, "data")
        until(lambda: not hearts())
        last = beat(attempt)
        with pytest.raises(Superseded, match="attempt 2 has taken over from attempt 1"):
            progress.tick(epoch=1.0)
    assert beat(attempt) == last
    attempt.close()
    assert beat(attempt) == last, "it writes no more, not even that it has ended"
    newer.close()


def test_a_heartbeat_that_cannot_be_written_ends_the_training(fast_heart: None, attempt: Attempt) -> None:
    heartbeat = attempt.path / "heartbeat.json"

    def blocked() -> bool:
        heartbeat.unlink(missing_ok=True)
        try:
            heartbeat.mkdir()
        except FileExistsError:  # it has beaten in between
            return False
        return True

    with Progress(EPOCHS, attempt) as progress:
        until(blocked)
        until(lambda: not hearts())
        with pytest.raises(RunError, match=r"heartbeat\.json: cannot be written") as refusal:
            progress.tick(epoch=1.0)
    assert "\n" not in str(refusal.value)


def test_a_run_folder_that_is_gone_ends_the_training(fast_heart: None, attempt: Attempt) -> None:
    attempts, gone = attempt.path.parent, attempt.run.path / "gone"
    with Progress(EPOCHS, attempt) as progress:
        attempts.rename(gone)
        until(lambda: not hearts())
        gone.rename(attempts)
        with pytest.raises(BlurtrainError):
            progress.tick(epoch=1.0)


def test_processes_that_do_not_lead_have_no_heart_and_write_nothing(tmp_path: Path) -> None:
    with Progress(EPOCHS, None) as progress:
        assert not hearts()
        progress.begin(0.0, 0)
        progress.tick(epoch=1.0)
        progress.steps(1, 1.0, **VALUES)
        progress.epoch(1, 1, METRICS, **VALUES)
        progress.filters(nn.Conv2d(3, 2, 3), 1)
    assert not list(tmp_path.iterdir())


# --- stopwatch ------------------------------------------------------------------------------------------------------


class Clock:
    """Goes on as it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now

    def brought(self, items: int, seconds: float) -> Iterator[int]:
        """Items, each of which takes so long to come."""
        for item in range(items):
            self.now += seconds
            yield item


def test_waiting_is_kept_apart_from_working() -> None:
    clock = Clock()
    watch = Stopwatch(torch.device("cpu"), clock)
    assert list(watch.waiting(clock.brought(5, 2.0))) == [0, 1, 2, 3, 4]
    watch.passed(10)
    watch.passed(10)
    first = watch.lap()
    for _ in watch.waiting(clock.brought(5, 1.0)):
        clock.now += 3.0
    watch.passed(40)
    second, total = watch.lap(), watch.total()
    assert (first["images_per_second"], first["data_wait"]) == pytest.approx((20 / 10, 1.0))
    assert (second["images_per_second"], second["data_wait"]) == pytest.approx((40 / 20, 5 / 20))
    assert (total["images_per_second"], total["data_wait"]) == pytest.approx((60 / 30, 15 / 30))
    assert set(total) == {"images_per_second", "data_wait", "memory_gib"} and 0.01 < total["memory_gib"] < 100
    clock.now += 1.0
    assert watch.lap() | {"memory_gib": 0} == {"images_per_second": 0, "data_wait": 0, "memory_gib": 0}


def test_memory_is_what_the_process_holds_now() -> None:
    watch = Stopwatch(torch.device("cpu"))
    before = watch.total()["memory_gib"]
    held = mmap.mmap(-1, 2**28)  # straight from the system: the C library may keep what is given back to it
    for _ in range(2**8):
        held.write(bytes(2**20))
    during = watch.total()["memory_gib"]
    held.close()
    after = watch.total()["memory_gib"]
    assert during - before == pytest.approx(0.25, abs=0.05) and during - after == pytest.approx(0.25, abs=0.05)
