"""What the blur functions are given: sigmas in any usual form or one error, and pixels that are not finite."""

from typing import Any

import numpy as np
import pytest
import torch

from blurtrain.blur import box_blur, convolve, gaussian_blur, kernels


def white_noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize(
    "sigma", ["3", None, ["a", "b"], [1.0, 2.0, 3.0], torch.ones(2, 2), torch.ones(1), {}, np.ones((2, 1))]
)
def test_what_is_no_sigma_is_one_value_error(sigma: Any) -> None:
    with pytest.raises(ValueError, match=r"sigma must be a number, or one for each image|2 images but"):
        gaussian_blur(torch.zeros(2, 3, 8, 8), sigma)


@pytest.mark.parametrize("sigma", [[1.0, 3.0], (1.0, 3.0), np.array([1.0, 3.0]), np.array([1, 3], np.int32), [1, 3]])
def test_sigmas_may_be_given_as_lists_or_arrays(sigma: Any) -> None:
    images = white_noise(2, 3, 16, 16)
    assert torch.equal(gaussian_blur(images, sigma), gaussian_blur(images, torch.tensor([1.0, 3.0])))
    assert torch.equal(gaussian_blur(images, np.float32(2)), gaussian_blur(images, 2.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("blur", "reach"),
    [
        (lambda x: gaussian_blur(x, 2.0), 8),
        (lambda x: gaussian_blur(x, torch.tensor([1.0, 2.0])), 4),
        (lambda x: box_blur(x, 5.0, 5.0), 2),
        (lambda x: convolve(x, kernels.disk(4), method="fourier"), 4),
        (lambda x: convolve(x, kernels.gaussian(3.0)), 12),
    ],
)
def test_a_pixel_that_is_not_finite_stays_within_its_kernels_reach(blur: Any, reach: int, value: float) -> None:
    images = white_noise(2, 3, 48, 48)
    spoilt = images.clone()
    spoilt[0, 0, 20, 24] = value
    found, expected = blur(spoilt), blur(images)
    far = torch.ones(48, 48, dtype=torch.bool)
    far[20 - reach : 21 + reach, 24 - reach : 25 + reach] = False
    assert found[0, 0, 20, 24].isnan() or found[0, 0, 20, 24].isinf()
    assert torch.allclose(found[0, 0][far], expected[0, 0][far], atol=1e-3)
    assert torch.allclose(found[0, 1:], expected[0, 1:], atol=1e-3) and torch.allclose(found[1], expected[1], atol=1e-3)
