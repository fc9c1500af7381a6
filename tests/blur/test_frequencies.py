"""Low-, high- and band-pass against the Fourier transform of the reflected image, and on gratings."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blurtrain.blur import frequencies
from blurtrain.blur.bands import GREY
from blurtrain.blur.blurs import Blur

LIMITS = [(None, 5.0), (3.0, None), (3.0, 7.0)]


def noise(*shape: int) -> torch.Tensor:
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_fft(image: NDArray[np.float64], low: float | None, high: float | None, order: int) -> NDArray[np.float64]:
    height, width = image.shape
    whole = np.pad(image, ((0, height - 2), (0, width - 2)), mode="reflect")
    side = min(height, width)
    f = np.hypot(*np.meshgrid(*(side * np.fft.fftfreq(n) for n in whole.shape), indexing="ij"))
    gain = 1 / (1 + (f / high) ** (2 * order)) if high else np.ones_like(f)
    gain -= 1 / (1 + (f / low) ** (2 * order)) if low else 0
    return np.fft.ifft2(np.fft.fft2(whole) * gain).real[:height, :width]


@pytest.mark.parametrize(("low", "high"), LIMITS)
@pytest.mark.parametrize("shape", [(32, 32), (37, 50)])
def test_equals_the_fft_of_the_reflected_image(low: float | None, high: float | None, shape: tuple[int, int]) -> None:
    images = noise(3, 2, *shape)
    found = frequencies.filtered(images, low, high, 3)
    expected = np.stack([[by_fft(channel, low, high, 3) for channel in image] for image in images.numpy()])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    single = frequencies.filtered(images.float(), low, high, 3)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=2e-3)
    assert torch.equal(frequencies.filtered(images.float()[1:2], low, high, 3)[0], single[1]) or shape != (32, 32)


def test_low_bands_and_high_sum_to_the_image() -> None:
    images = noise(1, 3, 40, 40)
    parts = [frequencies.filtered(images, low, high, 2) for low, high in [(None, 2), (2, 6), (6, 11), (11, None)]]
    np.testing.assert_allclose(sum(parts).numpy(), images.numpy(), atol=1e-9)


@pytest.mark.parametrize(("cycles", "label", "left"), [
    (8, "lowpass-8", 1 / 2),
    (16, "lowpass-8", 1 / 17),
    (4, "lowpass-8", 16 / 17),
    (8, "highpass-8", 1 / 2),
    (16, "highpass-8-1", 4 / 5),
    (6, "bandpass-3-12", 16 / 17 - 1 / 17),
])  # fmt: skip
def test_a_grating_keeps_what_the_formula_says_at_any_resolution(cycles: int, label: str, left: float) -> None:
    """Of about so many periods an image, and so that the borders reflect it into itself."""
    for side in (64, 224):
        half_periods = round(2 * cycles * (side - 1) / side)
        grating = 100 + 50 * torch.cos(torch.arange(side) * (math.pi * half_periods / (side - 1)))
        own = half_periods / 2 * side / (side - 1)
        blur = Blur.parse(label)
        expected = frequencies.response([own], *blur.limits(), blur.order)[0]
        assert expected == pytest.approx(left, abs=0.02)
        image = grating.expand(1, 3, side, side)
        for seen in (image, image.mT):
            found = blur.blurred(seen, [0], resolution=side)
            centred = found - found.mean()
            assert float((centred * (seen - seen.mean())).sum() / (seen - seen.mean()).square().sum()) == pytest.approx(
                float(expected), abs=0.002
            )


def test_the_mean_is_put_back_and_values_are_those_of_an_image() -> None:
    images = noise(2, 3, 48, 48).float() * torch.tensor([0.3, 0.5, 0.2])[:, None, None] + 60
    own = images.mean((2, 3))
    for label in ("lowpass-4", "highpass-4", "bandpass-2-9"):
        seen = Blur.parse(label).blurred(images, [0, 1], resolution=48)
        assert torch.allclose(seen.mean((2, 3)), own, atol=0.5)
    for label in ("highpass-4-2-grey", "bandpass-2-9-2-grey"):
        seen = Blur.parse(label).blurred(images, [0, 1], resolution=48)
        assert torch.allclose(seen.mean((2, 3)), torch.tensor(GREY), atol=0.5)
    extreme = 255 * (noise(1, 3, 48, 48) > 128).float()
    seen = Blur.parse("highpass-8").blurred(extreme, [0], resolution=48)
    assert seen.min() == 0 and seen.max() == 255
    flat = torch.full((1, 3, 33, 33), 77.0)
    for label in ("lowpass-4", "highpass-4", "bandpass-2-9"):
        assert torch.allclose(Blur.parse(label).blurred(flat, [0], resolution=33), flat, atol=1e-3)


def test_the_overshoot_at_an_edge_is_as_said() -> None:
    step = torch.zeros(1, 1, 224, 224, dtype=torch.float64)
    step[..., 112:] = 1
    found = [float(frequencies.filtered(step, None, 8.0, order).max()) - 1 for order in (2, 4, 16)]
    assert found == pytest.approx([0.033, 0.068, 0.088], abs=2e-3)


def test_it_is_differentiable() -> None:
    images = (noise(1, 1, 9, 9) / 2 + 60).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: frequencies.filtered(x, 1.0, 3.0, 2), (images,))
    assert torch.autograd.gradcheck(lambda x: Blur.parse("highpass-2").blurred(x, [0], resolution=9), (images,))


def test_errors() -> None:
    with pytest.raises(ValueError, match="N, C, H, W"):
        frequencies.filtered(torch.zeros(3, 8, 8), None, 2, 2)
    with pytest.raises(ValueError, match="low=4 and high=2 must be positive"):
        frequencies.filtered(torch.zeros(1, 3, 8, 8), 4, 2, 2)
    assert frequencies.filtered(torch.zeros(0, 3, 8, 8), None, 2, 2).shape == (0, 3, 8, 8)
    assert frequencies.filtered(torch.full((1, 1, 1, 1), 7.0), None, 2, 2).item() == 7
