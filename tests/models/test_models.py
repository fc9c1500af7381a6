"""Networks by name: which they are, what they take, and what they are drawn from."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import math
import sys
from typing import Any

import pytest
import torch
from torch import nn

from blurtrain.errors import DataError, SettingsError
from blurtrain.models import build, check_input
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from blurtrain.settings import ARCHITECTURES
from torchvision.models import alexnet


def test_alexnet_sup_is_the_study_s() -> None:
    model = build("alexnet-sup", 12)
    features = sum(p.numel() for p in model.features.parameters())  # type: ignore[operator,union-attr]
    assert features == 2_469_696
    assert [tuple(p.shape) for p in model.classifier.parameters()] == [(12, 9216), (12,)]  # type: ignore[union-attr]
    assert sum(p.numel() for p in model.classifier.parameters()) == 110_604  # type: ignore[union-attr]


LAYERS = {  # fan in and fan out of each layer of AlexNet-Sup with 12 classes: channels times taps
    "features.0": (3 * 11 * 11, 64 * 11 * 11),
    "features.3": (64 * 5 * 5, 192 * 5 * 5),
    "features.6": (192 * 3 * 3, 384 * 3 * 3),
    "features.8": (384 * 3 * 3, 256 * 3 * 3),
    "features.10": (256 * 3 * 3, 256 * 3 * 3),
    "classifier": (9216, 12),
}


@pytest.mark.parametrize("bias", ["zero", "uniform"])
def test_alexnet_sup_begins_xavier_uniform_and_with_the_biases_asked_for(bias: Any) -> None:
    torch.manual_seed(0)
    parameters = dict(build("alexnet-sup", 12, bias=bias).named_parameters())
    assert set(parameters) == {f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")}
    for layer, (fan_in, fan_out) in LAYERS.items():
        weight, own = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
        check_uniform(weight, math.sqrt(6 / (fan_in + fan_out)))
        if bias == "zero":
            assert not own.any()
        else:
            check_uniform(own, 1 / math.sqrt(fan_in))


def check_uniform(values: torch.Tensor, bound: float) -> None:
    """Within the bound, and as spread as U(-bound, bound): variance bound^2 / 3, up to four standard errors."""
    n, squares = values.numel(), values.detach().double() ** 2 / bound**2
    assert squares.max() <= 1
    assert abs(squares.mean() - 1 / 3) < 4 * math.sqrt(4 / 45 / n)
    assert abs(values.detach().double().mean() / bound) < 4 * math.sqrt(1 / 3 / n)


def test_alexnet_sup_computes_what_the_authors_definition_does() -> None:
    """Theirs, written down from its description: torchvision's convolutional features, 6 x 6 pooling, one layer."""
    theirs = nn.Sequential(alexnet().features, nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(9216, 12)).eval()
    ours = build("alexnet-sup", 12, bias="uniform").eval()
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    ours.load_state_dict(dict(zip(names, theirs.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(ours(images), theirs(images), atol=1e-6)
        assert torch.allclose(ours(images[..., :96, :96]), theirs(images[..., :96, :96]), atol=1e-6)


def test_the_choice_of_biases_moves_no_draw_of_weights() -> None:
    drawn = []
    for bias in ("zero", "uniform"):
        torch.manual_seed(0)
        drawn.append(build("alexnet-sup", 12, bias=bias).state_dict())  # type: ignore[arg-type]
    assert all(torch.equal(drawn[0][f"{layer}.weight"], drawn[1][f"{layer}.weight"]) for layer in LAYERS)


PARAMETERS = {  # with a thousand classes, as published
    "alexnet-sup": 2_469_696 + 9_217_000,
    "alexnet": 61_100_840,
    "vgg-16": 138_357_544,
    "resnet-18": 11_689_512,
    "resnet-50": 25_557_032,
    "timm/mobilenetv2_100": 3_504_872,
    "timm/vit_tiny_patch16_224": 5_717_416,
}


@pytest.mark.parametrize("architecture", PARAMETERS)
def test_networks_are_the_published_ones(architecture: str) -> None:
    with torch.device("meta"):
        model = build(architecture, 1000)
        logits = build(architecture, 7).eval()(torch.empty(2, 3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[architecture]
    assert logits.shape == (2, 7)


def test_every_name_of_the_settings_is_built() -> None:
    assert set(ARCHITECTURES) - {"residual-unet", "blur-type"} == {
        name for name in PARAMETERS if not name.startswith("timm/")
    }


def test_initialisation_is_drawn_from_torchs_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(build("alexnet-sup", 3).parameters())

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


@pytest.mark.parametrize(
    "architecture, smallest",
    [("alexnet-sup", 63), ("alexnet", 63), ("vgg-16", 32), ("resnet-18", 8), ("timm/mobilenetv2_100", 8)],
)
def test_too_small_images_are_refused(architecture: str, smallest: int) -> None:
    before = torch.get_rng_state()
    check_input(architecture, 7, smallest)
    check_input(architecture, 7, 224)
    if smallest > 8:
        said = rf"^{architecture} cannot take data.resolution={smallest - 1} \(.*small\).* it takes is (32|64)$"
        with pytest.raises(DataError, match=said):
            check_input(architecture, 7, smallest - 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("resolution", [64, 256])
def test_networks_for_one_resolution_refuse_others(resolution: int) -> None:
    check_input("timm/vit_tiny_patch16_224", 7, 224)
    with pytest.raises(DataError, match=rf"^[^\n]*={resolution} \(.*\(224\)\): .* takes is 224$"):
        check_input("timm/vit_tiny_patch16_224", 7, resolution)


@pytest.mark.parametrize(
    "name, said",
    [
        ("resnet51", "no network 'resnet51'; did you mean 'resnet"),
        ("resnet50.no_such", "no_such"),
    ],
)
def test_unknown_networks_of_timm_are_named_in_one_line(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        build(f"timm/{name}", 3)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


def test_without_timm_its_networks_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SettingsError, match="pip install timm"):
        build("timm/resnet50", 3)
    build("resnet-18", 3)


# --- arguments ------------------------------------------------------------------------------------------------------


def test_arguments_make_another_network() -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for arguments in ({}, {"pad_type": "same"}):
        torch.manual_seed(0)
        model = build("timm/mobilenetv2_035", 3, arguments).eval()
        outcomes.append((model.state_dict(), model(x)))
    (weights, plain), (same_weights, padded) = outcomes
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights) and not torch.allclose(plain, padded)
    assert build("vgg-16", 3, {"dropout": 0.25}).classifier[2].p == 0.25  # type: ignore[index,union-attr]
    check_input("timm/vit_tiny_patch16_224", 7, 96, {"img_size": 96})


@pytest.mark.parametrize(
    "architecture, arguments, said",
    [
        ("timm/mobilenetv2_100", {"pad_typ": "same"}, "arguments.pad_typ: unknown to .*; did you mean 'pad_type'"),
        ("timm/levit_128", {"drop": 0.1}, "arguments.drop: unknown to .*; did you mean 'drop_rate'"),
        ("resnet-18", {"zero_init": True}, "arguments.zero_init: unknown to .*; did you mean 'zero_init_residual'"),
        ("timm/mobilenetv2_100", {"act_layer": "no_such"}, "timm/mobilenetv2_100 cannot be made with them .*no_such"),
        ("timm/mobilenetv2_100", {"features_only": True}, "no longer one logit a class"),
        *[
            (architecture, {name: value}, f"arguments.{name}: cannot be set: weights come from network.pretrained")
            for architecture, name, value in (
                ("timm/mobilenetv2_100", "pretrained", True),
                ("timm/mobilenetv2_100", "pretrained_cfg_overlay", "x"),
                ("timm/mobilenetv2_100", "checkpoint_path", "x.pt"),
                ("timm/mobilenetv2_100", "in_chans", 1),
                ("timm/mobilenetv2_100", "num_classes", 4),
                ("timm/mobilenetv2_100", "dtype", "bfloat16"),
                ("resnet-18", "weights", "DEFAULT"),
                ("resnet-18", "num_classes", 4),
            )
        ],
    ],
)
def test_arguments_that_will_not_do_are_refused_in_one_line(
    architecture: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^network\.[^\n]*{said}[^\n]*$"):
        check_input(architecture, 7, 64, arguments)
