"""A second network that learns beside the first one: what it is stepped by, kept in, and left out of; and runs against
blur that are killed."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from learners import ALONE, RATE, Net, data, poisoned, same, state, train
from learners import settings as learner_settings
from processes import Training, codes, run

from blurtrain.run import Run
from blurtrain.tasks import Loss
from blurtrain.training.learner import Learner
from blurtrain.training.train import train as train_run

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = {"type": "proposed-blur", "size": 3, "width": 2, "rate": 3}


def learner(**parts: Any) -> Learner:
    """Each with an opponent of its own."""
    chosen = learner_settings(**parts)
    return Learner(Net(), chosen.optimisation, chosen.precision, ALONE, loss=Loss.model_validate(KIND))


@pytest.mark.parametrize(
    "parts",
    [
        {"arithmetic": "float32", "optimiser": "adam"},
        {"arithmetic": "float16", "optimiser": "adam", "ema": 0.5},
        {"arithmetic": "bfloat16", "optimiser": "sgd", "non_finite": "skip", "accumulate": 2, "batch_norm_images": 4},
    ],
    ids=lambda parts: parts["arithmetic"],
)
def test_another_learner_goes_on_to_the_same_bits(deterministic: None, parts: dict[str, Any]) -> None:
    batches = data(6)
    begun, resumed = learner(**parts), learner(**parts)
    train(resumed, batches[:1])
    train(begun, batches[:3])
    file = io.BytesIO()
    torch.save(begun.state(), file)
    file.seek(0)
    resumed.load(torch.load(file, map_location="cpu", weights_only=True))
    assert same(train(begun, batches[3:], 3), train(resumed, batches[3:], 3))
    assert same(begun.state(), resumed.state())


def test_it_has_a_rate_of_its_own_and_is_not_published() -> None:
    ours = learner(optimiser="sgd", momentum=0, weight_decay=0.1)
    before = state(ours)
    train(ours, data(1))
    rates = [(group["lr"], group["weight_decay"]) for group in ours.optimiser.param_groups]
    assert rates == [(RATE, 0.1), (3 * RATE, 0.0)]
    assert ours.opponent is not None
    for name, parameter in ours.opponent.named_parameters():
        expected = before["opponent"][name] - 3 * RATE * parameter.grad
        torch.testing.assert_close(parameter.detach(), expected)
    assert list(ours.trained().state_dict()) == list(Net().state_dict())
    assert ours.is_finite()
    with torch.no_grad():
        next(ours.opponent.parameters()).fill_(torch.nan)
    assert not ours.is_finite(), "such a state is not saved"


@pytest.mark.parametrize("arithmetic", ["float32", "float16"])
def test_a_step_that_is_skipped_changes_neither(arithmetic: str) -> None:
    ours = learner(arithmetic=arithmetic, non_finite="skip")
    train(ours, data(2))
    before = state(ours)
    sums = ours.step(*poisoned(data(1)[0], torch.nan), RATE, 2)
    assert sums[-1] == 8 and same(state(ours)["opponent"], before["opponent"])
    assert same(state(ours)["model"], before["model"])


def test_a_run_from_another_s_checkpoint_begins_with_a_new_one() -> None:
    theirs, ours = learner(), learner()
    train(theirs, data(3))
    before = state(ours)
    ours.start_from(state(theirs), ())
    assert same(state(ours)["opponent"], before["opponent"]) and same(state(ours)["model"], state(theirs)["model"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        {"type": "proposed-blur", "size": 5, "width": 4, "rate": 10},
        pytest.param({"type": "adversarial-blur", "size": 5, "steps": 2}, marks=pytest.mark.long),
    ],
    ids=lambda loss: loss["type"],
)
def test_a_run_that_is_killed_ends_with_the_same_bits(tiny: Any, tmp_path: Path, loss: dict[str, Any]) -> None:
    settings = tiny(
        loss=loss,
        network={"architecture": "timm/test_vit", "arguments": {"img_size": 32}, "frontend": {"width": 2, "depth": 1}},
        model="small",
        data={"resolution": 32},
        checkpoints={"every_minutes": 0},
        loader={"threads": 1},
    )
    whole = train_run(settings, tmp_path / "whole")
    killed, again = (Training(settings, tmp_path / "parts", point, 5) for point in ("step", ""))
    assert codes(run(killed)) == [-9] and codes(run(again)) == [0]
    assert Run(tmp_path / "parts" / whole.id).weights.read_bytes() == whole.weights.read_bytes()
