"""The composed operator against independent implementations: SciPy in float64, and torchvision."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import numpy as np
import pytest
import torch
from scipy import ndimage

from blurtrain.blur import gaussian_blur, kernels, resized_crop_blur
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from torchvision.transforms.v2 import functional as tv

TOLERANCE = 1e-3  # of 255


def white_noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def scipy_blur(image: torch.Tensor, sigma: float, truncate: float = 4.0) -> np.ndarray:
    return ndimage.gaussian_filter(image.double().numpy(), [0, sigma, sigma], mode="mirror", truncate=truncate)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 2.2857, 8.0, 32.0])
@pytest.mark.parametrize("shape", [(64, 64), (37, 50), (9, 200), (1, 7)])
def test_gaussian_blur_equals_scipy_up_to_the_border(sigma: float, shape: tuple[int, int]) -> None:
    images = white_noise(2, 3, *shape)  # at sigma 32 the kernel is wider than every one of these
    blurred = gaussian_blur(images, sigma)
    for image, ours in zip(images, blurred, strict=True):
        assert np.abs(ours.double().numpy() - scipy_blur(image, sigma)).max() < TOLERANCE


def test_every_image_has_its_own_sigma() -> None:
    images, sigmas = white_noise(5, 3, 40, 40), torch.tensor([0.0, 0.5, 2.0, 8.0, 30.0])
    for image, sigma, ours in zip(images, sigmas.tolist(), gaussian_blur(images, sigmas), strict=True):
        assert np.abs(ours.double().numpy() - scipy_blur(image, sigma)).max() < TOLERANCE


def test_truncate_two_is_the_33_taps_of_the_original_study() -> None:
    assert kernels.gaussian(8, truncate=2).shape == (33, 33)
    image = white_noise(1, 3, 64, 64)
    assert np.abs(gaussian_blur(image, 8.0, 2.0)[0].numpy() - scipy_blur(image[0], 8.0, 2.0)).max() < TOLERANCE
    ours = gaussian_blur(image.float(), 8.0, 2.0)
    theirs = tv.gaussian_blur(image.float(), [33, 33], [8.0, 8.0])
    assert (ours - theirs).abs().max() < TOLERANCE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side, size", [(256, 224), (73, 64), (64, 96)])
def test_crop_resize_flip_blur_equals_torchvisions_chain(interpolation: str, side: int, size: int) -> None:
    """torchvision in float64: in float32 its resize itself errs by up to 0.004 of 255, having float32 coordinates."""
    images = white_noise(6, 3, side, side).float()
    generator = torch.Generator().manual_seed(1)
    height, width = (torch.randint(side // 3, side + 1, (6,), generator=generator) for _ in range(2))
    top, left = ((torch.rand(6, generator=generator) * (side - n + 1)).long() for n in (height, width))
    flip, sigma = torch.tensor([True, False] * 3), torch.tensor([0.0, 0.8, 2.0, 3.0, 5.0, 8.0])
    ours = resized_crop_blur(images, top, left, height, width, size, flip, sigma, interpolation)
    for k in range(6):
        theirs = tv.resized_crop(
            images[k : k + 1].double(), int(top[k]), int(left[k]), int(height[k]), int(width[k]), [size, size],
            tv.InterpolationMode(interpolation), antialias=True,
        )  # fmt: skip
        theirs = theirs.flip(3) if flip[k] else theirs
        if sigma[k]:
            taps = 2 * kernels.gaussian_radius(float(sigma[k])) + 1
            if taps // 2 >= size:  # torchvision cannot
                continue
            theirs = tv.gaussian_blur(theirs, [taps, taps], [float(sigma[k])] * 2)
        assert (ours[k] - theirs[0]).abs().max() < TOLERANCE, k


def test_blur_keeps_constants_and_passes_gradients() -> None:
    constant = torch.full((1, 3, 31, 31), 200.0)
    assert (gaussian_blur(constant, 5.0) - 200).abs().max() < TOLERANCE
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gaussian_blur(x, torch.tensor([1.0, 4.0])), images)


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_bad_sigma_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        gaussian_blur(torch.zeros(1, 3, 8, 8), sigma)
    with pytest.raises(ValueError, match="sigma"):
        gaussian_blur(torch.zeros(2, 3, 8, 8), torch.tensor([1.0, sigma]))


def test_wrong_number_of_sigmas_and_crops_outside_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images but 3 sigmas"):
        gaussian_blur(torch.zeros(2, 3, 8, 8), torch.ones(3))
    at = torch.tensor([4])
    with pytest.raises(ValueError, match="outside"):
        resized_crop_blur(torch.zeros(1, 3, 8, 8), at, at, at + 1, at, 8)
