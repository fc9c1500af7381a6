"""What is logged of a training: journal, TensorBoard, and lines in a log or a bar on a terminal."""

import io
import itertools
import json
import logging
import math
import os
import pty
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attempts import EPOCHS, METRICS, VALUES
from numpy.typing import NDArray
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from blurtrain.data.augment import Transform
from blurtrain.errors import TrainingError
from blurtrain.run import Attempt, Run
from blurtrain.settings import Augmentation, BlurUnits, Settings
from blurtrain.training.progress import Progress
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


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
    top1 = [row for row in outcome["rows"] if row["metric"] == "top1"]
    expected = [(1000 * row["sigma"], 100 * row["count"] / row["n"]) for row in top1]
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
        time.sleep(1.1)  # files are read by name: by second, then by a count of this process, 10 before 9
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
