"""Curriculum by Smoothing: which feature maps are blurred, how much, and that nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from blurtrain.blur import gaussian_blur
from blurtrain.blur.curriculum import sigmas
from blurtrain.curricula import (
    ConstantBlur,
    Curriculum,
    FeatureSmoothing,
    GeometricBlur,
    MixBlur,
    StepwiseBlur,
    UniformBlur,
)
from blurtrain.data.augment import Transform
from blurtrain.data.catalog import Dataset
from blurtrain.data.draws import curriculum_draws
from blurtrain.data.loader import training_order
from blurtrain.models import build
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def images(side: int = 12) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def layer() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())


def smoothed(features: Tensor, sigma: float, size: int = 3) -> Tensor:
    """Plain convolution of every channel with a size x size Gaussian of unit sum, borders reflected."""
    radius = size // 2
    taps = torch.tensor([pow(2.718281828459045, -0.5 * (d / sigma) ** 2) for d in range(-radius, radius + 1)])
    kernel = (taps[:, None] * taps[None, :] / taps.sum() ** 2).expand(features.shape[1], 1, size, size)
    padded = nn.functional.pad(features, [radius] * 4, mode="reflect")
    return nn.functional.conv2d(padded, kernel, groups=features.shape[1])


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.9**7, 1.0, 5.0])
@pytest.mark.parametrize("size", [3, 5])
def test_the_kernel_has_the_given_sigma_and_size(sigma: float, size: int) -> None:
    model = layer()
    expected = model[1](smoothed(model[0](images()), sigma, size))  # between convolution and activation
    Smoothing(model, FeatureSmoothing(kernel_size=size)).sigma = sigma
    assert torch.allclose(model(images()), expected, atol=1e-5)


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
    hooked = [m for m in model.modules() if m._forward_hooks]
    assert hooked == [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(hooked) == {"alexnet-sup": 5, "resnet-18": 20}[architecture]
    assert torch.equal(model(batch), plain)
    smoothing.sigma = 1.0
    assert not torch.allclose(model(batch), plain, rtol=1e-2)
    assert list(model.state_dict()) == list(build(architecture, 3).state_dict())


@pytest.mark.parametrize("curriculum", [ConstantBlur(sigma=8), StepwiseBlur(), GeometricBlur(), MixBlur()], ids=str)
def test_other_curricula_leave_the_network_alone(curriculum: Curriculum) -> None:
    model = layer()
    plain = model(images())
    Smoothing(model, curriculum).sigma = 1.0
    assert not any(module._forward_hooks for module in model.modules())
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


# --- in a training --------------------------------------------------------------------------------------------------


def sigmas_of(run: Run) -> list[float]:
    return [event["sigma"] for event in run.journal() if event["event"] == "epoch"]


def test_a_run_with_feature_smoothing(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, smooth = [], Smoothing._smooth

    def watched(self: Smoothing, module: nn.Module, *rest: Any) -> Tensor | None:
        if module.training:
            seen.append(self.sigma)
        return smooth(self, module, *rest)

    monkeypatch.setattr(Smoothing, "_smooth", watched)
    curriculum = {"schedule": "feature-smoothing", "sigma": 1, "factor": 0.5, "every_epochs": 1}
    run = train(tiny(regime="feature-smoothing", curriculum=curriculum), tmp_path)
    assert seen == [1] * 15 + [0.5] * 15  # three batches an epoch, five convolutions
    assert sigmas_of(run) == [0, 0]  # of the images
    clear = train(tiny(), tmp_path)
    weights, plain = (safetensors.torch.load_file(r.weights) for r in (run, clear))
    assert weights.keys() == plain.keys()
    assert not torch.equal(weights["features.0.weight"], plain["features.0.weight"])


def test_each_image_of_a_run_gets_the_sigma_that_is_drawn_for_it(
    tiny: Tiny, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[int, int], float] = {}
    transformed = Transform.train

    def watched(self: Transform, batch: Tensor, indices: np.ndarray, epoch: int, sigma: np.ndarray) -> Tensor:
        seen.update({(epoch, int(i)): float(s) for i, s in zip(indices, sigma, strict=True)})
        return transformed(self, batch, indices, epoch, sigma)

    monkeypatch.setattr(Transform, "train", watched)
    settings = tiny(regime="random-uniform", seed=4)
    train(settings, tmp_path)
    expected: dict[tuple[int, int], float] = {}
    for epoch in (0, 1):
        order = training_order(prepared.split("train")[0], 4, epoch, 8)
        drawn = sigmas(UniformBlur(low=0, high=5), epoch, 2, curriculum_draws(4, epoch, order))
        expected |= {(epoch, int(i)): s * 64 / 224 for i, s in zip(order, drawn, strict=True)}
    assert len(seen) == 2 * 24
    assert seen == pytest.approx(expected)


def test_mixtures_are_stratified(tiny: Tiny, tmp_path: Path) -> None:
    halves = {"schedule": "mix", "sigmas": [0, 8], "probabilities": [0.5, 0.5]}
    assert sigmas_of(train(tiny(regime="halves", curriculum=halves), tmp_path)) == [4, 4]  # stratified, so exactly
    three = {"schedule": "mix", "sigmas": [0, 2, 8], "probabilities": [0.25, 0.5, 0.25]}
    assert sigmas_of(train(tiny(regime="three", curriculum=three), tmp_path)) == pytest.approx([3, 3], abs=1.5)
