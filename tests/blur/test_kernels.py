"""Point-spread functions against literals, brute force and the papers' counts."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from blurtrain.blur import kernels, shake

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


# Camera shake


@pytest.mark.parametrize(("size", "taps", "extent"), [(8, 24, 7.5), (16, 54, 14.5), (24, 85, 21.3)])
def test_camera_shake_looks_like_the_source(size: int, taps: float, extent: float) -> None:
    drawn = [kernels.camera_shake(size, seed) for seed in range(400)]
    extents, counts = [], []
    for kernel in drawn:
        rows, columns = np.nonzero(kernel)
        counts.append(len(rows))
        extents.append(1 + max(np.ptp(rows), np.ptp(columns)))
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        for marginal in (kernel.sum(0), kernel.sum(1)):
            assert abs(float(marginal @ offsets)) <= 0.5 + 1e-9
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
        assert len(kernel) <= 41
    # The sources count the cells passed, of which N(1, 0.5^2) leaves a share of Phi(2) = 97.7 % with a weight above 0.
    assert np.mean(counts) / 0.97725 == pytest.approx(taps, rel=0.04)
    assert np.mean(extents) == pytest.approx(extent, rel=0.015)


def test_camera_shake_is_drawn_again_where_the_centred_grid_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shake.SHAKE_MAX_SIDE == 41
    drawn = [kernels.camera_shake(8, seed) for seed in range(40)]
    monkeypatch.setattr(shake, "SHAKE_MAX_SIDE", 9)  # only a centroid on cell 3 or 4 of 0..7 leaves that small a grid
    smaller = [shake.camera_shake.__wrapped__(8, seed) for seed in range(40)]
    assert max(map(len, smaller)) <= 9
    same = [len(one) == len(other) and np.array_equal(one, other) for one, other in zip(drawn, smaller, strict=True)]
    assert 5 < sum(same) < 35


def test_camera_shake_is_a_connected_path_of_spread_weights() -> None:
    kernel = kernels.camera_shake(24, 11)
    weights = kernel[kernel > 0] / kernel[kernel > 0].mean()
    assert 0.35 < weights.std() < 0.6  # max(0, N(1, 0.5^2))
    visited = {(int(row), int(column)) for row, column in np.argwhere(kernel > 0)}
    neighbours = [any((r + y, c + x) in visited for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x) for r, c in visited]
    assert np.mean(neighbours) > 0.95  # a cell may stand alone where its neighbours' weights were cut to 0


def test_camera_shake_is_pinned() -> None:
    """A seed gives this kernel for ever: results of published runs rest on it."""
    kernel = kernels.camera_shake(8, 0)
    assert kernel.shape == (7, 7) and np.count_nonzero(kernel) == 21
    assert kernel[0, 1] == pytest.approx(0.04372683592835303, rel=1e-9)
    assert kernel[1, 5] == pytest.approx(0.07474957289082904, rel=1e-9)
    assert kernel[3, 4] == pytest.approx(0.03667147343325098, rel=1e-9)
    assert kernel[6, 3] == pytest.approx(0.04767815374976678, rel=1e-9)


def test_camera_shake_depends_on_size_and_seed() -> None:
    for one, other in [((8, 0), (8, 1)), ((16, 0), (16, 1)), ((8, 0), (16, 0))]:
        first, second = kernels.camera_shake(*one), kernels.camera_shake(*other)
        assert first.shape != second.shape or not np.array_equal(first, second)


def test_test_and_training_kernels_have_no_seed_in_common() -> None:
    test, train = kernels.shake_seeds("test"), kernels.shake_seeds("train")
    assert (len(test), len(train)) == (100, 10_000)
    others = [set(kernels.shake_seeds(split, protocol)) for protocol in (1, 2) for split in ("test", "train")]
    everything = [set(test), set(train), *others]
    assert len(set.union(*everything)) == sum(map(len, everything))


def test_every_image_has_a_kernel_of_its_split_that_never_changes() -> None:
    test = [kernels.shake_seed("test", index) for index in range(2000)]
    train = [kernels.shake_seed("train", index) for index in range(2000)]
    assert set(test) == set(kernels.shake_seeds("test"))  # 2000 images meet all of 100 kernels
    assert set(train) < set(kernels.shake_seeds("train")) and len(set(train)) > 1700
    assert np.bincount(np.array(test) % 3).min() > 600  # and all of the three sizes
    assert test[:6] == [74, 41, 36, 44, 12, 88] and train[:3] == [6131, 9777, 760]
    assert [kernels.shake_seed("test", index, protocol_seed=1) - 10_100 for index in range(6)] != test[:6]
    assert [kernels.shake_seed("train", index, epoch=1) for index in range(3)] != train[:3]
    seed = test[4]
    assert kernels.shake_for("test", 4) is kernels.camera_shake((8, 16, 24)[seed % 3], seed)


def test_shakes_of_a_batch_are_those_of_its_images() -> None:
    batch = kernels.shakes_for("train", [7, 3, 7], protocol_seed=2, epoch=5)
    assert batch.shape == (3, 41, 41)
    np.testing.assert_array_equal(batch[0], batch[2])
    single = kernels.shake_for("train", 3, 2, 5)
    margin = (41 - len(single)) // 2
    np.testing.assert_array_equal(batch[1, margin : 41 - margin, margin : 41 - margin], single)
    assert batch[1].sum() == pytest.approx(1)
    assert kernels.shakes_for("test", []).shape == (0, 41, 41)


def test_camera_shake_errors() -> None:
    for size, seed, said in [(1, 0, "size"), (33, 0, "size"), (8.5, 0, "size"), (8, -1, "seed"), (8, 0.5, "seed")]:
        with pytest.raises(ValueError, match=said):
            kernels.camera_shake(size, seed)
    with pytest.raises(ValueError, match="splits test, train, not val"):
        kernels.shake_seeds("val")  # type: ignore[arg-type]
    for arguments, said in [((-1,), "index"), ((0, -1), "protocol_seed"), ((0, 0, 1), "epoch")]:
        with pytest.raises(ValueError, match=said):
            kernels.shake_seed("test", *arguments)


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


# Files


def save_text(path: Path, weights: NDArray[np.generic]) -> None:
    np.savetxt(path, weights, delimiter="," if path.suffix == ".csv" else " ")


def save_image(path: Path, weights: NDArray[np.generic]) -> None:
    Image.fromarray(weights).save(path)


@pytest.mark.parametrize(
    ("name", "save", "dtype"),
    [
        ("kernel.npy", np.save, np.float64),
        ("kernel.npy", np.save, np.float32),
        ("kernel.npy", np.save, np.int64),
        ("kernel.txt", save_text, np.float64),
        ("kernel.csv", save_text, np.float64),
        ("KERNEL.PNG", save_image, np.uint8),
        ("kernel.png", save_image, np.uint16),
        ("kernel.tif", save_image, np.uint8),
        ("kernel.tiff", save_image, np.uint16),
    ],
)
def test_kernel_files_come_back_with_unit_sum(
    tmp_path: Path, name: str, save: Callable[[Path, NDArray[np.generic]], None], dtype: DTypeLike
) -> None:
    weights = np.array([[0, 1, 2], [3, 40, 5], [6, 7, 200]]).astype(dtype) * (200 if dtype == np.uint16 else 1)
    save(tmp_path / name, weights)
    kernel = kernels.from_file(tmp_path / name)
    np.testing.assert_allclose(kernel, weights / weights.sum(dtype=np.float64), rtol=1e-12)
    assert kernel.dtype == np.float64 and not kernel.flags.writeable
    np.testing.assert_array_equal(kernels.from_file(str(tmp_path / name)), kernel)


def test_a_kernel_file_of_even_sides_is_centred_at_half_its_side(tmp_path: Path) -> None:
    np.save(tmp_path / "even.npy", [[1.0, 2.0], [3.0, 4.0]])
    expected = np.array([[1, 2, 0], [3, 4, 0], [0, 0, 0]]) / 10
    np.testing.assert_allclose(kernels.from_file(tmp_path / "even.npy"), expected)
    (tmp_path / "row.txt").write_text("# a line of motion\n1 2 3 4\n")
    expected = np.zeros((5, 5))
    expected[2, :4] = np.array([1, 2, 3, 4]) / 10
    np.testing.assert_allclose(kernels.from_file(tmp_path / "row.txt"), expected)


def test_kernel_files_of_extreme_values_are_normalised(tmp_path: Path) -> None:
    for scale in (1e308, 1e-320):
        np.save(tmp_path / "extreme.npy", np.full((3, 3), scale))
        np.testing.assert_allclose(kernels.from_file(tmp_path / "extreme.npy"), np.full((3, 3), 1 / 9))


def test_kernel_files_may_be_as_large_as_the_limit(tmp_path: Path) -> None:
    assert kernels.MAX_SIDE == 513
    np.save(tmp_path / "large.npy", np.ones((513, 3)))
    assert kernels.from_file(tmp_path / "large.npy").shape == (513, 513)


def _array(array: NDArray[Any]) -> Callable[[Path], object]:
    return lambda path: np.save(path, array)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _two_images(path: Path) -> None:
    frames = [Image.fromarray(np.full((3, 3), value, dtype=np.uint8)) for value in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _broken_png(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.ones((3, 3)))


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("absent.npy", lambda path: None, "No such file"),
        ("absent.png", lambda path: None, "No such file"),
        ("absent.csv", lambda path: None, "No such file"),
        ("junk.npy", _bytes(b"not an array"), "."),
        ("junk.png", _bytes(b"not an image"), "cannot identify"),
        ("cut.png", _broken_png, "truncated"),
        ("junk.txt", _bytes(b"\xff\xfe\x00"), "decode"),
        ("words.txt", _text("a b\nc d\n"), "could not convert"),
        ("ragged.txt", _text("1 2 3\n1 2\n"), "number of columns"),
        ("missing.csv", _text("1,,2\n1,2,3\n"), "could not convert"),
        ("empty.txt", _text(" \n"), "is empty"),
        ("comment.txt", _text("# nothing\n"), "is empty"),
        ("objects.npy", _array(np.array([[{}]], dtype=object)), "[Pp]ickle|Python objects"),
        ("archive.npy", _archive, "archive"),
        ("complex.npy", _array(np.ones((3, 3), dtype=complex)), "real numbers"),
        ("line.npy", _array(np.ones(3)), "not 2-D: its shape is \\(3,\\)"),
        ("cube.npy", _array(np.ones((3, 3, 3))), "not 2-D"),
        ("none.npy", _array(np.ones((0, 3))), "not 2-D"),
        ("colour.png", lambda path: save_image(path, np.ones((3, 3, 3), dtype=np.uint8)), "mode RGB"),
        ("two.tif", _two_images, "2 images"),
        ("nan.npy", _array(np.array([[1.0, np.nan]])), "NaN"),
        ("nan.csv", _text("1,nan\n"), "NaN"),
        ("infinite.npy", _array(np.array([[1.0, np.inf]])), "infinite"),
        ("negative.npy", _array(np.array([[2.0, -1.0]])), "negative"),
        ("zero.npy", _array(np.zeros((3, 3))), "sums to zero"),
        ("black.png", lambda path: save_image(path, np.zeros((3, 3), dtype=np.uint8)), "sums to zero"),
        ("large.npy", _array(np.ones((3, 514))), "larger than 513"),
        ("large.png", lambda path: save_image(path, np.ones((514, 3), dtype=np.uint8)), "larger than 513"),
        ("kernel.mat", _bytes(b""), "suffix .mat"),
        ("kernel", _bytes(b""), "suffix \\(none\\)"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_kernel_file_errors_name_file_and_reason(
    tmp_path: Path, name: str, write: Callable[[Path], object], said: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(ValueError, match=said) as error:
        kernels.from_file(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)
