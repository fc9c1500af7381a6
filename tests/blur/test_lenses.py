"""Eyes and lenses: kernels against geometry, sums of squares, and known diffraction."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import j0, j1

from blurtrain.blur import kernels
from blurtrain.blur.blurs import Blur
from blurtrain.blur.lenses import Aberration, Myopia
from blurtrain.blur.zernike import MODES, aberrated
from blurtrain.errors import SettingsError


def offsets(kernel: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels right of and above the centre."""
    place = np.arange(len(kernel)) - len(kernel) // 2.0
    return np.broadcast_to(place, kernel.shape), -np.broadcast_to(place[:, None], kernel.shape)


@pytest.mark.parametrize("mode", MODES)
def test_polynomials_have_unit_mean_square_and_the_slope_that_is_said(mode: str) -> None:
    place = np.linspace(-1, 1, 1001)
    x, y = place[None], place[:, None]
    radius, inside = np.hypot(x, y), np.hypot(x, y) <= 1
    polynomial, slope = MODES[mode]
    values = polynomial(radius, np.arctan2(y, x))
    assert (values**2)[inside].mean() == pytest.approx(1, abs=0.01)
    assert values[inside].mean() == pytest.approx(0, abs=0.01)
    steps = np.hypot(*np.gradient(values, place, place))[np.hypot(x, y) < 0.995]
    assert steps.max() == pytest.approx(slope, rel=0.03)


def test_without_aberration_light_is_an_airy_pattern() -> None:
    kernel = aberrated("defocus", 0.0, airy=4.0)
    place = np.linspace(-100, 100, 2001)
    x = np.pi * np.hypot.outer(place, place) / 4.0 + 1e-12
    pattern = (2 * j1(x) / x) ** 2
    across, middle = kernel[len(kernel) // 2], len(kernel) // 2
    expected = [pattern[995 + 10 * k : 1006 + 10 * k, 995:1006].mean() for k in range(12)]
    found = across[middle : middle + 12] / across[middle]
    assert np.allclose(found, np.array(expected) / expected[0], atol=0.01)
    lost = j0(np.pi * (middle + 0.5) / 4) ** 2 + j1(np.pi * (middle + 0.5) / 4) ** 2  # Lord Rayleigh, outside a circle
    assert lost < 0.01, "nearly all is kept"


def test_defocus_of_many_waves_is_nearly_a_disk_of_the_geometric_radius() -> None:
    waves, airy = 3.0, 0.5
    radius = 8 * math.sqrt(3) * waves * airy
    kernel = aberrated("defocus", waves, airy=airy)
    x, y = offsets(kernel)
    within = [kernel[np.hypot(x, y) <= share * radius].sum() for share in (0.5, 0.7, 0.9, 1.1)]
    assert np.allclose(within, [0.25, 0.49, 0.81, 1], atol=0.06)


def test_coma_moves_the_light_to_its_side_by_the_mean_slope_and_turns() -> None:
    waves, airy = 0.8, 0.5
    for angle, right, above in ((0, 1, 0), (90, 0, 1), (180, -1, 0), (30, math.sqrt(0.75), 0.5)):
        kernel = aberrated("coma", waves, angle, airy)
        x, y = offsets(kernel)
        shift = 2 * airy * waves * math.sqrt(8)
        assert (kernel * x).sum() == pytest.approx(shift * right, abs=0.1)
        assert (kernel * y).sum() == pytest.approx(shift * above, abs=0.1)


@pytest.mark.parametrize(("mode", "turn"), [("astigmatism", 180), ("trefoil", 120), ("coma", 360)])
def test_modes_have_their_symmetry(mode: str, turn: float) -> None:
    first = aberrated(mode, 0.7, 20)
    assert np.allclose(first, aberrated(mode, 0.7, 20 + turn), atol=1e-9)
    assert not np.allclose(first, aberrated(mode, 0.7, 20 + turn / 2), atol=1e-4) or mode == "astigmatism"


@pytest.mark.parametrize("mode", MODES)
def test_kernels_are_point_spread_functions(mode: str) -> None:
    kernel = aberrated(mode, 0.5)
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1) and len(kernel) % 2 and not kernel.flags.writeable
    wider = [len(aberrated(mode, waves)) for waves in (0, 0.5, 1, 2)]
    assert wider == sorted(wider) and wider[0] < wider[-1]


@pytest.mark.parametrize("wrong", [("tilt", 1.0), ("coma", 6.0), ("coma", -0.1), ("coma", math.nan)])
def test_what_is_out_of_range_is_refused(wrong: tuple[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        aberrated(*wrong)


def test_random_angles_are_drawn_of_the_image_and_of_the_epoch_in_training() -> None:
    blur = Aberration(mode="coma", waves=0.5, angle="random")
    first, second = blur.point_spread(3), blur.point_spread(4)
    assert np.array_equal(first, blur.point_spread(3, seed=1, epoch=2)) and not np.array_equal(first, second)
    one, other = (blur.point_spread(3, seed=1, epoch=epoch, training=True) for epoch in (0, 1))
    assert not np.array_equal(one, other) and len(first) == len(second) == blur.largest()


def test_myopia_is_a_disk_by_pupil_error_and_degrees() -> None:
    assert Myopia(dioptres=2).radius == pytest.approx(0.0573 * 4 * 2 / 2 * 224 / 20, rel=1e-3)
    assert Myopia(dioptres=2, pupil=8).radius == 2 * Myopia(dioptres=2).radius
    assert Myopia(dioptres=2, degrees=10).radius == pytest.approx(2 * Myopia(dioptres=2).radius)
    assert Myopia(dioptres=2, distance=1).radius == pytest.approx(Myopia(dioptres=1).radius)
    assert np.array_equal(Myopia(dioptres=2).point_spread(0), kernels.disk(Myopia(dioptres=2).radius, True))


@pytest.mark.parametrize("label", ["myopia-0", "myopia-2-20-4-0.5", "myopia-1-20-4-0.3"])
def test_an_eye_that_can_focus_sees_the_picture_sharp(label: str) -> None:
    kernel = Blur.parse(label).kernels([0], resolution=224)[0]
    assert kernel.shape == (1, 1) and kernel[0, 0] == 1


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("myopia", "dioptres: Field required"),
        ("myopia-2-20-4-near", "distance"),
        ("aberration-tilt-1", "mode: Input should be 'defocus'"),
        ("aberration-coma-6", "waves: Input should be less than or equal to 5"),
    ],
)
def test_mistakes_are_a_line(label: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Blur.parse(label)
    assert why in str(caught.value) and "\n" not in str(caught.value)
