"""Trainings whose loss looks at several views of an image, or blurs it itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruption import train_until
from learners import ALONE, RATE, Net, close, data, settings, train
from test_train import same_outcome
from torch.nn.functional import cross_entropy

from blurtrain.errors import SettingsError, TrainingError
from blurtrain.settings import Settings
from blurtrain.tasks import JensenShannon, Loss
from blurtrain.training.learner import Learner
from blurtrain.training.train import train as train_run

Tiny = Callable[..., Settings]
pytestmark = pytest.mark.usefixtures("one_thread")
KINDS: list[dict[str, Any]] = [
    {"type": "jensen-shannon", "blurred_views": 2},
    {"type": "feature-distance", "layer": "second"},
    {"type": "supervised-contrastive", "among": 2},
    {"type": "adversarial-blur", "size": 3, "steps": 2, "start": "identity", "among": 2},
    {"type": "proposed-blur", "size": 3, "width": 2},
    {"type": "adversarial-blur", "size": 3, "steps": 2, "start": "identity", "harm": "features"},
    {"type": "proposed-blur", "size": 3, "width": 2, "harm": "features", "layer": "second"},
]


def name(kind: dict[str, Any]) -> str:
    return "-".join([kind["type"], *([kind["harm"]] if "harm" in kind else [])])


def learner(loss: Loss, **parts: Any) -> Learner:
    chosen = settings(arithmetic="float64", **parts)
    return Learner(Net(), chosen.optimisation, chosen.precision, ALONE, loss=loss)


@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_micro_batches_change_nothing(kind: dict[str, Any]) -> None:
    loss = Loss.model_validate(kind)
    others = [torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(5)) for _ in loss.views]
    states = []
    for passes in (1, 4):
        ours = learner(loss, accumulate=passes, optimiser="sgd", batch_norm_images=2)
        ours.model.train()
        for number, (images, labels) in enumerate(data(3)):
            ours.step(images, labels, RATE, number, others)
        second = {} if ours.opponent is None else ours.opponent.state_dict()
        states.append({"network": ours.network.state_dict(), "second": second})
    assert close(*states)


def test_two_views_are_seen_by_one_batch_norm() -> None:
    ours = learner(JensenShannon(weight=0, cross_entropy="all"), optimiser="sgd")
    theirs = Net().double()
    by = torch.optim.SGD(theirs.parameters(), momentum=0.9, weight_decay=1e-5)
    (images, labels), (sharp, _) = data(2)
    loss, right, n, _ = ours.step(images, labels, RATE, 0, [sharp]).tolist()
    logits = theirs(torch.cat([images, sharp]).double())
    expected = cross_entropy(logits, torch.cat([labels, labels]))
    by.param_groups[0]["lr"] = RATE
    expected.backward()
    by.step()
    assert (loss / n, right) == (pytest.approx(expected.item()), int((logits[:8].argmax(1) == labels).sum()))
    assert close(ours.network.state_dict(), theirs.state_dict())


def test_an_attack_leaves_statistics_and_gradients_alone() -> None:
    ours = learner(Loss.model_validate({**KINDS[3], "share": 1, "distance": 1e-9}), optimiser="sgd")
    plain = learner(Loss.model_validate("cross-entropy"), optimiser="sgd")
    for one in (ours, plain):
        one.model.train()
        train(one, data(3))
    assert close(ours.network.state_dict(), plain.network.state_dict(), 1e-6), "blur that changes nothing"


def test_what_a_loss_cannot_have_is_said() -> None:
    with pytest.raises(TrainingError, match=r"8 images .* loss.among=3: must divide them"):
        learner(Loss.model_validate({"type": "supervised-contrastive", "among": 3}))
    with pytest.raises(SettingsError, match=r"loss.layer=secnd: the network has no such module; did you mean 'second'"):
        learner(Loss.model_validate({"type": "feature-distance", "layer": "secnd"}))
    with pytest.raises(SettingsError, match=r"loss.layer=secnd: the network has no such module; did you mean 'second'"):
        learner(Loss.model_validate({"type": "adversarial-blur", "harm": "features", "layer": "secnd"}))


@pytest.mark.parametrize(
    "kind",
    [
        KINDS[0],
        pytest.param({"type": "feature-distance"}, marks=pytest.mark.slow),
        {"type": "adversarial-blur", "size": 5, "steps": 2},
        {"type": "proposed-blur", "size": 5, "width": 4, "rate": 10},
        {"type": "adversarial-blur", "size": 5, "steps": 2, "harm": "features"},
        pytest.param(
            {"type": "proposed-blur", "size": 5, "width": 4, "rate": 10, "harm": "features"}, marks=pytest.mark.slow
        ),
    ],
    ids=name,
)
def test_an_interrupted_run_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path, kind: dict[str, Any]) -> None:
    chosen = tiny(
        loss=kind,
        curriculum={"schedule": "uniform", "share": 0.5},
        data={"resolution": 32},
        network={"architecture": "timm/test_resnet"},
        model="small",
        checkpoints={"every_minutes": 0},
        validation={"every_epochs": 1},
    )
    whole = train_run(chosen, tmp_path / "whole")
    train_until(4, chosen, tmp_path / "parts")
    assert same_outcome(whole, train_run(chosen, tmp_path / "parts"))
