"""Dropout before the last layer of networks of all kinds: what it drops, when, and what it leaves as it is."""

import copy

import pytest
import torch
from torch import nn

from blurtrain.errors import SettingsError
from blurtrain.models import build
from blurtrain.models.dropout import drop_features
from blurtrain.models.pretrained import logits_layer

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
