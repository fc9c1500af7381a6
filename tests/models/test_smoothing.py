"""Curriculum by Smoothing: which feature maps are blurred, how much, and that nothing else changes."""

import copy
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from blurtrain.blur import gaussian_blur
from blurtrain.blur.curricula import Constant, Curriculum, FeatureSmoothing, Geometric, Mix, Stepwise
from blurtrain.data.augment import Transform
from blurtrain.errors import Stopped
from blurtrain.evaluation.runs import evaluate_run
from blurtrain.models import build
from blurtrain.models import smoothing as module
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.stopping import stop_signals
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def images(side: int = 12) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def layer() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())


def smoothed(features: Tensor, sigma: float, size: int = 3, border: str = "reflect") -> Tensor:
    """Plain convolution of every channel with a size x size Gaussian of unit sum."""
    radius = size // 2
    taps = torch.tensor([pow(2.718281828459045, -0.5 * (d / sigma) ** 2) for d in range(-radius, radius + 1)])
    kernel = (taps[:, None] * taps[None, :] / taps.sum() ** 2).expand(features.shape[1], 1, size, size)
    padded = nn.functional.pad(features, [radius] * 4, mode="constant" if border == "zero" else "reflect")
    return nn.functional.conv2d(padded, kernel, groups=features.shape[1])


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.9**7, 1.0, 5.0])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("border", ["reflect", "zero"])
def test_the_kernel_has_the_given_sigma_size_and_border(sigma: float, size: int, border: Any) -> None:
    model = layer()
    expected = model[1](smoothed(model[0](images()), sigma, size, border))  # between convolution and activation
    Smoothing(model, FeatureSmoothing(kernel_size=size, border=border)).sigma = sigma
    assert torch.allclose(model(images()), expected, atol=1e-5)


def test_maps_of_one_pixel_have_nothing_to_be_smoothed_with() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 12))
    plain = model(images())
    Smoothing(model, FeatureSmoothing(border="zero")).sigma = 1.0
    assert torch.equal(model(images()), plain)


def smoothed_convolutions(architecture: str) -> list[str]:
    model = build(architecture, 3)
    smoothed = Smoothing(model, FeatureSmoothing(convolutions="as-published")).convolutions
    return [name for name, module in model.named_modules() if module in smoothed]


def test_as_published_the_last_convolution_of_each_block_and_no_shortcut_is_smoothed() -> None:
    """VGG-16: of blocks of 2, 2, 3, 3, 3 convolutions, each with its activation, the last, before the pooling."""
    lasts = [2 * sum(blocks) - 2 + pools for pools, blocks in enumerate(([2], [2, 2], [2, 2, 3], [2, 2, 3, 3]))]
    assert smoothed_convolutions("vgg-16") == [f"features.{k}" for k in (*lasts, 28)]
    assert smoothed_convolutions("alexnet-sup") == ["features.0", "features.3", "features.10"]
    residual = smoothed_convolutions("resnet-18")
    assert residual == ["conv1", *(f"layer{k}.{b}.conv{c}" for k in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2))]
    assert all(".conv2" in name or name == "conv1" for name in smoothed_convolutions("resnet-50"))


def test_feature_maps_are_blurred_in_training_only() -> None:
    model = layer()
    plain = model(images())
    Smoothing(model, FeatureSmoothing()).sigma = 1.0
    assert not torch.allclose(model.train()(images()), plain, atol=1e-2)
    assert torch.equal(model.eval()(images()), plain)


@pytest.mark.parametrize("architecture", ["alexnet-sup", "resnet-18"])
def test_every_convolution_is_smoothed_and_sigma_0_is_the_plain_network(architecture: str) -> None:
    batch = images(64)
    torch.manual_seed(2)
    model = build(architecture, 3).train()
    plain = model(batch)
    smoothing = Smoothing(model, FeatureSmoothing())
    assert smoothing.convolutions == [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(smoothing.convolutions) == {"alexnet-sup": 5, "resnet-18": 20}[architecture]
    assert torch.equal(model(batch), plain)
    smoothing.sigma = 1.0
    assert not torch.allclose(model(batch), plain, rtol=1e-2)
    assert list(model.state_dict()) == list(build(architecture, 3).state_dict())


@pytest.mark.parametrize("curriculum", [Constant(sigma=8), Stepwise(), Geometric(), Mix()], ids=str)
def test_other_curricula_leave_the_network_alone(curriculum: Curriculum) -> None:
    model = layer()
    plain = model(images())
    smoothing = Smoothing(model, curriculum)
    smoothing.sigma = 1.0
    assert not smoothing.convolutions
    assert torch.equal(model(images()), plain)


def test_gradients_flow_through_the_blur() -> None:
    expected, model = layer(), layer()
    smoothed(expected[0](images()), 0.8).square().sum().backward()
    Smoothing(model, FeatureSmoothing()).sigma = 0.8
    model[0](images()).square().sum().backward()
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-3)


def test_an_evaluation_before_does_not_stop_the_gradient() -> None:
    """Blur matrices are kept from call to call, also from calls in inference mode."""
    with torch.inference_mode():
        gaussian_blur(images(11), 0.7, truncate=1 / 0.7)
    features = images(11).requires_grad_()
    gaussian_blur(features, 0.7, truncate=1 / 0.7).sum().backward()
    assert features.grad is not None


def test_smoothing_at_test_takes_part_in_evaluation_of_the_network_and_of_its_average() -> None:
    model = layer()
    plain = model(images())
    smoothing = Smoothing(model, FeatureSmoothing(at_test=True))
    average = copy.deepcopy(model)
    smoothing.sigma = 1.0
    expected = model[1](smoothed(plain_convolution(model), 1.0))
    for network in (model, average):
        assert torch.allclose(network.eval()(images()), expected, atol=1e-5)
    smoothing.sigma = 0.0
    assert torch.equal(average(images()), plain)


def plain_convolution(model: nn.Sequential) -> Tensor:
    return nn.functional.conv2d(images(), model[0].weight, model[0].bias, padding=1)


# --- in a training --------------------------------------------------------------------------------------------------


def sigmas_of(run: Run) -> list[float]:
    return [event["sigma"] for event in run.journal() if event["event"] == "epoch"]


def blurs_of_features(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool]]:
    """The sigma of each blur of feature maps to come, and whether gradients are taken through it."""
    seen, blur = list[tuple[float, bool]](), module.gaussian_blur

    def watched(features: Tensor, sigma: float, **others: Any) -> Tensor:
        seen.append((sigma, features.requires_grad))
        return blur(features, sigma, **others)

    monkeypatch.setattr(module, "gaussian_blur", watched)
    return seen


def in_evaluation(seen: list[tuple[float, bool]]) -> set[float]:
    return {sigma for sigma, learns in seen if not learns}


def test_a_run_with_feature_smoothing(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = blurs_of_features(monkeypatch)
    curriculum = {"schedule": "feature-smoothing", "sigma": 1, "factor": 0.5, "every_epochs": 1}
    run = train(tiny(regime="smooth", curriculum=curriculum), tmp_path)
    assert seen == [(1, True)] * 15 + [(0.5, True)] * 15  # three batches an epoch, five convolutions
    assert sigmas_of(run) == [0, 0]  # of the images
    clear = train(tiny(), tmp_path)
    weights, plain = (safetensors.torch.load_file(r.weights) for r in (run, clear))
    assert weights.keys() == plain.keys()
    assert not torch.equal(weights["features.0.weight"], plain["features.0.weight"])


AT_TEST = {"schedule": "feature-smoothing", "sigma": 1, "factor": 0.8, "every_epochs": 1, "border": "zero"}


@pytest.mark.parametrize("ema", [0, 0.5])
def test_a_run_that_is_smoothed_at_test_is_so_whenever_it_is_evaluated(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    """At its end, after a stop in the evaluation, and by a later evaluation: always by the last epoch's sigma."""
    settings = tiny(
        regime="smooth", curriculum={**AT_TEST, "at_test": True}, optimisation={"ema": ema},
        checkpoints={"every_minutes": 0},
    )  # fmt: skip
    seen = blurs_of_features(monkeypatch)

    def asked_to_stop(self: Transform, batch: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return resized(self, batch)

    with monkeypatch.context() as patch:
        resized = Transform.resized
        patch.setattr(Transform, "resized", asked_to_stop)
        with pytest.raises(Stopped, match="in the evaluation"):
            train(settings, tmp_path, listen=stop_signals)
    assert in_evaluation(seen) == {0.8}
    seen.clear()
    run = train(settings, tmp_path)
    assert len(run.attempts()) == 2 and in_evaluation(seen) == {0.8}
    result = run.result()
    assert result
    at_the_end = run.evaluations / result["accuracy"]
    measured = json.loads(at_the_end.read_text())
    at_the_end.unlink()
    seen.clear()
    (again,) = evaluate_run(run.path)
    assert again["rows"] == measured["rows"] and in_evaluation(seen) == {0.8}
    assert measured["smoothed"] == 0.8, "the file says so: the weights alone are not the whole network"
