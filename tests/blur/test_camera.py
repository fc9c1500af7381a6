"""A rolling camera and a dirty lens: against SciPy's rotation, limits, and what must not change."""

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate
from torch import Tensor

from blurtrain.blur import convolve, gaussian_blur, kernels
from blurtrain.blur.blurs import Blur
from blurtrain.blur.camera import DirtyLens, Rotation
from blurtrain.errors import SettingsError


def images(n: int = 2, side: int = 65) -> Tensor:
    return 255 * torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)).double()


def rotated(pixels: Tensor, angle: float) -> Tensor:
    return Rotation(angle=angle).blurred(pixels, range(len(pixels)), resolution=pixels.shape[-1])


def test_no_rotation_is_the_image_and_an_even_image_stays_even() -> None:
    assert torch.equal(rotated(images(), 0), images())
    even = torch.full((1, 3, 64, 48), 77.0)
    assert torch.allclose(rotated(even, 30), even, atol=1e-3)


def test_rotation_is_the_mean_of_turned_images_about_a_centre_that_is_sharp() -> None:
    pixels = images(1)
    found = rotated(pixels, 12.0)
    steps = int(np.ceil(np.radians(12) * np.hypot(65, 65) / 2))
    turns = 12 * ((np.arange(steps + 1) - steps / 2) / steps)
    each = [rotate(pixels[0].numpy(), a, (1, 2), reshape=False, order=1, mode="mirror") for a in turns]
    assert np.allclose(found[0], np.mean(each, axis=0), atol=1e-6)
    assert torch.allclose(found[..., 32, 32], pixels[..., 32, 32])
    changed = (found - pixels).abs().mean((0, 1))
    assert changed[31:34, 31:34].mean() < changed[:3, :3].mean() / 2, "corners move most"


def test_a_point_becomes_an_arc_of_the_angle() -> None:
    pixels = torch.zeros(1, 3, 65, 65)
    pixels[..., 32, 57] = 1000.0
    found = rotated(pixels, 40.0)[0, 0].double()
    down, right = np.mgrid[-32:33, -32:33]
    radius = float((found * torch.from_numpy(np.hypot(down, right))).sum() / found.sum())
    angles = np.degrees(np.arctan2(-down, right))[found.numpy() > 1]
    assert radius == pytest.approx(25, abs=0.3) and found.sum() == pytest.approx(1000, rel=0.05)
    assert angles.min() == pytest.approx(-20, abs=3) and angles.max() == pytest.approx(20, abs=3)


def test_a_clean_lens_is_sharp_and_an_even_image_stays_even() -> None:
    pixels = images().float()
    assert torch.equal(DirtyLens(radius=8, smears=0).blurred(pixels, [0, 1], resolution=65), pixels)
    even = torch.full((1, 3, 64, 64), 77.0)
    assert torch.allclose(DirtyLens(radius=8).blurred(even, [0], resolution=64), even, atol=1e-2)


def test_where_dirt_covers_all_the_image_is_blurred_and_veiled() -> None:
    pixels = images(1, 64).float()
    blur = DirtyLens(radius=14, smears=40, size=2, veil=0.25)
    cover = blur.cover(0, 64, 64, seed=0, epoch=0, training=False)
    assert cover.min() >= 0 and cover.max() <= 1
    full = torch.from_numpy(cover > 0.9999)
    assert full.float().mean() > 0.5
    near, wide = convolve(pixels, kernels.disk(4, True)), gaussian_blur(pixels, 0.15 * 64)
    expected = 0.75 * near + 0.25 * wide
    assert torch.allclose(blur.blurred(pixels, [0], resolution=64)[..., full], expected[..., full], atol=0.1)


def test_glare_comes_from_what_is_bright() -> None:
    lamp = torch.zeros(1, 3, 64, 64)
    lamp[..., 28:36, 28:36] = 255
    plain, veiled = (
        DirtyLens(radius=8, smears=40, size=2, veil=veil).blurred(lamp, [0], resolution=64) for veil in (0, 0.5)
    )
    assert plain[..., 32, 46].mean() < 0.1 < 1 < veiled[..., 32, 46].mean()


def test_smears_are_drawn_of_the_image_and_of_the_epoch_in_training() -> None:
    blur, pixels = Blur.parse("dirty-lens-8"), images(3).float()
    whole = blur.blurred(pixels, [4, 5, 6], resolution=65)
    assert torch.equal(blur.blurred(pixels[1:2], [5], resolution=65, seed=3), whole[1:2])
    covers = [DirtyLens(radius=8).cover(4, 32, 32, seed=0, epoch=e, training=True) for e in (0, 1)]
    assert not np.allclose(covers[0], covers[1])


@pytest.mark.parametrize(
    ("label", "why"), [("rotation-91", "angle"), ("dirty-lens", "radius: Field required"), ("dirty-lens-8--1", "")]
)
def test_mistakes_are_one_line(label: str, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Blur.parse(label)
    assert why in str(caught.value) and "\n" not in str(caught.value)
