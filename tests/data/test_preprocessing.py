"""How a network is shown an image, without torch as with it."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blurtrain.blur_types.mosaic import mosaic
from blurtrain.data.preprocessing import Preprocessing
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)

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


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (2000, 20), (33, 33)])
def test_where_the_aspect_is_kept_it_is_as_torchvision_resizes_and_crops(width: int, height: int) -> None:
    from torchvision import transforms

    steps = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(20)])
    expected = np.asarray(steps(photo(width, height)))
    assert np.array_equal(Preprocessing(24, 20, MEAN, SD, keep_aspect=True).pixels(photo(width, height)), expected)


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
def test_of_a_line_only_its_middle_is_resized(size: tuple[int, int]) -> None:
    line = Image.new("RGB", size)
    tracemalloc.start()
    shown = Preprocessing(24, 20, MEAN, SD, keep_aspect=True).pixels(line)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shown.shape == (20, 20, 3) and peak < 5e6  # resized as a whole it has 173 MB


def test_what_was_measured_before_there_were_mosaics_is_known_by_the_same_values() -> None:
    before = {"resize": 64, "crop": 64, "mean": MEAN, "sd": SD, "keep_aspect": False, "interpolation": "bilinear"}
    assert Preprocessing(64, 64, MEAN, SD).identity() == before
    assert Preprocessing(64, 64, MEAN, SD, view="mosaic").identity() == before | {"view": "mosaic"}
