"""A run that starts from another run's checkpoint: the other's state, its own settings, from the first step on."""

import copy
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learners import RATE, data, learner
from learners import train as train_learner
from processes import Training, codes, run

from blurtrain.data.dataset import Dataset
from blurtrain.documents import merge
from blurtrain.errors import BlurtrainError, RunError, SettingsError
from blurtrain.run import Run
from blurtrain.settings import Settings, run_id
from blurtrain.training import checkpoint
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
EPOCHS, STEPS, AT = 3, 3, 1
SGD = {"optimiser": "sgd", "momentum": 0.9, "learning_rate": 0.01}
PARENT: dict[str, Any] = {
    "optimisation": {"epochs": EPOCHS, **SGD, "weight_decay": 0.001, "ema": 0.9},
    "loader": {"threads": 1},
    "logging": {"every_steps": 1},
}
CHILD: dict[str, Any] = {
    "seed": 5,
    "regime": "blurry-to-clear",
    "curriculum": {"schedule": "stepwise", "sigmas": [8, 4, 0]},
    "augmentation": {"colour": 0.5, "erasing": 0.5},
    "network": {"dropout": 0.2},
    "optimisation": {
        "learning_rate": 0.02,
        "learning_rate_schedule": "constant",
        "momentum": 0.5,
        "weight_decay": 0.01,
        "batch_size": 10,
        "ema": 0.8,
        "epochs": EPOCHS + 1,
        "label_smoothing": 0.1,
        "warmup_epochs": 0,
    },
}


def paused(settings: Settings, runs: Path, epoch: int = AT) -> tuple[Run, dict[str, Any]]:
    """A run that has come so far, and the section `start` of one that goes on from there."""
    parent = train(settings, runs, until_epoch=epoch)
    return parent, {"run": parent.id, "epoch": epoch, "sha256": parent.keep_epoch(epoch)}


@pytest.fixture(scope="module")
def parent(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    return paused(tiny(**PARENT), tmp_path_factory.mktemp("parent") / "runs")


def child_of(tiny: Tiny, parent: tuple[Run, dict[str, Any]], **changes: Any) -> Settings:
    return tiny(**merge(merge(merge(PARENT, CHILD), changes), {"start": parent[1]}))


def beside(parent: tuple[Run, dict[str, Any]], runs: Path) -> Path:
    """A folder of runs with the parent's directory in it."""
    shutil.copytree(parent[0].path, runs / parent[0].id)
    return runs


def changed_by_hand(settings: Settings, parent: Run, runs: Path, data_id: str) -> Run:
    """The parent's state as that of a run with other settings, that has been interrupted just there."""
    plain = settings.model_copy(update={"start": None})
    changed = Run.begin(runs, run_id(plain, data_id), plain)
    state = torch.load(parent.epoch_checkpoint(AT), weights_only=True)
    o = plain.optimisation
    (group,) = state["optimiser"]["param_groups"]
    group |= {"lr": o.learning_rate, "momentum": o.momentum, "weight_decay": o.weight_decay}
    checkpoint.save(changed.checkpoints, AT * (30 // o.batch_size), {**state, "run": changed.id}, 2)
    return train(plain, runs)


def outcome(one: Run) -> tuple[bytes, bytes]:
    result = one.result()
    assert result is not None
    return one.weights.read_bytes(), (one.evaluations / result["accuracy"]).read_bytes()


def test_it_is_the_other_run_with_its_settings_changed(
    tiny: Tiny, prepared: Dataset, parent: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    settings = child_of(tiny, parent)
    child = train(settings, beside(parent, tmp_path / "runs"))
    oracle = changed_by_hand(settings, parent[0], tmp_path / "oracle", prepared.data_id)
    assert outcome(child) == outcome(oracle)
    logged = [[e for e in one.journal() if e["event"] == "step"] for one in (child, oracle)]
    assert [(e["at"], e["loss"], e["learning_rate"]) for e in logged[0]] == [
        (e["at"], e["loss"], e["learning_rate"]) for e in logged[1]
    ]
    assert [e["epoch"] for e in child.journal() if e["event"] == "epoch"] == [2, 3, 4]
    assert {e["learning_rate"] for e in logged[0]} == {0.02} and child.id != oracle.id
    assert train(settings, tmp_path / "runs").id == child.id and len(child.attempts()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_killed_right_after_the_start_it_ends_with_the_same_bits(
    tiny: Tiny, parent: tuple[Run, dict[str, Any]], tmp_path: Path, world: int
) -> None:
    settings = child_of(tiny, parent, checkpoints={"every_minutes": 0})
    whole = Training(settings, beside(parent, tmp_path / "whole"))
    parts = replace(whole, runs=beside(parent, tmp_path / "parts"))
    assert codes(run(*[whole] * world)) == [0] * world
    (undisturbed,) = (Run(p.parent) for p in whole.runs.glob("*/result.json"))
    killed = Run(parts.runs / undisturbed.id)
    for n, saved in ((1, False), (3, True)):  # a save is agreed upon one step before
        assert 0 not in codes(run(*[replace(parts, point="step", n=n)] * world))
        assert bool(killed.saved_step()) == saved
    shutil.rmtree(parts.runs / parent[0].id)  # it has a checkpoint of its own by now
    assert codes(run(*[parts] * world)) == [0] * world
    assert outcome(killed) == outcome(undisturbed)


def test_it_may_pause_and_be_a_parent_itself(tiny: Tiny, parent: tuple[Run, dict[str, Any]], tmp_path: Path) -> None:
    settings, runs = child_of(tiny, parent), beside(parent, tmp_path / "runs")
    assert not train(settings, runs, until_epoch=AT).path.exists(), "so far the parent has come"
    child, start = paused(settings, runs, 2)
    assert child.saved_step() == 2 * STEPS
    grandchild = train(child_of(tiny, (child, start), seed=6), runs, until_epoch=3)
    assert [e["epoch"] for e in grandchild.journal() if e["event"] == "epoch"] == [3]


# --- hyperparameters ------------------------------------------------------------------------------------------------


def test_the_first_step_is_by_the_new_hyperparameters(deterministic: None) -> None:
    """SGD by hand (momentum, decay and rate of each group), in float64."""
    old = learner(arithmetic="float64", optimiser="sgd", momentum=0.9, weight_decay=0.1)
    train_learner(old, data(3))
    groups = [{"match": "*.bias", "weight_decay": 0}, {"match": "first.*", "learning_rate_factor": 0.5}]
    new = learner(arithmetic="float64", optimiser="sgd", momentum=0.6, weight_decay=0.3, groups=groups)
    new.start_from(copy.deepcopy(old.state()), old.settings.groups)
    before = {name: (p.detach().clone(), old.optimiser.state[p]["momentum_buffer"].clone())
              for name, p in old.network.named_parameters()}  # fmt: skip
    images, labels = data(4)[3]
    old.optimiser.zero_grad()
    torch.nn.functional.cross_entropy(old.network(images.double()), labels).backward()
    gradients = {name: p.grad for name, p in old.network.named_parameters()}
    new.step(images, labels, RATE, 3)
    for name, parameter in new.network.named_parameters():
        weights, buffer = before[name]
        decay = 0.0 if name.endswith("bias") else 0.3
        rate = RATE * (0.5 if name == "first.weight" else 1)
        expected = weights - rate * (0.6 * buffer + gradients[name] + decay * weights)
        assert torch.allclose(parameter, expected, rtol=1e-12, atol=1e-14), name


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_averages_follow_their_parameters_into_other_groups(deterministic: None, optimiser: str) -> None:
    frozen = [{"match": "second.*", "frozen": True}, {"match": "*.bias"}]
    old = learner(optimiser=optimiser, groups=frozen)
    train_learner(old, data(3))
    new = learner(optimiser=optimiser, groups=[{"match": "norm.*"}, {"match": "classifier.weight", "frozen": True}])
    new.start_from(copy.deepcopy(old.state()), old.settings.groups)
    theirs = {name: old.optimiser.state.get(p, {}) for name, p in old.network.named_parameters()}
    for name, parameter in new.network.named_parameters():
        state = new.optimiser.state.get(parameter, {})
        if name == "classifier.weight":
            assert not state
        elif name.startswith("second."):
            assert all(not value.any() for value in state.values()), "begins without any"
        else:
            assert state.keys() == theirs[name].keys() != set()
            assert all(torch.equal(state[key], theirs[name][key]) for key in state)
    sums = train_learner(new, data(4)[3:], 3)
    assert bool(torch.isfinite(sums).all())


def test_a_momentum_that_comes_new_begins_at_zero() -> None:
    old, new = learner(optimiser="sgd", momentum=0.0), learner(optimiser="sgd", momentum=0.9)
    train_learner(old, data(2))
    new.start_from(copy.deepcopy(old.state()), ())
    assert all(not state["momentum_buffer"].any() for state in new.optimiser.state.values())


# --- what is judged --------------------------------------------------------------------------------------------------


def test_early_stopping_goes_on_counting_and_the_best_epoch_is_its_own(tiny: Tiny, tmp_path: Path) -> None:
    looked: dict[str, Any] = {
        "early_stopping": {"patience": 3, "metric": "top1"},
        "validation": {"every_epochs": 1, "keep_best": "top1"},
        "optimisation": {"epochs": 9, "learning_rate": 1e-9},  # no look is better than the first
        "loader": {"threads": 1},
    }
    start = paused(tiny(**looked), tmp_path)[1]
    child = train(tiny(**looked, seed=1, start=start), tmp_path)
    result = child.result()
    assert result["epochs"] == 4 and result["best"]["epoch"] == 2 and child.best.exists()
    otherwise = merge(looked, {"early_stopping": {"blurs": ["gaussian-8"]}})
    assert train(tiny(**otherwise, seed=1, start=start), tmp_path).result()["epochs"] == 5, "it counts anew"


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": {"sha256": "a" * 64}}, r"epoch-0001\.pt: is not the checkpoint that start\.sha256=aaaa"),
        ({"start": {"epoch": 2}}, r"epoch-0002\.pt: cannot be read: No such file"),
        ({"start": {"run": "another"}}, r"another/checkpoints/epoch-0001\.pt: cannot be read: No such file"),
        ({"network": {"architecture": "resnet-18"}}, r"^network\.architecture=resnet-18: start\.run=\S+ has alexnet-s"),
        ({"optimisation": {"optimiser": "adam"}}, r"^optimisation\.optimiser=adam: start\.run=\S+ has sgd"),
        ({"optimisation": {"ema": 0}}, r"^optimisation\.ema=0.0: start\.run=\S+ has 0\.9"),
        ({"precision": {"arithmetic": "bfloat16"}}, r"^precision\.arithmetic=bfloat16: start\.run=\S+ has float32"),
        ({"data": {"mean": [0.5, 0.5, 0.5]}}, r"^data\.mean=\(0\.5, 0\.5, 0\.5\): start\.run=\S+ has None"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    tiny: Tiny, parent: tuple[Run, dict[str, Any]], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    runs = beside(parent, tmp_path / "runs")
    whole = merge(merge(PARENT, CHILD), {"start": parent[1]})
    with pytest.raises(BlurtrainError, match=words) as refusal:
        train(tiny(**merge(whole, change)), runs)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in runs.iterdir()] == [parent[0].id]


def test_other_data_is_refused(
    tiny: Tiny, prepared: Dataset, tree: Path, parent: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    from blurtrain.data.preparation import Recipe, prepare

    other, _ = prepare(tmp_path / "data", prepared.name, Recipe(images=str(tree), resolution=64, val=0))
    assert other.data_id != prepared.data_id
    settings = child_of(tiny, parent, data={"root": str(tmp_path / "data")})
    with pytest.raises(SettingsError, match=r"start\.run=\S+: was trained on other data than dataset 'textures' is"):
        train(settings, beside(parent, tmp_path / "runs"))


def test_nothing_left_to_train_is_refused(tiny: Tiny) -> None:
    with pytest.raises(SettingsError, match=r"start\.epoch=3 must be less than optimisation\.epochs=3"):
        tiny(optimisation={"epochs": 3}, start={"run": "a-run", "epoch": 3, "sha256": "a" * 64})
    with pytest.raises(SettingsError, match=r"start\.run"):
        tiny(optimisation={"epochs": 3}, start={"run": "../a-run", "epoch": 1, "sha256": "a" * 64})


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_same_state_is_the_same_file_however_often_it_was_interrupted(
    tiny: Tiny, tmp_path: Path, optimiser: str
) -> None:
    """Or else the id of a run that starts from it would depend on that."""
    groups = [{"match": "*.bias", "weight_decay": 0}]
    settings = tiny(optimisation={"epochs": 3, "optimiser": optimiser, "groups": groups, "ema": 0.9})
    whole = paused(settings, tmp_path / "whole", 2)[1]
    paused(settings, tmp_path / "parts", 1)
    assert paused(settings, tmp_path / "parts", 2)[1] == whole


# --- the checkpoint that is kept -------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [True, False])
def test_what_is_kept_stays_whatever_comes_after(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    settings = tiny(optimisation={"epochs": 3}, checkpoints={"every_minutes": 0})
    one = train(settings, tmp_path, until_epoch=1)
    if not links:

        def refuse(*_: Any) -> None:
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    digest = one.keep_epoch(1)
    monkeypatch.undo()
    kept = one.epoch_checkpoint(1)
    assert kept == one.checkpoints / "epoch-0001.pt"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == digest == one.keep_epoch(1)
    assert kept.stat().st_nlink == (2 if links else 1)
    with pytest.raises(RunError, match="is not paused after epoch 2: train it with --until-epoch 2"):
        one.keep_epoch(2)
    train(settings, tmp_path)
    assert one.keep_epoch(1) == digest and hashlib.sha256(kept.read_bytes()).hexdigest() == digest
    assert checkpoint.newest(one.checkpoints, one.id) != kept
    with pytest.raises(RunError, match="is not paused after epoch 3"):
        one.keep_epoch(3)


def test_killed_before_it_could_log_the_pause_it_logs_it_the_next_time(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny(optimisation={"epochs": 3})
    one = train(settings, tmp_path, until_epoch=1)
    journal = one.attempts()[0] / "journal.jsonl"
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if "paused" not in line))
    with pytest.raises(RunError, match="is not paused after epoch 1"):
        one.keep_epoch(1)
    train(settings, tmp_path, until_epoch=1)
    assert len(one.attempts()) == 2 and len(one.keep_epoch(1)) == 64
    assert [e["event"] for e in one.journal()].count("epoch") == 1
