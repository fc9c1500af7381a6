"""Curricula in a training: which sigma each image gets, however the run is shared, cut into passes, and resumed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interruption import train_until
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.assignment import Assignment
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.draws import batch_draws, curriculum_draws
from blurtrain.data.loader import training_order
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.learner import Learner
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
Seen = dict[tuple[int, int], float]

CURRICULA: dict[str, dict[str, Any]] = {
    "uniform": {"schedule": "uniform", "low": 1, "high": 5, "share": 0.5},
    "uniform-by-batch": {"schedule": "uniform", "low": 1, "high": 5, "share": 0.5, "draw": "batch"},
    "replay": {"schedule": "replay", "sigmas": [8, 2, 0], "durations": [1, 1, 4], "draw": "batch"},
    "developmental": {"schedule": "developmental", "ageing": "batch"},
}


def sigmas_of(run: Run) -> list[float]:
    return [event["sigma"] for event in run.journal() if event["event"] == "epoch"]


@contextmanager
def watching() -> Iterator[Seen]:
    """Sigma of each image that a training is shown, by (epoch, index), at the reference resolution."""
    seen: Seen = {}
    transformed = Transform.train

    def watched(
        self: Transform, batch: Tensor, indices: NDArray[np.integer], epoch: int, assignment: Assignment, sides: Any
    ) -> Tensor:
        seen.update({(epoch, int(i)): float(s) for i, s in zip(indices, assignment.sigmas, strict=True)})
        return transformed(self, batch, indices, epoch, assignment, sides)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transform, "train", watched)
        yield seen


def defined(prepared: Dataset, sigma: Callable[[int, float, float, float], float]) -> Seen:
    """What a run of seed 4 with 2 epochs of 3 batches of 8 is to see, from (epoch, within, image's, batch's draw)."""
    expected: Seen = {}
    for epoch in (0, 1):
        order = training_order(prepared.split("train")[0], 4, epoch, 8)
        images, batches = curriculum_draws(4, epoch, order), batch_draws(4, epoch, 3)
        for k, index in enumerate(order):
            step = k // 8
            expected[epoch, int(index)] = sigma(epoch, step / 3, float(images[k]), float(batches[step]))
    return expected


DEFINED: dict[str, Callable[[int, float, float, float], float]] = {
    "uniform": lambda _e, _w, image, _b: 5 - 4 * 2 * image if image < 0.5 else 0,
    "uniform-by-batch": lambda _e, _w, image, batch: 5 - 4 * batch if image < 0.5 else 0,
    # Stages end after 1/3, 2/3 and 2 epochs, so that epoch 0 begins with the first, and epoch 1 with the last.
    "replay": lambda e, _w, _i, batch: 8 if e == 0 or batch < 1 / 9 else 2 if batch < 3 / 9 else 0,
    "developmental": lambda e, w, _i, _b: 18.06 * np.exp(-1.58 * (e + w)) + 1.6 * np.exp(-0.054 * (e + w)),
}


@pytest.mark.parametrize("name", CURRICULA)
def test_each_image_gets_its_sigma_also_when_the_run_is_cut_into_passes_and_resumed_inside_an_epoch(
    tiny: Tiny, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def settings(accumulate: int) -> Settings:
        return tiny(
            regime=name, curriculum=CURRICULA[name], seed=4, checkpoints={"every_minutes": 0},
            optimisation={"accumulate": accumulate},
        )  # fmt: skip

    expected = defined(prepared, DEFINED[name])
    with watching() as seen:
        whole = train(settings(1), tmp_path / "whole")
    assert seen == pytest.approx(expected) and len(seen) == 2 * 24
    mean = [np.mean([s for (e, _), s in expected.items() if e == epoch]) for epoch in (0, 1)]
    assert sigmas_of(whole) == pytest.approx(mean)
    original = Learner.step

    def stop(learner: Learner, *step: Any) -> Tensor:
        if step[3] == 4:  # the second of the second epoch
            raise KeyboardInterrupt
        return original(learner, *step)

    with watching() as parts:
        monkeypatch.setattr(Learner, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(settings(2), tmp_path / "parts")
        monkeypatch.undo()
        resumed = train(settings(2), tmp_path / "parts")
    assert [event["at"] for event in resumed.journal() if event["event"] == "start"] == [0, 4]
    assert parts == seen
    assert sigmas_of(resumed) == sigmas_of(whole)


def test_a_run_that_ages_with_every_batch_is_resumed_to_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(regime="ageing", curriculum=CURRICULA["developmental"], checkpoints={"every_minutes": 0})
    whole = train(settings, tmp_path / "whole")
    train_until(2, settings, tmp_path / "parts")
    assert train(settings, tmp_path / "parts").weights.read_bytes() == whole.weights.read_bytes()


def test_mixtures_are_stratified(tiny: Tiny, tmp_path: Path) -> None:
    halves = {"schedule": "mix", "sigmas": [0, 8], "probabilities": [0.5, 0.5]}
    assert sigmas_of(train(tiny(regime="halves", curriculum=halves), tmp_path)) == [4, 4]  # stratified, so exactly
    three = {"schedule": "mix", "sigmas": [0, 2, 8], "probabilities": [0.25, 0.5, 0.25]}
    assert sigmas_of(train(tiny(regime="three", curriculum=three), tmp_path)) == pytest.approx([3, 3], abs=1.5)


def test_a_run_that_is_too_short_for_its_curriculum_says_so(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(tiny(regime="multi-step"), tmp_path)
    words = "too few epochs (2) for the stepwise curriculum, which never gets to level 2 (sigma 3), level 3 (sigma 2)"
    assert words in caplog.text
    assert words in (run.path / "attempts" / "0001" / "log.txt").read_text()
    caplog.clear()
    train(tiny(regime="single-step"), tmp_path)
    assert "too few epochs" not in caplog.text
