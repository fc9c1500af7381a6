"""Sight by age against its formulas, worked out here by NumPy, and the curriculum that grows up with it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from blurtrain.blur import gaussian_blur
from blurtrain.blur.blurs import Blur
from blurtrain.blur.curricula import Developmental, DevelopmentalDiet
from blurtrain.blur.sight import Sight, acuity, colour_sensitivity, contrast_sensitivity
from blurtrain.settings import compose


def images(n: int = 2, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return gaussian_blur(255 * torch.rand(n, 3, side, side, generator=generator), 1.0).double()


def seen(pixels: Tensor, **parts: float) -> Tensor:
    off = {"acuity": False, "colour": False, "contrast": False}
    return Sight.model_validate({**off, **parts}).blurred(pixels, range(len(pixels)), resolution=pixels.shape[-1])


def test_curves_have_the_values_of_the_source() -> None:
    # Worked out by hand from the authors' formulas.
    assert acuity(0) == pytest.approx(19.66) and acuity(12) == pytest.approx(1.6 * math.exp(-0.324) + 0.00138, abs=1e-4)
    assert contrast_sensitivity(57.6) == pytest.approx(0.5 * (1 + (57.6 / 300) ** 2.1633375920569247))
    assert (contrast_sensitivity(0), contrast_sensitivity(300)) == (0, pytest.approx(1))
    months = np.arange(0, 240, 6.0)
    for curve in (contrast_sensitivity, colour_sensitivity):
        values = [curve(float(m)) for m in months]
        assert values == sorted(values) and values[0] == 0
    assert colour_sensitivity(12 * 61.1 / 3) == pytest.approx(1)
    assert colour_sensitivity(12) == pytest.approx(
        (0.0086041 * 20.3667**-0.88076 + 4.38074e-5 * 20.3667**0.88076) / (0.0086041 + 4.38074e-5), rel=1e-4
    )


def test_acuity_is_the_gaussian_of_that_age_and_birth_has_no_colour() -> None:
    pixels = images()
    expected = gaussian_blur(pixels, acuity(2.0) * 64 / 224)
    assert torch.allclose(seen(pixels, months=2, acuity=True), expected, atol=1e-3)
    grey = (pixels * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(seen(pixels, months=0, colour=True), grey.expand_as(pixels), atol=0.01)
    half = seen(pixels, months=24, colour=True)
    share = colour_sensitivity(24)
    assert 0 < share < 0.5 and torch.allclose(half, share * pixels + (1 - share) * grey, atol=0.01)


@pytest.mark.parametrize("months", [0, 40, 120])
@pytest.mark.parametrize("side", [64, 63])
def test_faint_frequencies_are_left_out(months: float, side: int) -> None:
    pixels = images(side=side)
    found = seen(pixels, months=months, contrast=True, threshold=20)
    s, kept = contrast_sensitivity(months), []
    for image, own in zip(pixels.numpy(), found.numpy(), strict=True):
        spectrum = np.fft.fft2(image)
        power = np.abs(spectrum) ** 2
        least = power.max() * (1 - s) * 0.001 / max(math.floor(s * 300 / 150) * 2, 1) * 20
        expected = np.fft.ifft2(spectrum * (power >= least)).real.clip(0, 255)
        np.testing.assert_allclose(own, expected, atol=1e-6)
        kept.append((power >= least).mean())
    assert 0 < max(kept) < 0.9


def test_an_adult_loses_nothing_but_a_little_acuity() -> None:
    pixels = images()
    assert torch.allclose(seen(pixels, months=300, contrast=True), pixels)
    assert torch.allclose(seen(pixels, months=4 * 61.1, colour=True), pixels)
    whole = Sight(months=300).blurred(pixels, [0, 1], resolution=64)
    assert (whole - pixels).abs().max() < 4, "colour sensitivity is a little past its best"
    assert torch.equal(seen(pixels, months=0), pixels)


def test_each_image_by_itself() -> None:
    pixels, blur = images(3), Blur.parse("sight-4")
    whole = blur.blurred(pixels, [0, 1, 2], resolution=64)
    assert torch.allclose(blur.blurred(pixels[1:2], [9], resolution=64), whole[1:2])


def test_the_diet_ages_with_batches_or_epochs() -> None:
    within = np.arange(64)[:, None] / 64
    draws = {"within": within, "images": np.zeros((64, 2)), "batches": np.zeros((64, 1))}
    by_batch = DevelopmentalDiet(months_per_epoch=2).assign(3, 10, **draws)
    months = [blur.months for blur in by_batch.blurs]  # type: ignore[attr-defined]
    assert np.allclose(months, 6 + 2 * np.arange(8) / 8)
    assert by_batch.which is not None and (by_batch.which == np.arange(64)[:, None] // 8).all()
    by_epoch = DevelopmentalDiet(ageing="epoch").assign(3, 10, **draws)
    assert [blur.label for blur in by_epoch.blurs] == ["sight-6"] and by_epoch.shares() == {"sight-6": 1.0}


def test_with_acuity_alone_it_is_the_older_curriculum() -> None:
    diet = DevelopmentalDiet(ageing="epoch", colour=False, contrast=False)
    draws = {"within": [0.0], "images": [0.0], "batches": [0.0]}
    pixels = images(1)
    for epoch in (0, 1, 9):
        (blur,) = diet.assign(epoch, 10, **draws).blurs
        sigma = float(Developmental().assign(epoch, 10, **draws).sigmas[0])
        expected = gaussian_blur(pixels, sigma * 64 / 224)
        assert torch.allclose(blur.blurred(pixels, [0], resolution=64), expected, atol=1e-3)


def test_a_run_that_is_too_short_for_adult_sight_is_warned_of() -> None:
    assert "never gets to adult sight (300 months; it ends at 20)" in DevelopmentalDiet().shortfall(10)
    assert DevelopmentalDiet().shortfall(150) == ""


def test_the_preset_is_the_sources() -> None:
    curriculum = compose({"dataset": "faces", "regime": "developmental-diet"}, "test").curriculum
    assert curriculum == DevelopmentalDiet()
