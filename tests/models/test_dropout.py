"""Dropout before the last layer of networks of all kinds: what it drops, when, and what it leaves as it is."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from blurtrain.errors import SettingsError
from blurtrain.models import build
from blurtrain.models.dropout import drop_features
from blurtrain.models.pretrained import logits_layer
from blurtrain.settings import Settings
from blurtrain.training.learner import Learner
from blurtrain.training.train import train

NETWORKS = ("alexnet-sup", "resnet-18", "timm/mobilenetv2_035", "timm/convnext_atto")


def made(architecture: str, probability: float) -> nn.Module:
    torch.manual_seed(0)
    network = build(architecture, 5)
    drop_features(network, probability)
    return network


def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("architecture", NETWORKS)
def test_dropout_zero_and_evaluation_are_bit_identical_and_names_stay(architecture: str) -> None:
    plain, dropped = made(architecture, 0.0), made(architecture, 0.3)
    torch.manual_seed(0)
    bare = build(architecture, 5)
    for network in (plain, dropped, copy.deepcopy(dropped)):
        assert list(network.state_dict()) == list(bare.state_dict())
        assert all(map(torch.equal, network.state_dict().values(), bare.state_dict().values()))
        assert torch.equal(network.eval()(images()), bare.eval()(images()))
    seen = []
    for network in (plain, bare):
        torch.manual_seed(3)
        seen.append(network.train()(images()))
    assert torch.equal(*seen)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_what_the_last_layer_is_given_is_dropped_and_scaled_in_training(architecture: str) -> None:
    network = made(architecture, 0.3)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
    path, _ = logits_layer(network)
    given = list[tuple[torch.Tensor, torch.Tensor]]()
    for one in (network, copy.deepcopy(network)):
        last = one.get_submodule(path)
        last.eval()
        last.register_forward_pre_hook(lambda _, features: given.append(features[0].detach()))
        one(images())
        last.train()
        torch.manual_seed(3)
        one(images())
    whole, dropped, _, copied = given
    assert torch.equal(dropped, copied)
    zero = (dropped == 0) & (whole != 0)
    assert 0.2 < zero.sum() / (whole != 0).sum() < 0.4
    assert torch.allclose(dropped[~zero], whole[~zero] / 0.7)


def test_a_network_without_such_a_layer_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"network\.dropout=0\.3: there is no linear or convolutional layer"):
        drop_features(nn.Flatten(), 0.3)


def test_a_run_with_dropout_and_groups_is_resumed_inside_an_epoch_to_the_same_bits(
    tiny: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"match": "features.*", "learning_rate_factor": 0.1}
    settings = tiny(
        network={"dropout": 0.4},
        optimisation={"epochs": 2, "accumulate": 2, "groups": [{"match": "features.0.*", "frozen": True}, slow]},
        checkpoints={"every_minutes": 0},
    )
    whole = train(settings, tmp_path / "whole")
    original = Learner.step

    def stop(learner: Learner, *step: Any) -> torch.Tensor:
        if step[-1] == 4:
            raise KeyboardInterrupt
        return original(learner, *step)

    monkeypatch.setattr(Learner, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "parts")
    monkeypatch.undo()
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
