"""Learning rates, weight decay and freezing by names of parameters, against plain loops of torch."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruption import train_until
from torch import nn

from blurtrain.distributed import Group
from blurtrain.errors import SettingsError
from blurtrain.settings import Optimisation, ParameterGroup, Settings
from blurtrain.training.learner import Learner
from blurtrain.training.optimiser import build_optimiser, learning_rate
from blurtrain.training.parameter_groups import assigned, freeze, set_learning_rate
from blurtrain.training.train import train

ALONE = Group(0, 1, torch.device("cpu"))
NAMES = ["features.0.weight", "features.0.bias", "features.1.weight", "classifier.weight", "classifier.bias"]


def net() -> nn.Module:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3))
    parts = {"features": features, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "classifier": nn.Linear(6, 3)}
    network = nn.Sequential()
    for name, part in parts.items():
        network.add_module(name, part)
    return network


def learner(*groups: dict[str, Any], **optimisation: Any) -> Learner:
    o = {"batch_size": 8, "epochs": 2, "warmup_epochs": 0, "weight_decay": 0.01, **optimisation}
    s = Settings(
        dataset="none", regime="clear", optimisation={**o, "groups": groups}, precision={"arithmetic": "float64"}
    )
    return Learner(net(), s.optimisation, s.precision, ALONE)


def data(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    source = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 3, 9, 9, generator=source), torch.randint(3, (8,), generator=source)) for _ in range(steps)]


def groups(*patterns: str) -> tuple[ParameterGroup, ...]:
    return tuple(ParameterGroup(match=pattern) for pattern in patterns)


def test_the_first_group_that_matches_takes_a_parameter() -> None:
    assert assigned(NAMES, groups("*.bias", "features.*")) == [
        ["features.0.bias", "classifier.bias"],
        ["features.0.weight", "features.1.weight"],
        ["classifier.weight"],
    ]
    assert assigned(NAMES, ()) == [NAMES]


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["clasifier.*"], "optimisation.groups.0.match=clasifier.*: no parameter has such a name; did you mean 'class"),
        (
            ["*.bias", "Features.0.weight"],
            "optimisation.groups.1.match=Features.0.weight: no parameter has such a name",
        ),
        (["features.*", "features.0.*"], "optimisation.groups.1.match=features.0.*: earlier groups have all that it"),
    ],
)
def test_a_group_without_parameters_is_refused_in_one_line(patterns: list[str], words: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        assigned(NAMES, groups(*patterns))
    assert str(refusal.value).startswith(words) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_groups_are_trained_as_by_a_plain_loop(optimiser: str) -> None:
    ours = learner(
        {"match": "features.0.*", "frozen": True},
        {"match": "*.bias", "weight_decay": 0},
        {"match": "features.*", "learning_rate_factor": 0.1},
        optimiser=optimiser,
    )
    theirs = net().double()
    named = dict(theirs.named_parameters())
    kinds: dict[str, list[str]] = {
        "frozen": ["features.0.weight", "features.0.bias"],
        "plain": ["features.1.bias", "features.3.bias", "classifier.bias"],
        "slow": ["features.1.weight", "features.3.weight"],
        "rest": ["classifier.weight"],
    }
    assert {name for kind in kinds.values() for name in kind} == set(named)
    for name in kinds["frozen"]:
        named[name].requires_grad_(False)
    first = copy.deepcopy(theirs.state_dict())
    decays, factors = {"plain": 0.0, "slow": 0.01, "rest": 0.01}, {"plain": 1.0, "slow": 0.1, "rest": 1.0}
    make = torch.optim.Adam if optimiser == "adam" else lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9)
    by = make([{"params": [named[n] for n in kinds[kind]], "weight_decay": decays[kind]} for kind in decays])
    for k, (images, labels) in enumerate(data(6)):
        rate = learning_rate(k, 3, ours.settings)
        ours.step(images, labels, rate, k)
        for group, factor in zip(by.param_groups, factors.values(), strict=True):
            group["lr"] = rate * factor
        by.zero_grad()
        nn.functional.cross_entropy(theirs(images.double()), labels).backward()
        by.step()
    trained = ours.network.state_dict()
    for name, tensor in theirs.state_dict().items():
        assert torch.allclose(trained[name], tensor, rtol=1e-12, atol=1e-12), name
        changed = not torch.equal(trained[name], first[name])
        assert changed == (name not in kinds["frozen"]), name


def test_freezing_leaves_statistics_of_batch_norm_to_batch_norm() -> None:
    frozen = learner({"match": "features.*", "frozen": True})
    first = copy.deepcopy(frozen.network.state_dict())
    for k, batch in enumerate(data(2)):
        frozen.step(*batch, 0.1, k)
    changed = {name for name, tensor in frozen.network.state_dict().items() if not torch.equal(tensor, first[name])}
    statistics = {f"features.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert changed == {"classifier.weight", "classifier.bias"} | statistics


def test_a_network_of_which_nothing_is_left_to_train_is_refused() -> None:
    with pytest.raises(SettingsError, match="all parameters are frozen"):
        learner({"match": "features.*", "frozen": True}, {"match": "*", "frozen": True})
    with pytest.raises(SettingsError, match="no parameter has such a name"):
        freeze(net(), Optimisation(groups=groups("head.*")))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_without_groups_all_parameters_are_one_group_in_their_order_and_its_state_is_that_of_before(
    optimiser: str,
) -> None:
    """So that checkpoints of runs without groups are read on, whichever version wrote them."""
    network, o = net(), Optimisation(optimiser=optimiser, momentum=0.9)
    ours = build_optimiser(network, o)
    kind: Any = torch.optim.Adam if optimiser == "adam" else torch.optim.SGD
    more = {} if optimiser == "adam" else {"momentum": 0.9}
    before = kind(network.parameters(), o.learning_rate, weight_decay=o.weight_decay, fused=True, **more)
    assert ours.state_dict()["param_groups"] == before.state_dict()["param_groups"]
    ours.load_state_dict(before.state_dict())
    set_learning_rate(ours, 0.03)
    assert [group["lr"] for group in ours.param_groups] == [0.03]


def test_steps_with_groups_go_on_from_a_state_to_the_same_bits() -> None:
    parts = [{"match": "features.0.*", "frozen": True}, {"match": "features.*", "learning_rate_factor": 0.1}]
    whole, first, second = (learner(*parts, ema=0.9) for _ in range(3))
    batches = data(6)
    for k, batch in enumerate(batches):
        whole.step(*batch, 0.1, k)
    for k, batch in enumerate(batches[:3]):
        first.step(*batch, 0.1, k)
    second.load(copy.deepcopy(first.state()))
    for k, batch in enumerate(batches[3:], 3):
        second.step(*batch, 0.1, k)
    for own, other in zip(second.trained().state_dict().values(), whole.trained().state_dict().values(), strict=True):
        assert torch.equal(own, other)


# --- whole runs ------------------------------------------------------------------------------------------------------


def test_a_run_with_dropout_and_groups_is_resumed_inside_an_epoch_to_the_same_bits(
    tiny: Callable[..., Settings], tmp_path: Path
) -> None:
    slow = {"match": "features.*", "learning_rate_factor": 0.1}
    settings = tiny(
        network={"dropout": 0.4},
        optimisation={"epochs": 2, "accumulate": 2, "groups": [{"match": "features.0.*", "frozen": True}, slow]},
        checkpoints={"every_minutes": 0},
    )
    whole = train(settings, tmp_path / "whole")
    train_until(4, settings, tmp_path / "parts")
    resumed = train(settings, tmp_path / "parts")
    assert resumed.settings == settings and len(resumed.attempts()) == 2
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    without = settings.model_copy(update={"network": settings.network.model_copy(update={"dropout": 0.0})})
    assert train(without, tmp_path / "whole").weights.read_bytes() != whole.weights.read_bytes()


def test_a_pattern_without_parameters_is_refused_before_anything_is_written(
    tiny: Callable[..., Settings], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"optimisation\.groups\.0\.match=head"):
        train(tiny(optimisation={"groups": [{"match": "head.*"}]}), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
