"""Perceptual hashes and the similarity of thumbnails: what leaves an image the same, and what does not."""

import io

import numpy as np
import pytest
from photographs import photograph
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from blurtrain.data.checking.thumbnails import SIDE, hashes, similarity, thumbnail

COUNT = 40
CHANGES = {
    "recompressed": lambda image: jpeg(image, 20),
    "half as large": lambda image: image.resize((48, 48)),
    "twice as large": lambda image: image.resize((192, 192)),
    "squashed": lambda image: image.resize((96, 70)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "cropped by 3 %": lambda image: image.resize((96, 96), Image.Resampling.BILINEAR, (1.44, 1.44, 94.56, 94.56)),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail(np.asarray(image)) for image in images])


def bits(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.bitwise_count(hashes(one)[0] ^ hashes(other)[0])


@pytest.mark.parametrize("change", CHANGES)
def test_nearly_the_same_images_are_near(change: str) -> None:
    images = [photograph(seed) for seed in range(COUNT)]
    before, after = thumbnails(images), thumbnails([CHANGES[change](image) for image in images])
    near = (bits(before, after) <= 14) & (similarity(before, after) >= 0.95)
    assert near.sum() >= 0.95 * COUNT


def test_a_grey_copy_of_a_colourful_image_is_similar() -> None:
    image = Image.fromarray((np.asarray(photograph(0)) * [1, 0.5, 0.1]).astype(np.uint8))
    before, after = thumbnails([image]), thumbnails([CHANGES["grey"](image)])
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.7 and similarity(before, after) > 0.99


def test_a_corner_cut_off_is_similar_where_thumbnails_are_moved_onto_each_other() -> None:
    images = [photograph(seed) for seed in range(COUNT)]
    cut = [image.resize((96, 96), Image.Resampling.BILINEAR, (0, 0, 92, 92)) for image in images]
    before, after = thumbnails(images), thumbnails(cut)
    plain = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(before, after, strict=True)]
    assert np.median(plain) < 0.9, "in place they differ"
    for one, other in ((before, after), (after, before)):
        assert np.quantile(similarity(one, other), 0.05) > 0.95


def test_different_images_are_neither_near_nor_similar() -> None:
    one, other = (thumbnails([photograph(seed) for seed in range(first, first + COUNT)]) for first in (0, 1000))
    assert bits(one, other).min() > 14
    assert np.quantile(similarity(one, other), 0.95) < 0.8
    assert np.array_equal(similarity(one, one) > 0.9999, np.ones(COUNT))


def test_the_hash_is_of_the_lowest_frequencies() -> None:
    grey = np.asarray(photograph(3).convert("L").resize((SIDE, SIDE)))
    spectrum = dctn(grey.astype(float), type=2)
    order = sorted((u * u + v * v, u, v) for u in range(SIDE) for v in range(SIDE))[1:65]
    lowest = np.array([spectrum[u, v] for _, u, v in order])
    expected = np.packbits(lowest > np.median(lowest)).view(np.uint64)[0]
    assert hashes(np.repeat(grey[None, :, :, None], 3, 3))[0][0] == expected


def test_an_even_image_shows_nothing_to_compare() -> None:
    noise = np.random.default_rng(0).integers(126, 129, (1, SIDE, SIDE, 3), dtype=np.uint8)
    assert hashes(noise)[1].tolist() == [False]
    assert hashes(thumbnails([photograph(0)]))[1].tolist() == [True]
