"""HSV jitter against Python's colorsys, pixel by pixel, and within the whole transform."""

import colorsys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blurtrain.blur import operators
from blurtrain.data import augment, hsv
from blurtrain.data.augment import Transform
from blurtrain.data.draws import uniform
from blurtrain.data.hsv import Gains
from blurtrain.settings import Augmentation, BlurUnits

MEAN, SD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.25)


def pixels(n: int, side: int) -> torch.Tensor:
    """Of all saturations, with one row of greys, one of black and one of pure colours."""
    images = torch.randint(0, 256, (n, side, side, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, 0] = images[:, 0, :, :1]
    images[:, 1] = 0
    images[:, 2] = images[:, 2] // 128 * 255
    return images.permute(0, 3, 1, 2)


def by_definition(image: NDArray[np.uint8], turn: float, saturation: float, value: float) -> NDArray[np.float64]:
    """[3, H, W] in 0..255, in float64."""

    def pixel(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
        h, s, v = colorsys.rgb_to_hsv(*rgb.tolist())
        return np.array(colorsys.hsv_to_rgb((h + turn) % 1, min(s * saturation, 1), min(v * value, 1)), np.float64)

    return 255 * np.apply_along_axis(pixel, 0, image / 255)


def test_jitter_is_that_of_colorsys_to_the_nearest_grey_level() -> None:
    images = pixels(6, 16)
    gains = Gains(
        np.array([0, 0.015, -0.5, 0.3, 0, 0.1]),
        np.array([1, 1.4, 0.6, 1, 0, 2]),
        np.array([1, 0.7, 1.3, 1, 1, 2]),
    )
    got = hsv.jitter(images.float(), gains)
    assert torch.equal(got[0], images[0].float())
    for k, image in enumerate(images.numpy()):
        expected = by_definition(image, *(float(gain[k]) for gain in gains))
        assert np.abs(got[k].numpy() - expected).max() < 0.51, k
    assert torch.equal(got, got.round()) and got.min() >= 0 and got.max() <= 255
    assert (got[:, :, :2].std(1) == 0).all()  # grey stays grey


def test_gains_are_uniform_in_their_ranges_and_independent() -> None:
    a = Augmentation(hsv_hue=0.015, hsv_saturation=0.4, hsv_value=0.3)
    gains = hsv.drawn(uniform(1, 0, np.arange(20_000), hsv.DRAWS), a)
    for gain, (low, high) in zip(gains, ((-0.015, 0.015), (0.6, 1.4), (0.7, 1.3)), strict=True):
        assert (gain.min(), gain.max()) == pytest.approx((low, high), abs=1e-3)
        counts = np.histogram(gain, 10, (low, high))[0]
        assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    assert np.abs(np.corrcoef(gains) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize("by_image", [True, False])  # a processor's way, and a GPU's
def test_the_transform_jitters_by_draws_of_their_own_before_all_else_that_is_done_to_colours(
    by_image: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (augment, operators):
        monkeypatch.setattr(module, "by_image", lambda _: by_image)
    images, indices, side = pixels(4, 72), np.arange(40, 44), 64
    mean, sd = (np.array(v)[:, None, None] for v in (MEAN, SD))

    def shown(**more: float) -> NDArray[np.float64]:
        t = Transform(Augmentation(colour=0, **more), side, MEAN, SD, BlurUnits(), 5)
        return 255 * (t.train(images, indices, 3).double().numpy() * sd + mean)

    before, after = shown().clip(0, 255).round(), shown(hsv_hue=0.1, hsv_saturation=0.4, hsv_value=0.3)
    # The draws are those behind the 82 of geometry, colour and erasing, and the 4 of a warp.
    for image, seen, draw in zip(before, after, 2 * uniform(5, 3, indices, 3, first=86) - 1, strict=True):
        expected = by_definition(image, 0.1 * draw[0], 1 + 0.4 * draw[1], 1 + 0.3 * draw[2])
        assert np.abs(seen - expected).max() < 0.52
