"""How a network is shown an image, without torch as with it."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blurtrain.blur_types.mosaic import mosaic
from blurtrain.data.preprocessing import Preprocessing

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("view", ["whole", "mosaic"])
@pytest.mark.parametrize("mean_sd", [(MEAN, SD), ((0.5,) * 3, (0.25,) * 3), ((0.0,) * 3, (1.0,) * 3)])
def test_the_input_without_torch_has_the_bits_of_that_with_it(view: Any, mean_sd: Any) -> None:
    preprocessing = Preprocessing(96, 96, *mean_sd, view=view)
    found = preprocessing.input(photo(300, 200))
    pixels = torch.from_numpy(preprocessing.pixels(photo(300, 200)))
    expected = preprocessing.normalised(pixels.permute(2, 0, 1)[None])[0].numpy()
    assert found.dtype == np.float32 and found.shape == (3, 96, 96)
    assert np.array_equal(found, expected)


def test_a_mosaic_is_seen_instead_of_the_whole() -> None:
    image = photo(300, 200)
    assert np.array_equal(Preprocessing(96, 96, MEAN, SD, view="mosaic").pixels(image), mosaic(image, 32))
    squeezed = np.asarray(image.resize((96, 96), Image.Resampling.BILINEAR))
    assert np.array_equal(Preprocessing(96, 96, MEAN, SD).pixels(image), squeezed)


def test_what_was_measured_before_there_were_mosaics_is_known_by_the_same_values() -> None:
    before = {"resize": 64, "crop": 64, "mean": MEAN, "sd": SD, "keep_aspect": False, "interpolation": "bilinear"}
    assert Preprocessing(64, 64, MEAN, SD).identity() == before
    assert Preprocessing(64, 64, MEAN, SD, view="mosaic").identity() == before | {"view": "mosaic"}
