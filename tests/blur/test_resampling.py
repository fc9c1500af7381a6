"""Kernels that are defined at one size of image, at another."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blurtrain.blur import convolve, gaussian_blur, kernels, resized_crop_blur
from blurtrain.blur.resampling import resampled, scaled

KERNELS = (
    {f"disk-{radius}": kernels.disk(radius) for radius in (2, 4, 6, 8)}
    | {f"box-{length}-{angle}": kernels.box(length, angle) for length in (4, 8) for angle in (0, 30, 90)}
    | {f"shake-{index}": kernels.shake_for("test", index) for index in range(6)}
)
SCALES = (128 / 384, 224 / 384, 256 / 384, 356 / 384, 512 / 384, 512 / 224)


def moments(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum; centroid x, y; second moments xx, yy, xy."""
    half = len(kernel) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.array([(kernel * weight).sum() for weight in (1, x, y, x * x, y * y, x * y)])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", KERNELS)
def test_sum_centroid_and_second_moments_scale_exactly(name: str, scale: float) -> None:
    expected = moments(KERNELS[name]) * [1, scale, scale, scale**2, scale**2, scale**2]
    assert moments(resampled(KERNELS[name], scale)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_at_scale_one_a_kernel_is_itself(name: str) -> None:
    assert resampled(KERNELS[name], 1.0) is KERNELS[name]


@pytest.mark.parametrize("scale", SCALES)
def test_symmetry_stays(scale: float) -> None:
    for name in ("disk-4", "box-8-30"):
        kernel = resampled(KERNELS[name], scale)
        assert len(kernel) % 2 == 1 and np.allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


def resized(images: torch.Tensor, side: int) -> torch.Tensor:
    zero = torch.zeros(1, dtype=torch.long)
    return resized_crop_blur(images, zero, zero, zero + images.shape[2], zero + images.shape[3], side)


@pytest.mark.parametrize("side", [128, 224, 256, 512])
@pytest.mark.parametrize("name", ["disk-2", "disk-4", "disk-8", "box-8-30", "shake-1"])
def test_it_is_what_resizing_to_the_definition_blurring_and_resizing_back_is(name: str, side: int) -> None:
    """On an image with the spectrum of natural ones, 1 / f: the error, as a part of what the blur changes at all."""
    noise = torch.randn(1, 3, 384, 384, generator=torch.Generator().manual_seed(0))
    f = torch.fft.fftfreq(384)
    spectrum = torch.fft.fft2(noise) / torch.hypot(f[:, None], f[None]).clamp(min=1 / 384)
    image = torch.fft.ifft2(spectrum).real
    image = (127 + 50 * image / image.std()).clamp(0, 255)
    at_384 = resized(convolve(image, KERNELS[name]), side)
    ours = convolve(resized(image, side), resampled(KERNELS[name], side / 384))

    def difference(seen: torch.Tensor) -> float:
        return float((seen - at_384)[..., 16:-16, 16:-16].square().mean().sqrt())

    sharp = resized(image, side)
    assert difference(ours) < 0.2 * difference(sharp)
    assert difference(ours) < 0.2 * difference(convolve(sharp, KERNELS[name]))  # the kernel as it stands


def test_sigma_keeps_its_share_of_the_image() -> None:
    assert scaled(8.0, 64, 224) == pytest.approx(2.2857, abs=1e-4)
    assert scaled(8.0, 224, 224) == 8
    assert scaled(np.array([0.0, 4.0, 8.0]), 448, 224).tolist() == [0, 8, 16]
    wide = torch.zeros(1, 1, 129, 129)
    wide[..., 64, 64] = 1
    spread = gaussian_blur(wide, scaled(8.0, 112, 224), truncate=6)[0, 0].double().numpy()
    assert moments(spread)[3] == pytest.approx(16, rel=1e-3)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be a finite number > 0"):
        resampled(kernels.disk(2), scale)
