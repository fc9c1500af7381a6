"""What is told of a training: heartbeat, journal, TensorBoard, and lines in a log or a bar on a terminal."""

import io
import itertools
import json
import logging
import math
import mmap
import os
import pty
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from blurtrain.data.augment import Transform
from blurtrain.errors import BlurtrainError, RunError, Superseded, TrainingError
from blurtrain.files import read_json
from blurtrain.run import Attempt, Run
from blurtrain.settings import Augmentation, BlurUnits, Optimisation, Settings
from blurtrain.training import progress as module
from blurtrain.training.progress import Progress, Stopwatch
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
EPOCHS = 4
SETTINGS = Settings(dataset="none", regime="clear", optimisation=Optimisation(epochs=EPOCHS))
METRICS = "top-1 50.0 %"
VALUES = {"loss": 1.25, "top1": 50.0, "sigma": 2.0, "images_per_second": 10.0, "data_wait": 0.25}


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    attempt = Run.begin(tmp_path, "a-run", SETTINGS).new_attempt(SETTINGS, "data")
    yield attempt
    attempt.close()


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


# --- heartbeat ------------------------------------------------------------------------------------------------------


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


def slow(items: int, seconds: float) -> Iterator[int]:
    for item in range(items):
        time.sleep(seconds)
        yield item


def test_waiting_is_told_from_working() -> None:
    watch = Stopwatch(torch.device("cpu"))
    assert list(watch.waiting(slow(5, 0.02))) == [0, 1, 2, 3, 4]
    watch.passed(10)
    watch.passed(10)
    lap = watch.lap()
    assert 0.8 < lap["data_wait"] <= 1 and 0 < lap["images_per_second"] <= 20 / 0.1
    for _ in watch.waiting(range(5)):
        time.sleep(0.02)
    watch.passed(40)
    second, total = watch.lap(), watch.total()
    assert 0 <= second["data_wait"] < 0.2 and 0 < second["images_per_second"] <= 40 / 0.1
    assert second["data_wait"] < total["data_wait"] < lap["data_wait"]
    assert 0 < total["images_per_second"] <= 60 / 0.2
    assert set(total) == {"images_per_second", "data_wait", "memory_gib"} and 0.01 < total["memory_gib"] < 100
    watch.lap()
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


# --- journal and TensorBoard ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs of three steps, with an entry per two steps; the blur is another in the second epoch."""
    settings = tiny(
        regime="blurry-to-clear",
        curriculum={"schedule": "stepwise", "sigmas": [8, 0]},
        optimisation={"learning_rate": 1e-4},
        evaluation={"sigmas": [0, 0.4, 0.5, 8]},
        logging={"tensorboard": True, "every_steps": 2},
    )
    return train(settings, tmp_path_factory.mktemp("told"))


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.journal() if event["event"] == kind]


def board(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return accumulator.Reload()


def pictures(board: EventAccumulator, tag: str) -> dict[int, NDArray[np.uint8]]:
    return {e.step: np.asarray(Image.open(io.BytesIO(e.encoded_image_string))) for e in board.Images(tag)}


def test_the_journal_has_an_entry_per_epoch_and_per_so_many_steps(trained: Run) -> None:
    steps, epochs = events(trained, "step"), events(trained, "epoch")
    assert [e["at"] for e in steps] == [2, 4, 6]
    assert [e["epoch"] for e in steps] == pytest.approx([2 / 3, 4 / 3, 2], abs=1e-3)
    assert [(e["at"], e["epoch"]) for e in epochs] == [(3, 1), (6, 2)]
    assert [e["sigma"] for e in (*steps, *epochs)] == [8, 0, 0, 8, 0]
    for entry in (*steps, *epochs):
        assert math.isfinite(entry["loss"]) and 0 <= entry["top1"] <= 100 and entry["skipped"] == 0
        assert entry["learning_rate"] > 0 and entry["images_per_second"] > 0 and 0.01 < entry["memory_gib"] < 100
        assert 0 <= entry["data_wait"] <= 1
    # The first step of the second epoch is told with the last of the first one: two laps make no epoch.
    assert [e["n"] for e in steps] == [16, 8, 16] and [e["n"] for e in epochs] == [24, 24]
    both = [(e["loss"] * e["n"], e["top1"] * e["n"]) for e in steps[1:]]
    assert [sum(x) / 24 for x in zip(*both, strict=True)] == pytest.approx([epochs[1]["loss"], epochs[1]["top1"]])


def test_tensorboard_has_the_same_scalars(trained: Run) -> None:
    told = board(trained.path)
    for kind, at in (("step", [2, 4, 6]), ("epoch", [3, 6])):
        entries = events(trained, kind)
        for name in ("loss", "top1", "learning_rate", "sigma", "images_per_second", "data_wait", "memory_gib"):
            scalars = told.Scalars(f"{kind}/{name}")
            assert [s.step for s in scalars] == at
            assert [s.value for s in scalars] == pytest.approx([e[name] for e in entries], rel=1e-6)
        assert [s.value for s in told.Scalars(f"{kind}/skipped")] == [0] * len(at)
    result = trained.result()
    assert result
    outcome = json.loads((trained.evaluations / result["accuracy"]).read_text())
    measured = [(s.step, s.value) for s in told.Scalars("test/top1 against sigma in thousandths")]
    expected = [(1000 * level["sigma"], 100 * level["top1"] / outcome["n"]) for level in outcome["levels"]]
    assert measured == pytest.approx(np.array(expected), rel=1e-6)


def test_tensorboard_shows_images_and_filters_whenever_the_blur_changes(trained: Run) -> None:
    told = board(trained.path)
    seen, filters = pictures(told, "as the network sees them"), pictures(told, "filters of the first layer")
    assert list(seen) == [0, 3] and list(filters) == [0, 3, 6], "the filters once more at the end"
    blurred, sharp = (np.abs(np.diff(picture[8:56].astype(float), n=2, axis=0)).mean() for picture in seen.values())
    assert sharp > 2 * blurred
    assert not np.array_equal(filters[0], filters[6]), "they have learnt"


def test_images_are_shown_as_they_are_and_filters_stretched_to_the_full_range(attempt: Attempt) -> None:
    mean, sd = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    transform = Transform(Augmentation(), 12, mean, sd, BlurUnits(), 0)
    pixels = torch.arange(2 * 3 * 12 * 12).view(2, 3, 12, 12) % 256
    network = nn.Sequential(nn.Conv2d(3, 1, 5), nn.Conv2d(1, 1, 3))
    with Progress(EPOCHS, attempt, tensorboard=True) as progress:
        progress.begin(0.0, 0)
        for at, sigma in ((0, 8.0), (5, 8.0), (9, 4.0)):
            progress.show(transform.normalise(pixels.float()), transform, network, at, {"sigma": sigma})
        progress.filters(nn.Conv2d(1, 4, 3), 11)  # not of colours
        progress.filters(nn.Linear(2, 2), 12)
    told = board(attempt.run.path)
    seen, filters = pictures(told, "as the network sees them"), pictures(told, "filters of the first layer")
    assert list(seen) == [0, 9] == list(filters)
    side_by_side = torch.cat(list(pixels), 2).permute(1, 2, 0).numpy()
    assert np.abs(seen[0].astype(int) - side_by_side).max() <= 1
    weights = network[0].weight.detach()[0].permute(1, 2, 0).numpy()
    stretched = 255 * (weights - weights.min()) / np.ptp(weights)
    assert np.abs(filters[0] - stretched).max() <= 1 and (filters[0].min(), filters[0].max()) == (0, 255)


def test_without_tensorboard_there_are_no_event_files(tiny: Tiny, attempt: Attempt) -> None:
    with Progress(EPOCHS, attempt) as progress:
        progress.begin(0.0, 0)
        progress.epoch(3, 1, METRICS, **VALUES)
    assert not (attempt.run.path / "tensorboard").exists()


def test_what_is_done_again_after_a_crash_is_told_once(attempt: Attempt) -> None:
    for first, loss in ((0, 9.0), (2, 1.0)):  # the second time from a checkpoint after two steps
        with Progress(EPOCHS, attempt, tensorboard=True) as progress:
            progress.begin(first / 4, first)
            for step in range(first, 4):
                progress.steps(step + 1, (step + 1) / 4, **{**VALUES, "loss": loss})
    assert [(s.step, s.value) for s in board(attempt.run.path).Scalars("step/loss")] == [(1, 9), (2, 9), (3, 1), (4, 1)]


def bad_batches(monkeypatch: pytest.MonkeyPatch, *bad: int) -> None:
    """In the training to come, these batches (0: the first) have a pixel that is no number."""
    original, numbers = Transform.train, itertools.count()

    def poisoned(*arguments: Any) -> Tensor:
        images = original(*arguments)
        if next(numbers) in bad:
            images[0, 0, 0, 0] = math.nan
        return images

    monkeypatch.setattr(Transform, "train", poisoned)


@pytest.mark.parametrize(
    ("every_steps", "every_minutes"),
    [
        (3, 5.0),
        (1, 5.0),  # a lap without one good step has no loss
        (3, 0.0),  # nor has what a checkpoint sums so far
    ],
)
def test_images_that_are_left_out_are_counted_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path, every_steps: int, every_minutes: float
) -> None:
    bad_batches(monkeypatch, 0)
    run = train(skipping(tiny, every_steps=every_steps, every_minutes=every_minutes), tmp_path)
    (epoch,), steps = events(run, "epoch"), events(run, "step")
    assert (epoch["skipped"], epoch["n"]) == (8, 16) and math.isfinite(epoch["loss"]) and run.result()
    assert [(e["skipped"], e["n"]) for e in steps] == ([(8, 0), (0, 8), (0, 8)] if every_steps == 1 else [(8, 16)])
    assert all(("loss" in e) == ("top1" in e) == (e["n"] > 0) for e in steps)


def test_an_epoch_that_is_left_out_whole_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path
) -> None:
    bad_batches(monkeypatch, 0, 1, 2)
    with pytest.raises(TrainingError, match="all 3 steps of epoch 1 were skipped") as refusal:
        train(skipping(tiny), tmp_path)
    assert "\n" not in str(refusal.value) and not list(tmp_path.glob("*/result.json"))


def skipping(tiny: Tiny, every_steps: int = 3, every_minutes: float = 5.0) -> Settings:
    """One epoch of three steps."""
    return tiny(
        optimisation={"non_finite": "skip", "epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-4},
        logging={"every_steps": every_steps},
        checkpoints={"every_minutes": every_minutes},
    )


# --- terminal and log -----------------------------------------------------------------------------------------------


class Terminal:
    """A terminal, of which all that is written to it is read."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 160))
        self.file = os.fdopen(theirs, "w")
        self._read = bytearray()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        try:
            while some := os.read(self._ours, 4096):
                self._read += some
        except OSError:  # how Linux says that the other end is closed
            return

    def said(self) -> str:
        self.file.close()
        self._reader.join(10)
        os.close(self._ours)
        return self._read.decode()


def tell(attempt: Attempt) -> None:
    with Progress(EPOCHS, attempt) as progress:
        progress.begin(1.0, 3)
        progress.tick(epoch=1.5)
        logging.getLogger("blurtrain.anything").info("a word in between")
        progress.epoch(6, 2, METRICS, **VALUES)
        progress.tick(epoch=2.0)


LINE = "epoch 2/4: loss 1.250, top-1 50.0 %, sigma 2, 10 images/s, 25 % waiting for data"


def test_a_log_has_a_line_an_epoch(
    attempt: Attempt, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        tell(attempt)
    assert [r.getMessage() for r in caplog.records] == ["a word in between", LINE]
    assert capsys.readouterr().err == "", "no bar"
    assert LINE in (attempt.path / "log.txt").read_text()


def test_a_terminal_has_a_bar(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.file)
    plain = logging.StreamHandler(terminal.file)
    logging.getLogger().addHandler(plain)
    try:
        with caplog.at_level(logging.INFO):
            tell(attempt)
        assert plain in logging.getLogger().handlers, "as it was before"
    finally:
        logging.getLogger().removeHandler(plain)
    said = terminal.said()
    assert "1.00/4 epochs" in said and "2.00/4 epochs" in said and "50%|" in said
    assert LINE.removeprefix("epoch 2/4: ") in said.split("2.00/4 epochs")[-1]
    assert LINE not in said and said.count("a word in between") == 1
    before, after = said.split("a word in between")
    assert before.endswith(("\r", "\r\x1b[K")) and after.startswith("\r\n"), "on a line of its own"
