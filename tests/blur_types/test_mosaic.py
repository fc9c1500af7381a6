"""Mosaics: what each tile shows, pixel by pixel."""

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from blurtrain.blur_types.mosaic import mosaic

TILE = 16
CELLS = {
    (0, 0): (0, 1 / 3, 0, 1 / 3), (1, 0): (0, 1 / 3, 1 / 3, 2 / 3), (2, 0): (0, 1 / 3, 2 / 3, 1),
    (0, 2): (2 / 3, 1, 0, 1 / 3), (1, 2): (2 / 3, 1, 1 / 3, 2 / 3), (2, 2): (2 / 3, 1, 2 / 3, 1),
    (0, 1): (1 / 3, 2 / 3, 0, 1 / 2), (2, 1): (1 / 3, 2 / 3, 1 / 2, 1),
}  # fmt: skip
"""Left, right, top and bottom of the cell of each tile, as shares of the photo."""


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def shown(pixels: NDArray[np.uint8], tile: int = TILE) -> dict[tuple[int, int], NDArray[np.uint8]]:
    square = mosaic(Image.fromarray(pixels), tile)
    assert square.shape == (3 * tile, 3 * tile, 3) and square.dtype == np.uint8
    places = [(row, column) for row in range(3) for column in range(3)]
    return {(r, c): square[r * tile : (r + 1) * tile, c * tile : (c + 1) * tile] for r, c in places}


def where(part: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """Left and top of the only place where a part lies in the photo, pixel by pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, part.shape)[:, :, 0]
    tops, lefts = np.nonzero((windows == part).all(axis=(2, 3, 4)))
    assert len(tops) == 1
    return int(lefts[0]), int(tops[0])


@pytest.mark.parametrize(("width", "height"), [(120, 90), (90, 120), (700, 60)])
def test_parts_are_pixels_of_their_cells(width: int, height: int) -> None:
    pixels = noise(width, height)
    tiles = shown(pixels)
    for place, (left, right, top, bottom) in CELLS.items():
        x, y = where(tiles[place], pixels)
        assert round(left * width) <= x and x + TILE <= round(right * width)
        assert round(top * height) <= y and y + TILE <= round(bottom * height)


def test_the_whole_photo_is_in_the_middle_without_aliasing() -> None:
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:240, :, 0] = 0
    whole = shown(stripes)[1, 1].astype(int)
    assert abs(whole[2:6] - [0, 127, 127]).max() <= 5 and abs(whole[-6:-2] - [127, 127, 127]).max() <= 5


@pytest.mark.parametrize("place", CELLS)
def test_a_part_shows_where_its_cell_has_detail(place: tuple[int, int]) -> None:
    left, right, top, bottom = CELLS[place]
    pixels = np.full((300, 450, 3), 100, np.uint8)
    x, y = round((left + right) / 2 * 450) - 8, round((top + bottom) / 2 * 300) - 8
    pixels[y : y + TILE, x : x + TILE] = noise(TILE, TILE)
    found = {at for at, part in shown(pixels).items() if (part == pixels[y : y + TILE, x : x + TILE]).all()}
    assert found == {place}


def test_detail_is_found_in_a_large_photo() -> None:
    pixels = np.full((1600, 2400, 3), 100, np.uint8)
    pixels[1400:1500, 1900:2100] = noise(200, 100)
    part = shown(pixels)[2, 2]
    assert (part.std(axis=(0, 1)) > 50).all()


def test_a_mirrored_photo_has_a_mirrored_mosaic() -> None:
    pixels = noise(150, 120)
    photo = Image.fromarray(pixels)
    tiles, mirrored = shown(pixels), shown(np.asarray(ImageOps.mirror(photo)))
    for row, column in tiles:
        assert np.abs(mirrored[row, 2 - column][:, ::-1].astype(int) - tiles[row, column]).max() <= (row == column == 1)


@pytest.mark.parametrize(("width", "height"), [(30, 20), (16, 16), (40, 9)])
def test_parts_larger_than_their_cells_lie_in_the_photo(width: int, height: int) -> None:
    pixels = noise(width, height)
    mirrored = np.pad(pixels, ((0, max(TILE - height, 0)), (0, 0), (0, 0)), "symmetric")
    for place, part in shown(pixels).items():
        if place != (1, 1):
            where(part, mirrored)


@pytest.mark.parametrize(("width", "height"), [(9000, 5), (5, 9000), (4097, 15), (40, 9), (3, 7)])
def test_a_narrow_photo_is_shown_as_if_it_had_been_mirrored_to_a_tile(width: int, height: int) -> None:
    pixels = np.where(noise(width, height, 1)[..., :1] < 128, noise(width, height), np.uint8(100))
    missing = ((0, max(TILE - height, 0)), (0, max(TILE - width, 0)), (0, 0))
    found, expected = shown(pixels), shown(np.pad(pixels, missing, "symmetric"))
    assert all(np.array_equal(found[place], expected[place]) for place in CELLS)


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000)])
def test_a_narrow_photo_costs_little_memory(size: tuple[int, int]) -> None:
    photo = Image.new("RGB", size)
    tracemalloc.start()
    mosaic(photo, 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # padded as a whole it has 384 MB


def test_photos_of_other_modes_and_of_one_pixel() -> None:
    assert mosaic(Image.new("L", (40, 40), 90), TILE).tolist() == np.full((48, 48, 3), 90).tolist()
    assert mosaic(Image.new("RGBA", (1, 1), (9, 8, 7, 0)), TILE).tolist() == np.full((48, 48, 3), (9, 8, 7)).tolist()


def test_too_small_a_tile() -> None:
    with pytest.raises(ValueError, match=">= 8"):
        mosaic(Image.new("RGB", (40, 40)), 7)
