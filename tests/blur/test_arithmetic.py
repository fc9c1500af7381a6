"""What torch is asked for on behalf of networks leaves a blur as it is."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from blurtrain.blur import box_blur, convolve, gaussian_blur, kernels, resized_crop_blur

SIDE = 128


def cropped(images: Tensor) -> Tensor:
    zero = torch.zeros(1, dtype=torch.long)
    return resized_crop_blur(images, zero, zero, zero + 100, zero + 90, 64, sigma=torch.tensor([1.0, 8.0]))


BLURS = [
    lambda images: gaussian_blur(images, 8.0),
    lambda images: gaussian_blur(images, torch.tensor([2.0, 8.0])),
    lambda images: box_blur(images, 5, 9),
    cropped,
    lambda images: convolve(images, kernels.disk(4)),
    lambda images: convolve(images, np.stack([kernels.disk(8)] * 2)),
]


@pytest.fixture
def coarse() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("blur", BLURS)
@pytest.mark.parametrize("gradient", [False, True])
def test_autocast_and_coarse_products_leave_a_blur_exact(
    blur: Callable[[Tensor], Tensor], gradient: bool, coarse: None
) -> None:
    images = 255 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    exact = blur(images.double())
    with torch.autocast("cpu", torch.bfloat16):
        blurred = blur(images.requires_grad_(gradient))
        assert torch.ones(1, 1).matmul(torch.ones(1, 1)).dtype == torch.bfloat16  # what the caller asked for stays
    assert blurred.dtype == torch.float32 and (blurred.double() - exact).abs().max() < 1e-3
    assert torch.get_float32_matmul_precision() == "medium" and torch.backends.mkldnn.matmul.fp32_precision == "bf16"
