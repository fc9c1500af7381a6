"""What a search makes better, read from run directories."""

import json
from pathlib import Path

import pytest

from blurtrain.objective import Objective
from blurtrain.run import Run
from blurtrain.settings import compose
from blurtrain.trials import mean_of, values

SETTINGS = compose({"dataset": "faces", "regime": "clear"}, "test")


def run_with(runs: Path, name: str, *epochs: tuple[int, float, float], done: bool = False) -> Run:
    """A run that looked at the val split, sharp and at disk-4@384, after these epochs."""
    run = Run.begin(runs, name, SETTINGS)
    attempt = run.new_attempt(SETTINGS, "data")
    attempt.record("start", at=0, epoch=0)
    for epoch, sharp, disk in epochs:
        attempt.record("epoch", at=epoch, epoch=epoch, loss=1 / epoch, top1=1.0)
        levels = [{"blur": "sharp", "top1": sharp, "loss": -sharp}, {"blur": "disk-4@384", "top1": disk, "loss": -disk}]
        attempt.record("validation", at=epoch, epoch=epoch, split="val", n=4, top1=0.0, levels=levels)
    attempt.close()
    if done:
        run.finish({"run_id": name, "epochs": max(e for e, *_ in epochs)})
    return run


def objective(**said: object) -> Objective:
    return Objective.model_validate(said)


def test_of_validation_it_is_the_mean_over_the_blurs_asked_for(tmp_path: Path) -> None:
    run = run_with(tmp_path, "a", (1, 50, 30), (2, 60, 40))
    assert objective(blurs=["sharp"]).values(run) == {1: 50, 2: 60}
    assert objective(blurs=["sharp", "disk-4@384"]).values(run) == {1: 40, 2: 50}
    assert objective(blurs=["disk-4@384"], metric="loss").values(run) == {1: -30, 2: -40}
    assert objective(blurs=["sharp", "disk-8@384"]).values(run) == {}  # nobody looked at it


def test_of_training_it_is_the_epochs_own_mean(tmp_path: Path) -> None:
    run = run_with(tmp_path, "a", (1, 0, 0), (2, 0, 0))
    assert objective(of="training", metric="loss").values(run) == {1: 1.0, 2: 0.5}


def test_of_a_measure_it_is_known_at_the_end_and_of_the_val_split(tmp_path: Path) -> None:
    run = run_with(tmp_path, "a", (1, 0, 0), (2, 0, 0))
    accuracy = objective(of="accuracy", metric="top1", blurs=["sharp", "disk-4@384"])

    def evaluate(split: str, right: int) -> None:
        rows = [{"metric": "top1", "blur": blur, "n": 100, "count": right + k}
                for k, blur in enumerate(("sharp", "disk-4@384"))]  # fmt: skip
        run.evaluation("accuracy", split).write_text(json.dumps({"split": split, "epoch": None, "rows": rows}))

    evaluate("test", 90)
    assert accuracy.values(run) == {}
    run.finish({"run_id": "a", "epochs": 2})
    assert accuracy.values(run) == {}  # it was measured on test images alone
    evaluate("val", 50)
    assert accuracy.values(run) == {2: pytest.approx(0.505)}


def test_a_trial_is_the_mean_over_its_runs_at_epochs_that_all_have_reached(tmp_path: Path) -> None:
    run_with(tmp_path, "a", (1, 50, 0), (2, 60, 0), (3, 70, 0))
    run_with(tmp_path, "b", (1, 30, 0), (2, 20, 0))
    assert values(objective(), tmp_path, ["a", "b"]) == {1: 40, 2: 40}
    assert values(objective(), tmp_path, ["a", "b", "not-begun"]) == {}


def test_a_run_that_stopped_early_keeps_its_last_value(tmp_path: Path) -> None:
    assert mean_of([({1: 50.0, 2: 60.0, 3: 70.0}, True), ({1: 30.0, 2: 20.0}, True)]) == {1: 40, 2: 40, 3: 45}
    assert mean_of([({1: 50.0, 3: 70.0}, True), ({2: 20.0}, False)]) == {}
    assert mean_of([]) == {}


def test_more_or_less_is_better_as_the_task_says_or_the_user() -> None:
    assert objective().is_max(SETTINGS)
    assert not objective(metric="loss").is_max(SETTINGS)
    assert not objective(mode="min").is_max(SETTINGS)
