"""Blur with reflecting borders as an operator, against matrices that SciPy's convolution gives, in float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from blurtrain.blur import kernels
from blurtrain.deblurring.reflected import ReflectedBlur
from blurtrain.errors import SettingsError

Array = NDArray[np.float64]
HEIGHT, WIDTH = 15, 12
EVEN = kernels.disk(3.0)
ODD = kernels.camera_shake(8, 5)[4:-4, 4:-4] if len(kernels.camera_shake(8, 5)) > 17 else kernels.camera_shake(8, 5)
KERNELS = pytest.mark.parametrize("kernel", [EVEN, ODD], ids=["even", "not even"])


def matrix(kernel: Array) -> Array:
    """The convolution of images of HEIGHT x WIDTH, as SciPy does it, column by column."""
    units = np.eye(HEIGHT * WIDTH).reshape(-1, HEIGHT, WIDTH)
    return np.stack([ndimage.convolve(unit, kernel, mode="mirror").ravel() for unit in units], axis=1)


def weight() -> Array:
    """How often each pixel occurs in half a period of the reflected image."""
    down, across = np.ones(HEIGHT), np.ones(WIDTH)
    down[[0, -1]] = across[[0, -1]] = 0.5
    return np.outer(down, across).ravel()


def gradients() -> Array:
    """Sum of squared differences of the reflected image's neighbours, as a symmetric matrix."""
    n = HEIGHT * WIDTH
    units, w = np.eye(n).reshape(-1, HEIGHT, WIDTH), weight().reshape(HEIGHT, WIDTH)
    down = np.diff(units, axis=1) * np.sqrt(w[1])
    across = np.diff(units, axis=2) * np.sqrt(w[:, 1:2])
    parts = [part.reshape(n, -1).T for part in (down, across)]
    return sum(part.T @ part for part in parts)  # type: ignore[return-value]


def image() -> Array:
    return np.random.default_rng(1).random((HEIGHT, WIDTH))


def on_torch(values: Array) -> torch.Tensor:
    return torch.from_numpy(values.reshape(1, 1, HEIGHT, WIDTH).copy())


@KERNELS
def test_blur_is_scipys(kernel: Array) -> None:
    blur = ReflectedBlur([kernel], on_torch(image()))
    assert blur.is_even == (kernel is EVEN)
    expected = ndimage.convolve(image(), kernel, mode="mirror")
    np.testing.assert_allclose(blur.apply(on_torch(image()))[0, 0].numpy(), expected, atol=1e-12)


@KERNELS
def test_adjoint_is_that_of_the_weighed_images(kernel: Array) -> None:
    blur, w = ReflectedBlur([kernel], on_torch(image())), weight()
    expected = matrix(kernel).T @ (w * image().ravel()) / w
    np.testing.assert_allclose(blur.adjoint(on_torch(image())).numpy().ravel(), expected, atol=1e-12)


@KERNELS
@pytest.mark.parametrize("smoothness", [0.02, 0.0])
def test_equations_are_solved(kernel: Array, smoothness: float) -> None:
    blur, w, a = ReflectedBlur([kernel], on_torch(image())), weight(), matrix(kernel)
    normal = a.T @ (w[:, None] * a) + 0.01 * np.diag(w) + smoothness * gradients()
    expected = np.linalg.solve(normal, w * image().ravel())
    found = blur.solve(on_torch(image()), 0.01, smoothness, steps=80)
    np.testing.assert_allclose(found.numpy().ravel(), expected, atol=1e-6)


@KERNELS
def test_least_squares_are_the_least(kernel: Array) -> None:
    blur, w, a = ReflectedBlur([kernel], on_torch(image())), weight(), matrix(kernel)
    normal = a.T @ (w[:, None] * a) + 0.05 * gradients()
    expected = np.linalg.solve(normal, a.T @ (w * image().ravel()))
    found = blur.least_squares(on_torch(image()), 0.05).numpy().ravel()
    np.testing.assert_allclose(found, expected, atol=1e-9 if kernel is EVEN else 2e-3)


def test_each_image_has_its_own_kernel() -> None:
    images = torch.rand(3, 2, 20, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    each = [kernels.disk(2.0), ODD, kernels.box(5.0, 30.0)]
    blurred = ReflectedBlur(each, images).apply(images)
    for k, kernel in enumerate(each):
        expected = [ndimage.convolve(channel, kernel, mode="mirror") for channel in images[k].numpy()]
        np.testing.assert_allclose(blurred[k].numpy(), expected, atol=1e-12)


def test_even_kernels_may_reach_over_the_image_and_others_may_not() -> None:
    small = torch.rand(1, 1, 6, 7, dtype=torch.float64)
    expected = ndimage.convolve(small[0, 0].numpy(), kernels.disk(9.0), mode="mirror")
    found = ReflectedBlur([kernels.disk(9.0)], small).apply(small)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    with pytest.raises(SettingsError, match="is too large to deblur images"):
        ReflectedBlur([kernels.box(25.0, 30.0)], small)
