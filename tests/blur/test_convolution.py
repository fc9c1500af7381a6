"""Kernels of any shape against SciPy's convolution in float64."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from blurtrain.blur import convolve, kernels, product
from blurtrain.blur.corruptions import motion
from blurtrain.blur.point_spread import MAX_SIDE

KERNELS = {
    "disk 3": kernels.disk(3),
    "disk 10": kernels.disk(10),
    "antialiased disk 5": kernels.disk(5.5, antialias=True),
    "box 8 across": kernels.box(8),
    "box 7 at 30 degrees": kernels.box(7, 30),
    "camera shake": kernels.camera_shake(16, 3),
    "ImageNet-C motion": motion(3, 40.0),
    "gaussian": kernels.gaussian(2.0),
    "identity": np.ones((1, 1)),
}


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def exact(image: torch.Tensor, kernel: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.convolve(channel, kernel, mode="mirror") for channel in image.double().numpy()])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("method", ["auto", "spatial", "fourier"])
def test_equals_scipy_including_borders(name: str, method: str) -> None:
    images = noise(2, 3, 40, 33)
    blurred = convolve(images, torch.from_numpy(KERNELS[name].copy()), method=method)
    assert blurred.dtype == torch.float32
    for image, ours in zip(images, blurred, strict=True):
        assert np.abs(ours.double().numpy() - exact(image, KERNELS[name])).max() < 1e-3


@pytest.mark.parametrize("method", ["spatial", "fourier"])
def test_kernels_wider_than_the_image(method: str) -> None:
    images = noise(1, 3, 9, 6)
    kernel = kernels.disk(12)
    ours = convolve(images, torch.from_numpy(kernel.copy()), method=method)[0]
    assert np.abs(ours.double().numpy() - exact(images[0], kernel)).max() < 1e-3


@pytest.mark.parametrize("method", ["auto", "spatial", "fourier"])
def test_every_image_has_its_own_kernel(method: str) -> None:
    images = noise(6, 3, 48, 48)
    stack = kernels.shakes_for("test", range(6))
    for image, kernel, ours in zip(images, stack, convolve(images, torch.from_numpy(np.array(stack)), method=method),
                                   strict=True):  # fmt: skip
        assert np.abs(ours.double().numpy() - exact(image, kernel)).max() < 1e-3


@pytest.mark.parametrize("dtype, tolerance", [(torch.uint8, 0.51), (torch.float16, 0.07), (torch.bfloat16, 0.51)])
def test_results_are_rounded_once(dtype: torch.dtype, tolerance: float) -> None:
    images = noise(2, 3, 32, 32)
    ours = convolve(images.to(dtype), torch.from_numpy(kernels.disk(4).copy()), dtype=dtype)
    assert ours.dtype == dtype
    assert np.abs(ours[0].double().numpy() - exact(images[0], kernels.disk(4))).max() < tolerance


@pytest.mark.parametrize("method", ["spatial", "fourier"])
def test_gradients_reach_images_and_kernels(method: str) -> None:
    images = torch.rand(2, 1, 7, 6, dtype=torch.float64, requires_grad=True)
    kernel = torch.rand(2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, k: convolve(x, k, method=method), (images, kernel))


def test_a_batch_that_does_not_fit_the_workspace_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:

    images, stack = noise(5, 3, 24, 24), torch.from_numpy(np.array(kernels.shakes_for("train", range(5))))
    whole = convolve(images, stack)
    monkeypatch.setitem(product.WORKSPACE, "cpu", 200_000)
    assert torch.allclose(convolve(images, stack), whole, atol=1e-4)


def test_mistakes_are_told() -> None:
    images, good = torch.zeros(2, 3, 8, 8), torch.ones(3, 3) / 9
    for kernel, words in (
        (torch.ones(4, 4), "odd"),
        (torch.ones(3), "must be"),
        (good.expand(3, 3, 3), "2 images but 3 kernels"),
        (torch.full((3, 3), float("nan")), "not finite"),
        (torch.ones(MAX_SIDE + 2, MAX_SIDE + 2), "at most"),
    ):
        with pytest.raises(ValueError, match=words):
            convolve(images, kernel)
    with pytest.raises(ValueError, match="empty batch"):
        convolve(torch.zeros(0, 3, 8, 8), good)
    with pytest.raises(ValueError, match="uint8 or float"):
        convolve(torch.zeros(2, 3, 8, 8, dtype=torch.int32), good)
