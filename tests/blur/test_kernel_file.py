"""Kernels from files: of every format, and broken ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from blurtrain.blur import kernels


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
