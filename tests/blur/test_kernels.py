"""Point-spread functions against literals, brute force and the papers' counts."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from blurtrain.blur import kernels

EVERY_FAMILY = {
    "gaussian": kernels.gaussian(2.3),
    "gaussian, sigma 0": kernels.gaussian(0.0),
    "widest gaussian": kernels.gaussian(64.0),
    "disk": kernels.disk(4.0),
    "smooth disk": kernels.disk(4.3, antialias=True),
    "disk within a pixel": kernels.disk(1e-200, antialias=True),
    "widest disk": kernels.disk(256.0, antialias=True),
    "box": kernels.box(4.0),
    "motion": kernels.box(11.5, 30.0),
    "camera shake": kernels.camera_shake(16, 3),
    "a test image's shake": kernels.shake_for("test", 5),
}
CENTRED = [name for name in EVERY_FAMILY if "shake" not in name]


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_kernels_have_unit_sum_and_an_odd_side_and_cannot_be_written_to(name: str) -> None:
    kernel = EVERY_FAMILY[name]
    assert kernel.dtype == np.float64 and kernel.ndim == 2
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-12) and kernel.min() >= 0
    with pytest.raises(ValueError, match="read-only"):
        kernel[0, 0] = 1


@pytest.mark.parametrize("name", CENTRED)
def test_kernels_but_shake_are_point_symmetric_to_the_last_bit(name: str) -> None:
    np.testing.assert_array_equal(EVERY_FAMILY[name], EVERY_FAMILY[name][::-1, ::-1])


def test_kernels_are_cached() -> None:
    assert kernels.gaussian(2.3) is kernels.gaussian(2.3)
    assert kernels.disk(4.0) is kernels.disk(4.0)
    assert kernels.disk(4.0) is not kernels.disk(4.0, antialias=True)
    assert kernels.box(4.0, 10.0) is kernels.box(4.0, 10.0)
    assert kernels.camera_shake(8, 1) is kernels.camera_shake(8, 1)


# Gaussian


def test_gaussian_of_the_original_study_has_33_taps() -> None:
    assert kernels.gaussian(8.0, truncate=2.0).shape == (33, 33)
    assert kernels.gaussian(8.0).shape == (65, 65)
    assert [kernels.gaussian_radius(sigma) for sigma in (0.0, 0.1, 0.7, 1.1)] == [0, 0, 3, 4]  # rounded, as in SciPy


def test_gaussian_values() -> None:
    side, corner = math.exp(-0.5), math.exp(-1.0)
    expected = np.array([[corner, side, corner], [side, 1, side], [corner, side, corner]])
    np.testing.assert_allclose(kernels.gaussian(1.0, truncate=1.0), expected / expected.sum(), rtol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((-1.0,), "sigma .* -1"),
        ((math.nan,), "sigma .* nan"),
        ((math.inf,), "sigma .* inf"),
        ((1.0, 0.0), "truncate"),
        ((1.0, math.nan), "truncate"),
        ((65.0,), "521 pixels a side; at most 513"),
        ((1e308,), "at most 513"),
    ],
)
def test_gaussian_errors(arguments: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kernels.gaussian(*arguments)


# Disk


@pytest.mark.parametrize(("radius", "pixels"), [(2, 13), (4, 49), (6, 113), (8, 197), (0.5, 1), (1, 5), (64, 12853)])
def test_hard_disk_has_the_pixels_whose_centre_is_inside(radius: float, pixels: int) -> None:
    kernel = kernels.disk(radius)
    assert np.count_nonzero(kernel) == pixels
    assert kernel.max() == kernel[kernel > 0].min() == pytest.approx(1 / pixels)
    assert len(kernel) == 2 * math.floor(radius) + 1


def test_hard_disk_of_radius_two() -> None:
    inside = ["00100", "01110", "11111", "01110", "00100"]
    np.testing.assert_allclose(kernels.disk(2.0) * 13, [[int(pixel) for pixel in row] for row in inside])


def test_smooth_disk_of_radius_one_has_these_areas() -> None:
    # The circle cuts pixel (1, 0) from x = 1/2 to its arc, for |y| <= 1/2; what the nine share is pi.
    edge = math.sqrt(3) / 4 + math.pi / 6 - 0.5
    corner = (math.pi - 1 - 4 * edge) / 4
    expected = np.array([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]) / math.pi
    np.testing.assert_allclose(kernels.disk(1.0, antialias=True), expected, rtol=1e-12)


def test_smooth_disks_are_finite_at_every_radius() -> None:
    """Python's square of this radius is less than NumPy's."""
    assert np.isfinite(kernels.disk(13.176774794623046, antialias=True)).all()


@pytest.mark.parametrize("radius", [0.3, 0.5, 0.6, 0.71, 1.0, 1.5, 2.0, 3.4, 5.0, 7.5])
def test_smooth_disk_equals_brute_force_sampling(radius: float) -> None:
    kernel, samples = kernels.disk(radius, antialias=True), 200
    half = len(kernel) // 2
    assert half == max(math.ceil(radius - 0.5), 0)
    axis = (np.arange((2 * half + 1) * samples) + 0.5) / samples - half - 0.5
    inside = np.add.outer(axis**2, axis**2) <= radius**2
    area = inside.reshape(2 * half + 1, samples, 2 * half + 1, samples).mean((1, 3))
    np.testing.assert_allclose(kernel * math.pi * radius**2, area, atol=2e-3)


@pytest.mark.parametrize("radius", [1.0, 2.7, 8.0, 63.9, 64.0, 256.0])
def test_smooth_disk_covers_inner_pixels_whole_and_the_disks_area_in_all(radius: float) -> None:
    kernel = kernels.disk(radius, antialias=True)
    half = len(kernel) // 2
    axis = np.abs(np.arange(-half, half + 1))
    covered = np.hypot.outer(axis + 0.5, axis + 0.5) <= radius
    missed = np.hypot.outer(np.maximum(axis - 0.5, 0), np.maximum(axis - 0.5, 0)) >= radius
    # Unit sum makes a whole pixel 1 / area: true only if all the parts add up to the area of the disk.
    np.testing.assert_allclose(kernel[covered] * math.pi * radius**2, 1, atol=1e-9)
    assert np.all(kernel[missed] * math.pi * radius**2 < 1e-9)
    np.testing.assert_array_equal(kernel, kernel.T)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("radius", [0.0, -1.0, math.nan, math.inf, 257.0, 1e308])
def test_disk_errors(radius: float, antialias: bool) -> None:
    with pytest.raises(ValueError, match="radius"):
        kernels.disk(radius, antialias)


# Box


def test_box_of_even_length_has_half_a_tap_at_either_end() -> None:
    np.testing.assert_allclose(kernels.box_taps(4.0), np.array([0.5, 1, 1, 1, 0.5]) / 4, rtol=1e-15)
    np.testing.assert_allclose(kernels.box_taps(8.0), np.array([0.5, 1, 1, 1, 1, 1, 1, 1, 0.5]) / 8, rtol=1e-15)
    np.testing.assert_allclose(kernels.box_taps(3.0), np.array([1, 1, 1]) / 3, rtol=1e-15)
    np.testing.assert_allclose(kernels.box_taps(3.5), np.array([0.25, 1, 1, 1, 0.25]) / 3.5, rtol=1e-15)
    np.testing.assert_array_equal(kernels.box_taps(1.0), [1.0])


@pytest.mark.parametrize("length", [1.0, 2.0, 3.0, 4.0, 4.5, 8.0, 129.0])
def test_box_along_the_axes_is_its_taps_one_pixel_wide(length: float) -> None:
    taps = kernels.box_taps(length)
    expected = np.zeros((len(taps), len(taps)))
    expected[len(taps) // 2] = taps
    for angle in (0.0, 180.0, -180.0):
        np.testing.assert_allclose(kernels.box(length, angle), expected, atol=1e-15)
    for angle in (90.0, -90.0, 270.0):
        np.testing.assert_allclose(kernels.box(length, angle), expected.T, atol=1e-15)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8])
def test_a_plain_box_is_equal_taps_as_those_of_opencv(length: int) -> None:
    cv2 = pytest.importorskip("cv2")
    for angle, size in ((0.0, (length, 1)), (90.0, (1, length)), (180.0, (length, 1))):
        kernel = kernels.box(float(length), angle, plain=True)
        point = np.zeros((2 * length + 1, 2 * length + 1))
        point[length, length] = 1
        seen = cv2.blur(point, size, borderType=cv2.BORDER_REFLECT_101)
        margin = length - len(kernel) // 2
        np.testing.assert_allclose(np.pad(kernel, margin), seen, atol=1e-15)
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        moved = {0.0: kernel.sum(0), 90.0: kernel.sum(1), 180.0: kernel.sum(0)}[angle] @ offsets
        assert moved == pytest.approx(0.0 if length % 2 else 0.5)  # to the right, or down
        if length % 2:
            np.testing.assert_allclose(kernel, kernels.box(float(length), angle), atol=1e-15)


def test_box_on_the_diagonal_goes_up_to_the_right_through_corners_only() -> None:
    expected = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) / 3
    np.testing.assert_allclose(kernels.box(3 * math.sqrt(2), 45.0), expected, atol=1e-12)
    np.testing.assert_allclose(kernels.box(3 * math.sqrt(2), 135.0), expected[::-1], atol=1e-12)
    assert np.count_nonzero(kernels.box(3 * math.sqrt(2), 45.0)) == 3


def test_box_turns_counter_clockwise_as_seen() -> None:
    # One up in two to the right: a column of the middle row, half a column beside it, half a column above that.
    expected = np.array([[0, 0, 1], [1, 2, 1], [1, 0, 0]]) / 6
    np.testing.assert_allclose(kernels.box(3 * math.hypot(1, 0.5), math.degrees(math.atan(0.5))), expected, atol=1e-12)


@pytest.mark.parametrize("length", [1.0, 2.0, 7.0, 12.3, 40.0])
@pytest.mark.parametrize("angle", [1.0, 17.0, 45.0, 63.0, 89.9, 120.0, 179.0, -30.0])
def test_box_at_any_angle_equals_a_sampled_line(length: float, angle: float) -> None:
    kernel = kernels.box(length, angle)
    half = len(kernel) // 2
    along = (np.arange(200_000) + 0.5) / 200_000 * length - length / 2
    columns = np.floor(along * math.cos(math.radians(angle)) + 0.5).astype(int)
    rows = np.floor(-along * math.sin(math.radians(angle)) + 0.5).astype(int)
    assert half == max(np.abs(rows).max(), np.abs(columns).max())
    sampled = np.zeros_like(kernel)
    np.add.at(sampled, (rows + half, columns + half), 1 / len(along))
    np.testing.assert_allclose(kernel, sampled, atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0.0,), "length .* 0"),
        ((0.9,), "length .* 0.9"),
        ((math.nan,), "length"),
        ((math.inf,), "length"),
        ((4.0, math.nan), "angle"),
        ((4.0, math.inf), "angle"),
        ((514.0,), "515 pixels a side; at most 513"),
        ((1e308,), "at most 513"),
    ],
)
def test_box_errors(arguments: tuple[float, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kernels.box(*arguments)
    if len(arguments) == 1:
        with pytest.raises(ValueError, match=said):
            kernels.box_taps(*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((4.5, 0.0), "plain taps are a whole number of pixels at angle 0 or 90, not length 4.5 at angle 0"),
        ((4.0, 45.0), "plain taps .* not length 4 at angle 45"),
        ((514.0, 90.0), "515 pixels a side; at most 513"),
    ],
)
def test_plain_box_errors(arguments: tuple[float, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kernels.box(*arguments, plain=True)


# Stacks


def test_stack_puts_kernels_of_several_sizes_around_one_centre() -> None:
    stacked = kernels.stack([kernels.disk(1.0), kernels.disk(3.0)])
    assert stacked.shape == (2, 7, 7)
    np.testing.assert_array_equal(stacked[0, 2:5, 2:5], kernels.disk(1.0))
    assert stacked[0].sum() == pytest.approx(1)
    np.testing.assert_array_equal(stacked[1], kernels.disk(3.0))
    refused: list[list[NDArray[np.float64]]] = [[], [np.ones((2, 2))], [np.ones((3, 5))], [np.ones(3)]]
    for bad in refused:
        with pytest.raises(ValueError, match="kernel"):
            kernels.stack(bad)
