"""Networks for masks: any size of image, a classifier's weights in their encoder, and what does not fit."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from blurtrain.errors import BlurtrainError, SettingsError
from blurtrain.models import build, check_input
from blurtrain.models.pretrained import load_pretrained
from blurtrain.models.segmentation import MapNetwork
from blurtrain.settings import Network, Pretrained

LRASPP, FPN = "torchvision/lraspp_mobilenet_v3_large", "smp/fpn"
OF_FPN: dict[str, Any] = {"encoder_name": "tu-mobilenetv3_small_050"}


class Strict(nn.Module):
    """Takes multiples of 8 alone, and gives a map of a quarter of their side, by name."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        assert not images.shape[-1] % 8 and not images.shape[-2] % 8
        return {"aux": images[:, :1], "out": images[:, :, 2::4, 2::4]}


def test_images_of_any_size_are_filled_by_reflection_and_cut_again() -> None:
    network = MapNetwork(Strict(), 8)
    for height, width in ((8, 16), (13, 30), (3, 1), (9, 7)):
        images = torch.rand(2, 3, height, width)
        assert network(images).shape == (2, 3, height, width)
    seen: list[Tensor] = []
    whole = nn.Identity()
    whole.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    row = torch.arange(13.0).expand(1, 1, 16, 13)
    assert torch.equal(MapNetwork(whole, 8)(row), row)
    assert seen[0][0, 0, 0].tolist() == [*range(13), 11, 10, 9]


@pytest.mark.parametrize(("name", "arguments"), [(LRASPP, {}), (FPN, OF_FPN)])
def test_networks_give_a_map_at_the_size_of_the_image(name: str, arguments: dict[str, Any]) -> None:
    Network(architecture=name, arguments=arguments)
    network = build(name, 5, arguments).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 50, 77)).shape == (1, 5, 50, 77)
    check_input(name, 5, 64, arguments, (5, 64, 64))
    with pytest.raises(SettingsError, match=r"and the task wants \[2, 5, 64, 64\]: choose a network for it"):
        check_input("resnet-18", 5, 64, {}, (5, 64, 64))


def saved(module: nn.Module, path: Path) -> Pretrained:
    torch.save(module.state_dict(), path)
    return Pretrained(file=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("name", "arguments", "classifier", "encoder", "fresh", "left"),
    [
        (LRASPP, {}, "torchvision/mobilenet_v3_large", "network.backbone",
         ["network.classifier"], "classifier.0.weight"),
        (FPN, OF_FPN, "timm/mobilenetv3_small_050", "network.encoder.model",
         ["network.decoder", "network.segmentation_head"], "conv_head.weight"),
        (FPN, {"encoder_name": "resnet18"}, "resnet-18", "network.encoder",
         ["network.decoder", "network.segmentation_head"], "fc.weight"),
    ],
)  # fmt: skip
def test_a_classifier_goes_into_the_encoder(
    name: str, arguments: dict[str, Any], classifier: str, encoder: str, fresh: list[str], left: str,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    source, network = build(classifier, 7), build(name, 5, arguments)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with caplog.at_level("INFO"):
        assert load_pretrained(network, saved(source, tmp_path / "w.pth")) == fresh
    assert f"tensors go into {encoder}; left alone: " in caplog.text and left in caplog.text
    known = [value for value in source.state_dict().values() if value.ndim]
    for key, value in network.state_dict().items():
        if key.startswith(f"{encoder}.") and value.ndim:
            assert any(value.shape == other.shape and torch.equal(value, other) for other in known), key
        elif not key.startswith(f"{encoder}."):
            assert torch.equal(value, before[key]), key
    again = build(name, 5, arguments)
    whole = network.network
    assert isinstance(whole, nn.Module)
    assert load_pretrained(again, saved(whole, tmp_path / "all.pth")) == []
    assert all(torch.equal(one, again.state_dict()[key]) for key, one in network.state_dict().items())


def test_weights_of_another_network_are_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(BlurtrainError) as told:
        load_pretrained(build(FPN, 5, OF_FPN), saved(build("resnet-18", 7), tmp_path / "w.pth"))
    assert "no part of it has the names and shapes of the file's tensors (conv1.weight, " in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("smp/fpm", {}, "segmentation-models-pytorch has no network 'fpm'; did you mean 'fpn'"),
        (FPN, {"encoder_name": "resnet51"}, "network.arguments.encoder_name=resnet51: did you mean 'resnet50'"),
        (FPN, {"decoder": 3}, "network.arguments.decoder: unknown to smp/fpn"),
        (FPN, {"encoder_weights": "imagenet"}, "network.arguments.encoder_weights: cannot be set"),
        (LRASPP, {"weights_backbone": "x"}, "network.arguments.weights_backbone: cannot be set"),
    ],
)
def test_mistakes_are_told_in_a_line(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as told:
        build(name, 5, arguments)
    assert said in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(ValueError, match="did you mean 'torchvision/fcn_resnet50'"):
        Network(architecture="torchvision/fcn_resnet51")
