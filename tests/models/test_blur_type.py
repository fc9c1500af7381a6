"""The blur-type network: tiles by one backbone, and weights for that alone."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from blurtrain.errors import DataError, SettingsError
from blurtrain.files import sha256_of
from blurtrain.models import build, check_input
from blurtrain.models.pretrained import load_pretrained
from blurtrain.settings import Pretrained

SMALL = {"backbone": "mobilenetv2_050", "width": 16}


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("blur-type", 4, SMALL).eval()


def test_each_tile_is_seen_by_itself_and_counts() -> None:
    """A pixel changes what is seen of its own tile, and of no other."""
    ours = network()
    images = torch.rand(1, 3, 96, 96)
    changed = images.clone()
    changed[:, :, 35, 70] += 1  # the tile to the right of the middle
    maps = [ours.backbone(_tiles(some)) for some in (images, changed)]
    for before, after in zip(*maps, strict=True):
        assert [k for k in range(9) if not torch.equal(before[k], after[k])] == [5]
    assert not torch.equal(ours(images), ours(changed))


def _tiles(images: torch.Tensor) -> torch.Tensor:
    rows = [row.chunk(3, -1) for row in images.chunk(3, -2)]
    return torch.cat([tile for row in rows for tile in row])


def test_logits_are_those_of_the_photo_alone() -> None:
    ours, images = network(), torch.rand(3, 3, 96, 96)
    torch.testing.assert_close(ours(images)[1:2], ours(images[1:2]))


def test_nothing_is_computed_that_is_not_used() -> None:
    parameters = dict(network().named_parameters())
    loss = network()
    loss(torch.rand(2, 3, 96, 96)).square().sum().backward()
    without = [name for name, parameter in loss.named_parameters() if parameter.grad is None]
    assert not without and len(parameters) == len(list(loss.parameters()))


def test_weights_of_the_backbone_alone(tmp_path: Path) -> None:
    whole = build("timm/mobilenetv2_050", 7)
    file = tmp_path / "backbone.safetensors"
    safetensors.torch.save_file(whole.state_dict(), file)
    ours = network()
    fresh = load_pretrained(ours, Pretrained(file=str(file), sha256=sha256_of(file)))
    assert fresh and not [name for name in fresh if name.startswith("backbone.")]
    stored = whole.state_dict()
    for name, tensor in ours.backbone.state_dict().items():
        assert torch.equal(tensor, stored[name])


def test_weights_of_the_whole_network(tmp_path: Path) -> None:
    file = tmp_path / "whole.safetensors"
    saved = build("blur-type", 4, SMALL)
    safetensors.torch.save_file(saved.state_dict(), file)
    ours = network()
    assert load_pretrained(ours, Pretrained(file=str(file), sha256=sha256_of(file))) == []
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), saved.parameters(), strict=True))


def test_weights_of_another_backbone(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    safetensors.torch.save_file(build("timm/mobilenetv2_100", 7).state_dict(), file)
    with pytest.raises(DataError, match="does not fit the network"):
        load_pretrained(network(), Pretrained(file=str(file), sha256=sha256_of(file)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 30}, "multiple of heads=4"),
        ({"backbone": "mobilenetxx"}, "timm has no network"),
        ({"heds": 2}, "heds"),
        ({"features_only": False}, "cannot be set"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        build("blur-type", 4, arguments)


def test_resolutions_that_are_no_three_tiles() -> None:
    check_input("blur-type", 4, 96, SMALL)
    with pytest.raises(DataError, match="tiles"):
        check_input("blur-type", 4, 100, SMALL)
