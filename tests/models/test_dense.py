"""Networks applied fully convolutionally, against loops over single windows and single crops."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from blurtrain.errors import SettingsError
from blurtrain.models import build
from blurtrain.models.dense import dense


def network(name: str, classes: int = 5) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, classes).eval()


def images(height: int, width: int, n: int = 2) -> Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(1))


def vgg_head(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda maps: net.classifier(net.avgpool(maps).flatten(1))


# The features and the head of each by its definition, and not as `dense` finds them.
PARTS = {
    "alexnet": (lambda net: net.features, vgg_head),
    "torchvision/vgg11": (lambda net: net.features, vgg_head),
    "vgg-16": (lambda net: net.features, vgg_head),
    "alexnet-sup": (lambda net: net.features, lambda net: lambda maps: net.classifier(net.pool(maps).flatten(1))),
    "resnet-18": (
        lambda net: nn.Sequential(*list(net.children())[:-2]),
        lambda net: lambda maps: net.fc(maps.mean((2, 3))),
    ),
    "timm/mobilenetv2_100": (
        lambda net: nn.Sequential(net.conv_stem, net.bn1, net.blocks, net.conv_head, net.bn2),
        lambda net: lambda maps: net.classifier(maps.mean((2, 3))),
    ),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] if "vgg" in n else []) for n in PARTS])
@torch.inference_mode()
def test_the_average_is_that_of_single_windows(name: str) -> None:
    net, side = network(name), 96
    features, head = (part(net) for part in PARTS[name])
    height, width = features(images(side, side, 1)).shape[2:]
    maps = features(shown := images(168, 136, 1))
    windows = [
        maps[..., top : top + height, left : left + width]
        for top in range(maps.shape[2] - height + 1)
        for left in range(maps.shape[3] - width + 1)
    ]
    assert len(windows) > 1
    wanted = torch.stack([head(window.contiguous()) for window in windows], 1)
    found = dense(net, side, name).logits(shown)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-5)
    assert torch.allclose(found.log_softmax(2).mean(1), wanted.log_softmax(2).mean(1), rtol=0, atol=1e-5)


class Unpadded(nn.Module):
    """Stride 4; the map of 27 pixels has 3 x 3 places."""

    def __init__(self, globally: bool):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 7, 4), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1) if globally else nn.Identity()
        self.classifier = nn.Linear(7 if globally else 7 * 9, 5)

    def forward(self, shown: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.pool(self.features(shown)).flatten(1))
        return out


@pytest.mark.parametrize("globally", [True, False])
@torch.inference_mode()
def test_without_padding_it_is_the_average_over_pixel_crops(globally: bool) -> None:
    torch.manual_seed(0)
    net, shown = Unpadded(globally).eval(), images(52, 43)
    parts = dense(net, 27, "own")
    assert (parts.window, parts.pooled) == ((3, 3), globally)
    crops = [shown[..., t : t + 27, left : left + 27] for t in range(0, 25, 4) for left in range(0, 17, 4)]
    wanted = torch.stack([net(crop) for crop in crops], 1)
    found = parts.logits(shown)
    assert found.shape == wanted.shape == (2, 35, 5)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_it_is_the_same_however_many_windows_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    net, shown = network("alexnet-sup"), images(160, 160, 3)
    parts = dense(net, 96, "it")
    whole = parts.logits(shown)
    monkeypatch.setattr("blurtrain.models.dense.NUMBERS", 3 * 256)
    monkeypatch.setattr("blurtrain.models.dense.PIXELS", 1)
    assert torch.allclose(parts.logits(shown), whole, rtol=0, atol=1e-5)


@pytest.mark.long
@torch.inference_mode()
def test_vgg_16_at_128_is_its_pool5_amid_zeros() -> None:
    net, shown = network("vgg-16"), images(128, 128, 1)
    found = dense(net, 224, "vgg-16").logits(shown)
    maps = net.features(shown)
    assert maps.shape[2:] == (4, 4)
    wanted = net.classifier(pad(maps, (1, 2, 1, 2)).flatten(1))
    assert torch.allclose(found[:, 0], wanted, rtol=0, atol=1e-5) and found.shape[1] == 1


@torch.inference_mode()
def test_a_pooled_head_takes_a_small_map_as_it_is() -> None:
    net, shown = network("resnet-18"), images(64, 64)
    assert torch.allclose(dense(net, 128, "it").logits(shown)[:, 0], net(shown), rtol=0, atol=1e-5)


def test_one_line_where_a_network_cannot_be_cut() -> None:
    for name in ("timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224"):
        with pytest.raises(
            SettingsError, match=f"^{name}: cannot be applied fully convolutionally.*crops=five"
        ) as caught:
            dense(network(name), 224, name)
        assert "\n" not in str(caught.value)
