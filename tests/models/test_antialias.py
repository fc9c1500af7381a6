"""Blurred down-sampling: its filter against SciPy's, where it stands, and that the plain network's weights are kept."""

import copy
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor, nn

from blurtrain.errors import SettingsError
from blurtrain.files import sha256_of
from blurtrain.models import build, check_input
from blurtrain.models.antialias import BlurPool, antialias, bordered, reflected
from blurtrain.models.pretrained import load_pretrained
from blurtrain.models.receptive_field import receptive_fields
from blurtrain.settings import Antialias, Pretrained

NETWORKS = ("alexnet-sup", "resnet-18", "timm/mobilenetv2_035", "timm/resnet18d")


def pooled(maps: np.ndarray, taps: int, stride: int) -> np.ndarray:
    """By SciPy; its `mirror` is torch's `reflect`."""
    weights = np.array([math.comb(taps - 1, k) for k in range(taps)]) / 2 ** (taps - 1)
    for axis in (2, 3):
        maps = correlate1d(maps, weights, axis, mode="mirror", origin=-(taps % 2 == 0))
    return maps[..., ::stride, ::stride]


@pytest.mark.parametrize("taps", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("stride", [2, 3])
def test_a_map_is_filtered_by_binomial_coefficients_with_mirrored_borders(taps: int, stride: int) -> None:
    maps = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0)).double()
    pool = BlurPool((stride, stride), taps).double()
    assert np.allclose(pool(maps), pooled(maps.numpy(), taps, stride))
    assert torch.allclose(pool(torch.ones(1, 1, 1, 1).double()), torch.ones(1, 1, 1, 1).double())


def test_a_learnt_filter_is_a_mean_of_filters_and_its_gradient_is_right() -> None:
    pool = BlurPool((2, 2), 5, learnt=True).double()
    assert pool.sizes is not None
    maps = torch.rand(1, 2, 8, 8).double()
    with torch.no_grad():
        pool.sizes.copy_(torch.tensor([-99.0, 0.0, -99.0]))
        assert np.allclose(pool(maps), pooled(maps.numpy(), 3, 2))
        pool.sizes.zero_()
    taps = np.mean([[1, 4, 6, 4, 1], [0, 4, 8, 4, 0], [0, 0, 16, 0, 0]], axis=0) / 16
    expected = correlate1d(correlate1d(maps.numpy(), taps, 2, mode="mirror"), taps, 3, mode="mirror")
    assert np.allclose(pool(maps).detach(), expected[..., ::2, ::2])

    def of(sizes: Tensor) -> Tensor:
        return torch.func.functional_call(pool, {"sizes": sizes}, maps)

    assert torch.autograd.gradcheck(of, torch.randn(3).double().requires_grad_())


def test_the_reflection_for_gpus_is_torchs() -> None:
    maps = torch.rand(1, 2, 7, 9)
    assert torch.equal(reflected(reflected(maps, 2, 3, 3), 2, 3, 2), bordered(maps, 2, 3))


@pytest.mark.parametrize(
    ("architecture", "learnt"),
    [*itertools.product(NETWORKS, (False, True)), pytest.param("timm/vgg11", False, marks=pytest.mark.long)],
)
def test_nothing_is_strided_any_more_and_weights_keep_names_shapes_and_draws(architecture: str, learnt: bool) -> None:
    settings = Antialias(learnt=learnt)
    torch.manual_seed(0)
    plain = build(architecture, 5)
    torch.manual_seed(0)
    changed = build(architecture, 5, antialias=settings)
    own, before = changed.state_dict(), plain.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in before.items())
    new = set(own) - set(before)
    pools = {name for name, module in changed.named_modules() if isinstance(module, BlurPool)}
    assert new == ({f"{name}.sizes" for name in pools} if learnt else set())
    layers = [m for m in changed.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    assert all(layer.stride in (1, (1, 1)) for layer in layers)
    images = torch.rand(2, 3, 64, 64)
    assert changed.eval()(images).shape == (2, 5)
    changed(images).sum().backward()
    assert all(parameter.grad is not None for parameter in changed.parameters())
    assert torch.equal(copy.deepcopy(changed)(images), changed(images))
    check_input(architecture, 5, 64, antialias=settings)


def test_the_blur_stands_behind_the_activation_and_shortcuts_have_it_too() -> None:
    network = build("resnet-18", 5, antialias=Antialias())
    where = {name for name, module in network.named_modules() if isinstance(module, BlurPool)}
    blocks = {f"layer{k}.0.{part}.blur_before" for k in (2, 3, 4) for part in ("conv2", "downsample.0")}
    assert where == {"relu.blur_behind", "maxpool.blur_behind"} | blocks
    network.eval()
    block: nn.Module = network.get_submodule("layer2.0")
    maps = torch.randn(1, 64, 8, 8, generator=torch.Generator().manual_seed(0))

    def part(name: str, given: Tensor) -> Tensor:
        layer = network.get_submodule(f"layer2.0.{name}")
        if isinstance(layer, nn.Conv2d):
            return nn.functional.conv2d(given, layer.weight, padding=layer.padding)
        return layer(given)

    pool = BlurPool((2, 2), 3)
    main = part("bn2", part("conv2", pool(part("bn1", part("conv1", maps)).relu())))
    short = pool(part("downsample.1", part("downsample.0", maps)))
    with torch.no_grad():
        assert torch.allclose(block(maps), (main + short).relu(), atol=1e-5)


def test_an_average_of_separate_pixels_is_replaced_and_a_global_one_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.AvgPool2d(112))
    plain = copy.deepcopy(network)
    antialias(network, Antialias(), "mine")
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = BlurPool((2, 2), 3)(plain[0](images)).mean((2, 3), keepdim=True)
        assert torch.allclose(network(images), expected, atol=1e-5)


@pytest.mark.parametrize("learnt", [False, True])
def test_weights_of_the_plain_network_load(tmp_path: Path, learnt: bool) -> None:
    plain = build("timm/resnet18", 5)
    torch.save(plain.state_dict(), path := tmp_path / "w.pth")
    network = build("timm/resnet18", 5, antialias=Antialias(learnt=learnt))
    assert load_pretrained(network, Pretrained(file=str(path), sha256=sha256_of(path))) == []
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in plain.state_dict().items())


def test_theoretical_fields_are_those_of_convolutions_at_stride_one_and_filters() -> None:
    network = build("alexnet-sup", 5, antialias=Antialias(filter=3))
    field = receptive_fields(network, torch.zeros(1, 3, 224, 224))["features.3"].rows
    # The convolution's 11 and its filter's 2; at 4 pixels each 2 of the pooling and 2 of its filter; at 8 each 4.
    assert (field.size, field.stride) == (11 + 2 + 4 * (2 + 2) + 8 * 4, 8)


@pytest.mark.parametrize("architecture", ["timm/vit_tiny_patch16_224", "timm/mixer_s32_224"])
def test_a_network_without_strides_is_refused_in_one_line(architecture: str) -> None:
    with pytest.raises(SettingsError, match=rf"^network\.antialias: {architecture} has no strided [^\n]*$"):
        build(architecture, 5, antialias=Antialias())


def test_timms_own_argument_beside_it_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^network\.arguments\.aa_layer: cannot be set beside network\.antialias"):
        build("timm/resnet18", 5, {"aa_layer": "blur"}, antialias=Antialias())
