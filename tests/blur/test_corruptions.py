"""ImageNet-C's blurs against the published table and independent constructions of their definitions."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from blurtrain.blur import corruptions, kernels

SEVERITIES = (1, 2, 3, 4, 5)


def white_noise(*shape: int) -> torch.Tensor:
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_published_parameters() -> None:
    assert corruptions.GAUSSIAN == (1, 2, 3, 4, 6)
    assert corruptions.DEFOCUS == ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
    assert corruptions.MOTION == ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
    assert corruptions.GLASS == ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    expected = [(12, 1.11), (16, 1.15), (11, 1.20), (13, 1.24), (11, 1.30)]
    for severity, (count, last) in zip(SEVERITIES, expected, strict=True):
        factors = corruptions.zoom_factors(severity)
        assert len(factors) == count and factors[0] == 1 and factors[-1] == pytest.approx(last, abs=1e-9)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, True])
def test_severity_is_one_to_five(severity: int) -> None:
    images = torch.zeros(1, 3, 8, 8)
    for blur in (
        lambda: corruptions.gaussian(severity),
        lambda: corruptions.defocus(severity),
        lambda: corruptions.motion(severity, 0.0),
        lambda: corruptions.zoom(images, severity),
        lambda: corruptions.glass(images, severity, 0, [0]),
    ):
        with pytest.raises(ValueError, match=r"severity must be a whole number in 1\.\.5"):
            blur()


def test_other_errors() -> None:
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match="angle"):
        corruptions.motion(1, math.nan)
    with pytest.raises(ValueError, match="2 images but 3 indices"):
        corruptions.glass(images, 1, 0, [0, 1, 2])
    for arguments in ((-1, [0, 1]), (0, [0, -1])):
        with pytest.raises(ValueError, match="whole number"):
            corruptions.glass(images, 1, *arguments)
    with pytest.raises(ValueError, match="N, C, H, W"):
        corruptions.zoom(images[0], 1)
    with pytest.raises(ValueError, match="N, C, H, W"):
        corruptions.glass(images[0], 1, 0, [0, 1, 2])
    with pytest.raises(ValueError, match="seed"):
        corruptions.motion_angle(-1, 0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_kernels_have_unit_sum_and_an_odd_side_and_cannot_be_written_to(severity: int) -> None:
    for kernel in (corruptions.gaussian(severity), corruptions.defocus(severity), corruptions.motion(severity, 33.0)):
        assert kernel.dtype == np.float64 and kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
        assert kernel.sum() == pytest.approx(1, abs=1e-12) and kernel.min() >= 0
        assert not kernel.flags.writeable


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_is_that_of_its_sigma(severity: int) -> None:
    sigma = (1, 2, 3, 4, 6)[severity - 1]
    impulse = np.zeros((8 * sigma + 1, 8 * sigma + 1))
    impulse[4 * sigma, 4 * sigma] = 1
    np.testing.assert_allclose(corruptions.gaussian(severity), ndimage.gaussian_filter(impulse, sigma), atol=1e-12)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_equals_opencv(severity: int) -> None:
    cv2 = pytest.importorskip("cv2")
    radius, sigma = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][severity - 1]
    side, taps = (17, 3) if severity < 5 else (21, 5)
    centre = side // 2
    disk = [
        [float(math.dist((row, column), (centre, centre)) <= radius) for row in range(side)] for column in range(side)
    ]
    published = cv2.GaussianBlur(np.array(disk) / np.sum(disk), (taps, taps), sigma)
    brightened = 1.0 if severity < 4 else 1.01298 if severity == 4 else 1.01079  # its border reflects the disk
    assert published.sum() == pytest.approx(brightened, abs=1e-5)
    np.testing.assert_allclose(corruptions.defocus(severity), published / published.sum(), atol=1e-9)


# Motion


def test_motion_is_half_a_gaussian_from_the_centre() -> None:
    kernel = corruptions.motion(1, 0.0)
    taps = np.exp(-(np.arange(21.0) ** 2) / 18)
    assert kernel.shape == (41, 41)
    # A pixel gathers light from its right, so the trail of a point leads to the left.
    np.testing.assert_allclose(kernel[20, 20::-1], taps / taps.sum(), rtol=1e-12)
    assert np.count_nonzero(kernel) == 21


def gathered(image: NDArray[np.float64], radius: int, sigma: float, angle: float) -> NDArray[np.float64]:
    """ImageMagick's motion blur, pixel by pixel, away from the borders."""
    weights = [math.exp(-step * step / (2 * sigma * sigma)) for step in range(2 * radius + 1)]
    total = np.zeros_like(image)
    for step, weight in enumerate(weights):
        down = math.ceil(step * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(step * math.cos(math.radians(angle)) - 0.5)
        total += weight / sum(weights) * np.roll(image, (-down, -right), (0, 1))
    return total


@pytest.mark.parametrize("angle", [0.0, 20.0, 30.0, -45.0, 45.0, -7.3])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_convolution_with_motion_equals_imagemagicks_gathering(severity: int, angle: float) -> None:
    image = np.random.default_rng(0).random((90, 90))
    radius, sigma = [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)][severity - 1]
    ours = ndimage.convolve(image, corruptions.motion(severity, angle), mode="wrap")
    np.testing.assert_allclose(ours, gathered(image, radius, sigma, angle), atol=1e-12)


def test_motion_angles_are_uniform_and_belong_to_their_sample() -> None:
    angles = np.array([corruptions.motion_angle(0, index) for index in range(2000)])
    assert angles.min() >= -45 and angles.max() <= 45
    np.testing.assert_allclose(np.histogram(angles, bins=6, range=(-45, 45))[0] / 2000, 1 / 6, atol=0.03)
    assert corruptions.motion_angle(0, 7) == angles[7] != corruptions.motion_angle(1, 7)
    assert corruptions.motion_angle(0, 0) == pytest.approx(1.0639462230231045, rel=1e-12)


# Zoom


def published_zoom(image: NDArray[np.float64], severity: int) -> NDArray[np.float64]:
    """By SciPy: enlarge the centre of a square image by every factor, and average."""
    ranges = [(1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)]
    factors, side, copies = np.arange(*ranges[severity - 1]), len(image), [image]
    for factor in factors:
        kept = math.ceil(side / factor)
        corner = (side - kept) // 2
        grown = ndimage.zoom(image[corner : corner + kept, corner : corner + kept], factor, order=1)
        corner = (len(grown) - side) // 2
        copies.append(grown[corner : corner + side, corner : corner + side])
    return np.mean(copies, axis=0)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [224, 64, 33])
def test_zoom_equals_scipy(severity: int, side: int) -> None:
    images = white_noise(2, 1, side, side)
    expected = np.stack([published_zoom(image[0].numpy(), severity) for image in images])[:, None]
    np.testing.assert_allclose(corruptions.zoom(images, severity).numpy(), expected, atol=1e-10)
    np.testing.assert_allclose(corruptions.zoom(images.float(), severity).numpy(), expected, atol=1e-3)


def test_zoom_takes_rectangles_and_every_dtype() -> None:
    images = white_noise(2, 3, 20, 45).round()
    exact = corruptions.zoom(images, 3)
    assert exact.shape == images.shape and exact.dtype == torch.float64
    for dtype, result, tolerance in [
        (torch.uint8, torch.float32, 1e-3),
        (torch.float32, torch.float32, 1e-3),
        (torch.bfloat16, torch.bfloat16, 1.0),
        (torch.float16, torch.float16, 0.13),
    ]:
        ours = corruptions.zoom(images.to(dtype), 3)
        assert ours.dtype == result and (ours.double() - exact).abs().max() <= tolerance
    np.testing.assert_allclose(exact.mT.numpy(), corruptions.zoom(images.mT, 3).numpy(), atol=1e-10)
    along_rows = images[..., :1].expand(-1, -1, -1, 20)  # constant along rows: only columns are zoomed
    square = corruptions.zoom(along_rows, 3).numpy()
    wide = corruptions.zoom(images[..., :1].expand(-1, -1, -1, 45), 3).numpy()
    np.testing.assert_allclose(wide[..., :20], square, atol=1e-10)


def test_zoom_keeps_constants_and_tiny_images() -> None:
    for severity in SEVERITIES:
        constant = corruptions.zoom(torch.full((1, 3, 50, 30), 77.0), severity)
        np.testing.assert_allclose(constant.numpy(), 77.0, rtol=1e-6)
    for side in (1, 2, 3):
        assert corruptions.zoom(torch.ones(1, 1, side, side), 5).numpy() == pytest.approx(1)
    assert corruptions.zoom(torch.zeros(0, 3, 8, 8), 1).shape == (0, 3, 8, 8)


# Glass


def copied_one_by_one(image: NDArray[np.int64], offsets: list[NDArray[np.int64]], reach: int) -> NDArray[np.int64]:
    """The published loop, in plain Python: from the last pixel to the first, each takes another's current value."""
    image = image.copy()
    height, width = image.shape
    for of_this_pass in offsets:
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                down, right = of_this_pass[row - reach - 1, column - reach - 1]
                image[row, column] = image[row + down, column + right]
    return image


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(24, 24), (15, 40), (9, 9), (8, 30), (3, 3)])
def test_glass_map_equals_the_sequential_loop(severity: int, shape: tuple[int, int]) -> None:
    _, reach, passes = corruptions.GLASS[severity - 1]
    rows, columns = max(shape[0] - 2 * reach, 0), max(shape[1] - 2 * reach, 0)
    draws = corruptions._draws(corruptions._GLASS_DRAWS, 3, 8)
    offsets = [np.floor(draws.random((rows, columns, 2)) * 2 * reach).astype(int) - reach for _ in range(passes)]
    expected = copied_one_by_one(np.arange(shape[0] * shape[1]).reshape(shape), offsets, reach)
    np.testing.assert_array_equal(corruptions.glass_map(*shape, severity, 3, 8).reshape(shape), expected)


def test_the_published_swap_copies() -> None:
    """What glass_map says of NumPy: both sides of the swap are views, so the second pixel keeps its value."""
    image = np.array([[[1, 1, 1], [2, 2, 2]]])
    image[0, 0], image[0, 1] = image[0, 1], image[0, 0]
    assert image[0, :, 0].tolist() == [2, 2]


def test_glass_is_blur_move_blur() -> None:
    images = white_noise(2, 3, 30, 26)
    ours = corruptions.glass(images, 4, seed=5, indices=[9, 2])
    for image, index, result in zip(images, (9, 2), ours, strict=True):
        source = corruptions.glass_map(30, 26, 4, 5, index)
        for channel, expected in zip(image.numpy(), result.numpy(), strict=True):
            blurred = ndimage.gaussian_filter(channel, 1.1, mode="mirror")
            moved = blurred.ravel()[source].reshape(30, 26)
            np.testing.assert_allclose(ndimage.gaussian_filter(moved, 1.1, mode="mirror"), expected, atol=1e-3)


def test_glass_of_an_image_does_not_depend_on_its_batch() -> None:
    images = white_noise(3, 3, 40, 40).float()
    batch = corruptions.glass(images, 3, 1, torch.tensor([4, 5, 6]))
    alone = corruptions.glass(images[1:2], 3, 1, [5])
    np.testing.assert_allclose(batch[1].numpy(), alone[0].numpy(), atol=1e-3)
    assert not torch.allclose(alone, corruptions.glass(images[1:2], 3, 1, [6]), atol=1.0)
    assert not torch.allclose(alone, corruptions.glass(images[1:2], 3, 2, [5]), atol=1.0)
    assert corruptions.glass_map(12, 12, 1, 0, 0)[27:35].tolist() == [14, 15, 17, 16, 18, 20, 20, 34]


def test_glass_keeps_constants_and_refuses_empty_batches() -> None:
    constant = corruptions.glass(torch.full((2, 3, 33, 20), 77.0), 5, 0, [0, 1])
    np.testing.assert_allclose(constant.numpy(), 77.0, rtol=1e-5)
    with pytest.raises(ValueError, match="empty batch"):
        corruptions.glass(torch.zeros(0, 3, 8, 8), 1, 0, [])
    eight_bit = corruptions.glass(torch.full((1, 1, 9, 9), 200, dtype=torch.uint8), 2, 0, [0])
    assert eight_bit.dtype == torch.float32 and eight_bit.numpy() == pytest.approx(200, rel=1e-5)


def test_gradients_flow_through_zoom_and_glass() -> None:
    images = white_noise(1, 1, 10, 10).requires_grad_()
    for blur in (lambda x: corruptions.zoom(x, 2), lambda x: corruptions.glass(x, 2, 0, [0])):
        weights = white_noise(1, 1, 10, 10)
        (gradient,) = torch.autograd.grad((blur(images) * weights).sum(), images)
        shift = torch.zeros_like(images)
        shift[0, 0, 4, 6] = 1.0
        slope = ((blur(images + shift) - blur(images)) * weights).sum()  # both are linear
        assert gradient[0, 0, 4, 6].item() == pytest.approx(slope.item(), rel=1e-4)


def test_kernels_are_cached() -> None:
    assert corruptions.gaussian(2) is kernels.gaussian(2.0)
    assert corruptions.defocus(2) is corruptions.defocus(2)
    assert corruptions.motion(2, 1.5) is corruptions.motion(2, 1.5)
