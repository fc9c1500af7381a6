"""sRGB and linear light, by the values of IEC 61966-2-1, and what blurring the one or the other makes of an edge."""

import pytest
import torch

from blurtrain.blur import gaussian_blur
from blurtrain.blur.light import linear_light, srgb

# sRGB value (of 255) and its light (of 1), from the standard's formula in exact arithmetic.
KNOWN = {0: 0.0, 1: 0.000303527, 10: 0.003035270, 11: 0.003346536, 64: 0.051269458, 128: 0.215860500, 188: 0.502886458}
KNOWN |= {254: 0.991102097, 255: 1.0}


def step_edge() -> torch.Tensor:
    """Black on the left, white on the right: [1, 1, 8, 128], 0..255."""
    images = torch.zeros(1, 1, 8, 128)
    images[..., 64:] = 255
    return images


def test_known_values() -> None:
    values, light = torch.tensor([list(KNOWN)], dtype=torch.float64), torch.tensor([list(KNOWN.values())])
    assert torch.allclose(linear_light(values), 255 * light.double(), atol=255e-8)
    assert torch.allclose(srgb(255 * light.double()), values, atol=1e-3)


def test_there_and_back() -> None:
    values = torch.linspace(0, 255, 2551)
    assert torch.allclose(srgb(linear_light(values)), values, atol=1e-3)
    assert torch.allclose(linear_light(srgb(values)), values, atol=1e-3)
    eight_bit = torch.arange(256.0)
    assert torch.equal(srgb(linear_light(eight_bit)).round(), eight_bit)


@pytest.mark.parametrize("convert", [linear_light, srgb])
def test_brighter_stays_brighter_within_the_range(convert: type[object]) -> None:
    values = torch.linspace(0, 255, 10_000, dtype=torch.float64)
    converted = convert(values)  # type: ignore[call-arg]
    assert isinstance(converted, torch.Tensor)
    assert (converted.diff() > 0).all()  # also where the straight part meets the curve
    assert (converted[0], converted[-1]) == (0, pytest.approx(255))


def test_gradients_are_finite_down_to_black() -> None:
    for convert in (linear_light, srgb):
        values = torch.tensor([0.0, 0.5, 10.0, 255.0], requires_grad=True)
        convert(values).sum().backward()
        assert values.grad is not None and torch.isfinite(values.grad).all() and (values.grad > 0).all()


@pytest.mark.parametrize("value", [0.0, 3.0, 100.0, 255.0])
def test_a_constant_image_stays_as_it_is(value: float) -> None:
    images = torch.full((1, 3, 20, 20), value)
    assert torch.allclose(srgb(gaussian_blur(linear_light(images), 8.0)), images, atol=1e-2)


def test_an_edge_blurred_in_linear_light_is_brighter_by_up_to_73_of_255() -> None:
    edge = step_edge()
    brighter = srgb(gaussian_blur(linear_light(edge), 8.0)) - gaussian_blur(edge, 8.0)
    assert brighter.min() > -0.01
    assert 72 < brighter.max() < 73.5
    middle = srgb(gaussian_blur(linear_light(edge), 8.0))[0, 0, 0, 63:65].mean()
    assert middle == pytest.approx(187.5, abs=2)  # half the light
