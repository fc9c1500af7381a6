"""A run that pauses at the end of an epoch: nothing is published, and it goes on with the same bits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interruption import train_until
from processes import Training, codes, run

import blurtrain
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.errors import SettingsError
from blurtrain.run import Run
from blurtrain.settings import Settings, dump, run_id
from blurtrain.training.train import train
from jobs.grid import Member
from jobs.states import intent, states

Tiny = Callable[..., Settings]
EPOCHS, STEPS = 3, 3
STOPPING: dict[str, Any] = {
    "optimisation": {"epochs": 12, "learning_rate": 0.01},
    "early_stopping": {"patience": 2, "metric": "top1"},
}


@pytest.fixture(scope="module")
def settings(tiny: Tiny) -> Settings:
    return tiny(
        regime="blurry-to-clear",
        curriculum={"schedule": "stepwise", "sigmas": [8, 0]},
        augmentation={"colour": 0.5, "erasing": 0.5},
        optimisation={"epochs": EPOCHS, "ema": 0.9},
        validation={"every_epochs": 1, "keep_best": "loss"},
        loader={"threads": 1},
        logging={"every_steps": 1},
    )


def outcome(one: Run) -> tuple[Any, ...]:
    result = one.result()
    assert result is not None
    return result, one.weights.read_bytes(), one.best.read_bytes(), (one.evaluations / result["accuracy"]).read_bytes()


def events(one: Run, *kinds: str) -> list[tuple[str, Any, Any]]:
    return [(e["event"], e.get("epoch"), e.get("loss")) for e in one.journal() if e["event"] in kinds]


def saved(one: Run) -> dict[str, Any]:
    (newest,) = (p for p in one.checkpoints.glob("step-*.pt") if int(p.name.split("-")[1]) == one.saved_step())
    return torch.load(newest, weights_only=True)


@pytest.mark.parametrize("every_minutes", [60.0, 0.0])
def test_pausing_at_every_epoch_and_going_on_changes_no_bit(
    settings: Settings, tmp_path: Path, every_minutes: float
) -> None:
    settings = settings.model_copy(
        update={"checkpoints": settings.checkpoints.model_copy(update={"every_minutes": every_minutes})}
    )
    whole = train(settings, tmp_path / "whole")
    for epoch in range(1, EPOCHS):
        paused = train(settings, tmp_path / "paused", until_epoch=epoch)
        assert paused.result() is None and not paused.weights.exists()
        state = saved(paused)
        assert (state["epoch"], state["step"], paused.saved_step()) == (epoch, 0, epoch * STEPS)
        assert state["validation"]["kept"]["epoch"] > 0, "the look at the val split belongs to it"
        last = list(paused.journal())[-1]
        assert (last["event"], last["at"], last["epoch"]) == ("paused", epoch * STEPS, epoch)
    train(settings, tmp_path / "paused", until_epoch=EPOCHS)
    assert outcome(paused) == outcome(whole)
    assert events(paused, "step", "epoch", "validation") == events(whole, "step", "epoch", "validation")
    assert len(paused.attempts()) == EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_in_processes_of_their_own(settings: Settings, tmp_path: Path, world: int) -> None:
    whole = Training(settings, tmp_path / "whole")
    parts = replace(whole, runs=tmp_path / "parts")
    assert codes(run(*[whole] * world)) == [0] * world
    for epoch in range(1, EPOCHS):
        assert codes(run(*[replace(parts, options=("--until-epoch", str(epoch)))] * world)) == [0] * world
        (paused,) = (Run(path.parent) for path in parts.runs.glob("*/settings.yaml"))
        assert paused.result() is None and paused.saved_step() == epoch * STEPS
    assert codes(run(*[parts] * world)) == [0] * world
    (undisturbed,) = (Run(path.parent) for path in whole.runs.glob("*/settings.yaml"))
    assert outcome(paused) == outcome(undisturbed)


def test_what_is_done_already_is_not_trained_again(
    settings: Settings, tmp_path: Path, prepared: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    paused = train(settings, tmp_path, until_epoch=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for epoch in (1, 2):
        train(settings, tmp_path, until_epoch=epoch)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert paused.id == run_id(settings, prepared.data_id), "a pause is no setting"
    file = tmp_path.with_name("settings.yaml")
    file.write_text(dump(settings))
    with pytest.raises(SystemExit) as ended:
        main(["train", str(file), "--runs", str(tmp_path), "--until-epoch", "2"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"{paused.path}\n"
    assert len(paused.attempts()) == 1
    blurtrain.train(settings, tmp_path, until_epoch=99)
    assert paused.result() is not None
    assert train(settings, tmp_path, until_epoch=1).result() is not None, "a done run is left alone"


def test_killed_before_it_could_pause_it_pauses_at_the_same_place(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(optimisation={"epochs": EPOCHS}, checkpoints={"every_minutes": 0})
    whole = train(settings, tmp_path / "whole")
    train_until(STEPS + 1, settings, tmp_path / "parts")
    paused = train(settings, tmp_path / "parts", until_epoch=2)
    assert (saved(paused)["epoch"], saved(paused)["step"]) == (2, 0)
    train(settings, tmp_path / "parts")
    assert paused.weights.read_bytes() == whole.weights.read_bytes()


def test_early_stopping_ends_a_paused_run_where_it_would_have_ended(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(**STOPPING)
    whole = train(settings, tmp_path / "whole")
    ended = whole.result()["epochs"]
    assert 2 < ended < 12
    for epoch in (ended - 1, ended):
        paused = train(settings, tmp_path / "parts", until_epoch=epoch)
        assert paused.result() is None
    assert train(settings, tmp_path / "parts", until_epoch=ended + 1).result() == whole.result()
    assert len(events(paused, "epoch")) == ended
    assert train(settings, tmp_path / "once", until_epoch=ended + 1).result() == whole.result()


def test_a_pause_is_no_failure_and_says_where_the_run_stands(
    settings: Settings, tmp_path: Path, prepared: Dataset
) -> None:
    member = Member(run_id(settings, prepared.data_id), settings)
    train(settings, tmp_path, until_epoch=2)
    (row,) = states([member], tmp_path)
    assert (row["state"], row["epoch"], row["epochs"]) == ("preempted", 2, EPOCHS)
    assert row["message"] == f"paused after epoch 2 of {EPOCHS}; submit again to continue it"
    assert intent(row) == "continue"


@pytest.mark.parametrize("epoch", [0, -1])
def test_there_is_no_epoch_before_the_first(settings: Settings, tmp_path: Path, epoch: int) -> None:
    with pytest.raises(SettingsError, match=rf"^until_epoch={epoch}: must be 1 or more"):
        train(settings, tmp_path / "runs", until_epoch=epoch)
    assert not (tmp_path / "runs").exists()
