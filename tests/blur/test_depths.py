"""Blur by depth: layers against convolution, the thin lens, what hides what, and where depths come from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blurtrain.blur import convolve, kernels
from blurtrain.blur.blurs import Blur
from blurtrain.blur.depths import DepthFocus, Parallax
from blurtrain.blur.layers import layered_blur
from blurtrain.errors import SettingsError
from blurtrain.files import sha256_of

SHARP = np.ones((1, 1))
DRAWS: dict[str, Any] = {"seed": 0, "epoch": 0, "training": False}


def images(n: int = 2, side: int = 64) -> Tensor:
    return 255 * torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def halves(side: int = 64) -> Tensor:
    """The left half far, the right half near."""
    return (torch.arange(side) >= side // 2).long().expand(1, side, side)


def test_one_layer_is_a_convolution_and_sharp_layers_are_the_image() -> None:
    pixels, disk = images(), kernels.disk(4, True)
    whole = torch.ones(2, 64, 64).long()
    assert torch.allclose(layered_blur(pixels, whole, [SHARP, disk]), convolve(pixels, disk), atol=1e-3)
    assert torch.allclose(layered_blur(pixels, halves().expand(2, -1, -1), [SHARP, SHARP]), pixels, atol=1e-3)


def test_an_even_image_stays_even() -> None:
    even, layers = torch.full((1, 3, 64, 64), 77.0), torch.randint(0, 4, (1, 8, 8)).repeat_interleave(8, 1)
    layers = layers.repeat_interleave(8, 2)
    of = [kernels.disk(5, True), SHARP, kernels.disk(2, True), kernels.box(7)]
    assert torch.allclose(layered_blur(even, layers, of), even, atol=1e-3)


def test_a_sharp_object_is_not_in_its_blurred_background() -> None:
    pixels = torch.where(halves()[:, None] > 0, 255.0, 50.0).expand(1, 3, -1, -1)
    out = layered_blur(pixels, halves(), [kernels.disk(6, True), SHARP])
    assert torch.allclose(out, pixels, atol=1e-3)
    mixed = convolve(pixels, kernels.disk(6, True))
    assert (mixed[..., :32] - 50).max() > 50, "as a plain convolution has it"


def test_a_blurred_object_covers_a_sharp_background_by_halves_at_its_outline() -> None:
    pixels = torch.where(halves()[:, None] > 0, 255.0, 50.0).expand(1, 3, -1, -1)
    out = layered_blur(pixels, halves(), [SHARP, kernels.disk(6, True)])
    assert torch.allclose(out[..., 31:33].mean(), torch.tensor((255.0 + 50) / 2), atol=0.5)
    assert torch.allclose(out[..., :25], pixels[..., :25]) and torch.allclose(out[..., 39:], pixels[..., 39:])
    assert torch.allclose(out, convolve(pixels, kernels.disk(6, True)), atol=1e-2), "of two even colours"


def test_a_layer_without_a_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layers must be in 0\.\.0"):
        layered_blur(images(1), halves(), [SHARP])


def test_radii_are_those_of_a_thin_lens() -> None:
    blur = DepthFocus(focus=2.0, f_number=1.8, focal=50, near=1.0, far=20.0, layers=5)
    focal, aperture = 0.05, 0.05 / 1.8
    for distance, radius in zip(blur.distances(), blur.radii(224), strict=True):
        image, sensor = 1 / (1 / focal - 1 / distance), 1 / (1 / focal - 1 / 2.0)  # 1/f = 1/d + 1/v
        diameter = aperture * abs(image - sensor) / image  # similar triangles behind the lens
        assert radius == pytest.approx(diameter / 2 / 0.024 * 224)
    assert blur.distances()[0] == pytest.approx(20) and blur.distances()[-1] == pytest.approx(1)
    assert np.allclose(blur.radii(64), blur.radii(224) * 64 / 224)


def test_what_is_in_focus_is_sharp_and_a_pinhole_sees_all_sharp() -> None:
    pixels = images()
    pinhole = DepthFocus(focus=2, f_number=100)
    assert torch.allclose(pinhole.blurred(pixels, [0, 1], resolution=64), pixels, atol=1e-3)
    blur = DepthFocus(focus=20, f_number=1.2)
    out, scene = blur.blurred(pixels, [0, 1], resolution=64), blur.scene(0, 64, 64, **DRAWS)
    far = torch.from_numpy(scene == 0)
    assert far.any() and torch.allclose(out[0][:, :8][:, far[:8]], pixels[0][:, :8][:, far[:8]], atol=1e-3)
    assert (out - pixels).abs().max() > 20


def test_parallax_is_inverse_to_distance_and_nothing_without_motion() -> None:
    blur = Parallax(travel=30)
    assert np.allclose(blur.lengths(224) * blur.distances(), 30 * 0.05 / 24 * 224)
    pixels = images()
    assert torch.allclose(Parallax(travel=0).blurred(pixels, [0, 1], resolution=64), pixels, atol=1e-3)


@pytest.mark.parametrize("label", ["depth-focus-1.2", "parallax-60"])
def test_scenes_are_drawn_of_the_image_and_of_the_epoch_in_training(label: str) -> None:
    blur, pixels = Blur.parse(label), images(3)
    whole = blur.blurred(pixels, [4, 5, 6], resolution=64)
    assert torch.allclose(blur.blurred(pixels[1:2], [5], resolution=64, seed=9), whole[1:2], atol=1e-3)
    again = blur.blurred(pixels[1:2].expand(2, -1, -1, -1), [5, 6], resolution=64)
    assert not torch.allclose(again[0], again[1], atol=1)
    one, other = (blur.blurred(pixels[:1], [4], resolution=64, epoch=e, training=True) for e in (0, 1))
    assert not torch.allclose(one, other, atol=1)


def given(tmp_path: Path, depths: Any, **more: Any) -> DepthFocus:
    np.save(tmp_path / "d.npy", depths)
    sha256 = sha256_of(tmp_path / "d.npy")
    return DepthFocus(**{"focus": 2.0, "depths": str(tmp_path / "d.npy"), "depths_sha256": sha256, **more})


def test_depths_can_be_given(tmp_path: Path) -> None:
    depths = np.full((2, 2, 4), 20.0, np.float32)
    depths[1, :, 2:] = 1.0
    blur = given(tmp_path, depths)
    blur.check(64)
    assert (blur.scene(0, 64, 64, **DRAWS) == 0).all()
    assert np.array_equal(blur.scene(1, 64, 64, **DRAWS), 7 * halves()[0].numpy())
    assert blur.label != DepthFocus(focus=2).label
    with pytest.raises(SettingsError, match="has 2 entries, and none for image 2"):
        blur.scene(2, 64, 64, **DRAWS)
    with pytest.raises(SettingsError, match="given depths are for evaluation, as training crops images"):
        blur.scene(0, 64, 64, **{**DRAWS, "training": True})


def test_mistakes_about_depths_are_a_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must be floats"):
        given(tmp_path, np.zeros((2, 2))).check(64)
    with pytest.raises(SettingsError, match="another file than was meant"):
        given(tmp_path, np.zeros((1, 2, 2)), depths_sha256="0" * 64).check(64)
    with pytest.raises(SettingsError, match=r"cannot be read as \.npy"):
        DepthFocus(focus=2, depths=str(tmp_path / "none.npy"), depths_sha256="0" * 64).check(64)
    with pytest.raises(ValueError, match="depths and depths_sha256 go together"):
        DepthFocus(focus=2, depths="d.npy")
    for label, why in (("depth-focus-0.04", "more than focal"), ("parallax-5-0-50-20-1", "near=20 must be less")):
        with pytest.raises(SettingsError, match=why):
            Blur.parse(label)
