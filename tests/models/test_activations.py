"""Which layers stages are found to be, of networks that are known, and how their maps are read."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from blurtrain.errors import SettingsError
from blurtrain.models import build
from blurtrain.models.activations import reading, stages_of


def maps(module: nn.Module, side: int, layers: Sequence[str] = ()) -> dict[str, Tensor]:
    """Of an image, the map of each stage, by layer and use."""
    module.eval()
    found: dict[str, Tensor] = {}
    stages = stages_of(module, side, "net", layers)
    torch.manual_seed(0)
    with torch.inference_mode(), reading(module, stages) as read:
        read(torch.randn(2, 3, side, side), lambda k, own: found.update({f"{stages[k].layer}:{stages[k].use}": own}))
    return found


@pytest.mark.parametrize(
    ("network", "side", "expected"),
    [
        ("alexnet-sup", 64, {"features.1:0": 15, "features.4:0": 7, "features.11:0": 3, "features:0": 1}),
        ("torchvision/resnet18", 64, {"relu:0": 32, "layer1:0": 16, "layer2:0": 8, "layer3:0": 4, "layer4:0": 2}),
        ("timm/mobilenetv2_050", 64, {"blocks.1.0.bn1:0": 32, "blocks.2.0.bn1:0": 16, "blocks.3.0.bn1:0": 8,
                                      "blocks.5.0.bn1:0": 4, "bn2:0": 2}),
    ],
)  # fmt: skip
def test_stages_end_where_the_resolution_drops(network: str, side: int, expected: Mapping[str, int]) -> None:
    found = maps(build(network, 5), side)
    assert {name: own.shape[1] for name, own in found.items()} == expected
    assert all(own.shape[1] == own.shape[2] and len(own) == 2 for own in found.values())


class Branches(nn.Module):
    """One module used three times, a border lost for want of padding, a gate of one place, and an end larger than what
    comes before."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.border = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3)
        self.pool, self.gate, self.up = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Upsample(scale_factor=4)

    def forward(self, images: Tensor) -> Tensor:
        first = self.one(self.border(self.one(images)))
        second = self.one(self.pool(first))
        gated: Tensor = self.up(second * self.gate(second)).mean((2, 3))
        return gated


def test_uses_borders_gates_and_ends() -> None:
    found = maps(Branches(), 34)
    assert {name: own.shape[1] for name, own in found.items()} == {"one:1": 32, "up:0": 64}
    named = maps(Branches(), 34, ["gate", "one"])
    assert {name: own.shape[1] for name, own in named.items()} == {"one:2": 16, "gate:0": 1}


class ChannelsLast(nn.Module):
    """As some transformers have their maps, with a Linear over channels; and then tokens, with one of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.inner, self.merge = nn.Conv2d(3, 5, 4, 4), nn.Linear(5, 5), nn.Linear(20, 6)
        self.tokens, self.head = nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, images: Tensor) -> Tensor:
        own = self.inner(self.patch(images).permute(0, 2, 3, 1))
        n, height, width, channels = own.shape
        own = own.view(n, height // 2, 2, width // 2, 2, channels).transpose(2, 3).flatten(3)
        own = self.merge(own).flatten(1, 2)
        found: Tensor = self.head(self.tokens(torch.cat([own[:, :1], own], 1)).mean(1))
        return found


def test_maps_with_channels_last_and_tokens() -> None:
    module = ChannelsLast()
    found = maps(module, 32)
    assert {name: tuple(own.shape) for name, own in found.items()} == {"inner:0": (2, 8, 8, 5), "merge:0": (2, 4, 4, 6)}
    named = maps(module, 32, ["tokens", "merge", "head"])
    assert {name: tuple(own.shape) for name, own in named.items()} == {
        "merge:0": (2, 4, 4, 6), "tokens:0": (2, 4, 4, 7), "head:0": (2, 1, 1, 2)}  # fmt: skip
    with torch.inference_mode():
        torch.testing.assert_close(named["tokens:0"], module.tokens(named["merge:0"]))  # all but the class's


def test_the_rest_of_the_pass_is_left_out() -> None:
    class Counted(Branches):
        ends = 0

        def forward(self, images: Tensor) -> Tensor:
            found = super().forward(images)
            self.ends += 1
            return found

    module = Counted().eval()
    stages = stages_of(module, 34, "net", ["border"])
    before = module.ends
    with reading(module, stages) as read:
        read(torch.zeros(1, 3, 34, 34), lambda *_: None)
    assert module.ends == before


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (["bordr"], r"net: has no layer 'bordr'; did you mean 'border'\?"),
        ([""], r"net: has no layer ''; it has one, border, pool, gate, up$"),
        (["pool", "unused"], r"net: layer 'unused' gives no feature map in a forward pass; name another one"),
    ],
)
def test_layers_that_are_not_there(layers: list[str], said: str) -> None:
    module: Any = Branches()
    if "unused" in layers:
        module.unused = nn.ReLU()
    with pytest.raises(SettingsError, match=said):
        stages_of(module.eval(), 34, "net", layers)


def test_a_network_for_one_size_says_what_to_do() -> None:
    class Fixed(Branches):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[-2] == 34
            return super().forward(images)

    with pytest.raises(SettingsError, match=r"net: no feature map of it grows .* 34 px alone.*layers=\[\.\.\.\]"):
        stages_of(Fixed().eval(), 34, "net")
