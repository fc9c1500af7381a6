"""The rule that blur is defined at smaller side 384."""

import pytest
import torch

from blurtrain.blur import convolve, gaussian_blur, kernels
from blurtrain.blur.protocol import blurred_at, resized


def pictures(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, height // 20, width // 20, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


def test_smaller_side_and_aspect() -> None:
    assert resized(pictures(100, 160), 384).shape[-2:] == (384, 614)
    assert resized(pictures(160, 100), 50).shape[-2:] == (80, 50)
    images = pictures(60, 60)
    assert torch.equal(resized(images, 60), images)


def test_blur_is_in_pixels_at_384_whatever_the_photograph_and_the_scale() -> None:
    """A small and a large version of one picture look alike after a disk of 8 pixels at 384, seen at 128."""
    large = pictures(600, 800)
    small = resized(large, 300)
    disk = torch.from_numpy(kernels.disk(8).copy())
    seen = [blurred_at(images, lambda x: convolve(x, disk), scale=128).float() for images in (large, small)]
    assert seen[0].shape == seen[1].shape == (2, 3, 128, 171)
    assert (seen[0] - seen[1]).abs().mean() < 1
    # ... and like a Gaussian of a third of the sigma at a third of the size.
    direct = gaussian_blur(resized(large, 128), 2.0)
    assert (blurred_at(large, lambda x: gaussian_blur(x, 6.0), scale=128).float() - direct).abs().mean() < 1


def test_results_have_eight_bits_and_other_images_are_refused() -> None:
    assert blurred_at(pictures(60, 80), lambda x: gaussian_blur(x, 2.0)).dtype == torch.uint8
    with pytest.raises(ValueError, match="uint8"):
        blurred_at(torch.zeros(1, 3, 8, 8), lambda x: x)
