"""Scenes of two layers, against SciPy's convolution."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from blurtrain.blur.kernels import box, disk
from blurtrain.data.preparation.blurred.camera import photographed
from blurtrain.data.preparation.blurred.layers import (
    blurred,
    composed,
    distinguishable,
    drawn_mask,
    filled,
    receding,
    scene_of,
    smooth_map,
    varied,
)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A subject of light .8 before a background of .2, and its mask."""
    mask = torch.zeros(60, 80)
    mask[20:45, 30:60] = 1
    return torch.where(mask > 0, 0.8, 0.2).expand(3, -1, -1).clone(), mask


@pytest.mark.parametrize("kernel", [disk(5.0, True), box(11.0, 30.0)])
def test_a_blurred_subject_lets_its_background_through(kernel: np.ndarray) -> None:
    light, mask = scene()
    before = scene_of(light, mask, behind=torch.full_like(light, 0.2))
    covered = scipy.ndimage.convolve(before.matte[0].double().numpy(), kernel, mode="mirror")
    # Where the matte is partial, so is the light of the composed photo: its own light there is a mixture already.
    own = scipy.ndimage.convolve((before.light * before.matte)[0].double().numpy(), kernel, mode="mirror")
    found = composed(before, kernel, None)
    np.testing.assert_allclose(found[0].numpy(), own + (1 - covered) * 0.2, atol=1e-5)
    assert found[0, 5, 5] == pytest.approx(0.2, abs=1e-6)


def test_a_blurred_background_does_not_take_light_from_the_subject() -> None:
    light, mask = scene()
    found = composed(scene_of(light, mask), None, disk(8.0, True))
    outside = scipy.ndimage.distance_transform_edt(1 - mask.numpy()) > 4
    np.testing.assert_allclose(found[0].numpy()[outside], 0.2, atol=1e-4)
    np.testing.assert_allclose(found[0].numpy()[25:40, 35:55], 0.8, atol=1e-4)


def test_a_background_may_be_given_blurred() -> None:
    light, mask = scene()
    before = scene_of(light, mask)
    given = blurred(before.background, disk(8.0, True))
    assert torch.equal(composed(before, None, given), composed(before, None, disk(8.0, True)))


def test_what_is_unknown_is_filled_from_around() -> None:
    known = torch.ones(1, 40, 50)
    known[:, 10:30, 15:35] = 0
    slope = torch.linspace(0.2, 0.6, 50).expand(3, 40, 50)
    found = filled(slope * known, known)
    assert torch.equal(found * known, slope * known)
    assert float((found - slope).abs().max()) < 0.1


def test_blur_by_depth_is_that_of_its_ends() -> None:
    depth = smooth_map(np.random.default_rng(0), 30, 40)
    assert float(depth.min()) == 0 and float(depth.max()) == 1
    found = varied(lambda x: torch.full((3, 30, 40), x), depth, 2.0, 6.0)
    torch.testing.assert_close(found, (2 + 4 * depth).expand(3, -1, -1))


def test_a_ground_recedes_from_the_foot_of_the_subject_to_its_horizon() -> None:
    light, mask = scene()  # its foot is at row 45 of 60
    for k in range(20):
        depth = receding(scene_of(light, mask), np.random.default_rng(k)).numpy()
        assert (np.diff(depth, axis=0) <= 0).all()
        assert abs(depth[44, 40]) < 0.07 and depth[59, 40] < -0.3
        assert 0 < depth[40, 40] < 1 and (depth[8] == 1).all()


def test_shapes_of_subjects_are_parts_of_the_photo() -> None:
    masks = [drawn_mask(np.random.default_rng(k), 60, 80) for k in range(200)]
    shares = [float(mask.mean()) for mask in masks]
    assert min(shares) >= 0.02 and max(shares) <= 0.7
    cut_off = [[bool(mask[:, 0].any()), bool(mask[:, -1].any()), bool(mask[-1].any())] for mask in masks]
    assert (np.mean(cut_off, 0) > 0.1).all()  # left, right, below
    assert drawn_mask(np.random.default_rng(0), 1, 1).shape == (1, 1)  # too few pixels for any shape
    assert all(set(mask.unique().tolist()) == {0.0, 1.0} for mask in masks)


@pytest.mark.parametrize(
    ("near", "far", "side", "seen"),
    [(0.2, 0.2, 64, True), (0.0, 0.2, 64, False), (0.2, 0.0, 64, False), (0.2, 0.2, 32, False), (0.2, 0.2, 112, False)],
    ids=["both", "flat-subject", "flat-background", "small", "large"],
)
def test_layers_are_told_apart_by_their_detail(near: float, far: float, side: int, seen: bool) -> None:
    """Also where they are of unlike light, so that the subject's outline is the strongest detail of all."""
    noise = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0)) - 0.5
    mask = torch.zeros(128, 128)
    mask[8 : 8 + side, 8 : 8 + side] = 1
    light = torch.where(mask > 0, 0.8 + near * noise, 0.4 + far * noise)
    assert distinguishable(scene_of(light, mask, behind=0.4 + far * noise)) is seen


def test_a_camera_keeps_the_mean_of_a_grey_wall_and_is_reproducible() -> None:
    light = torch.full((3, 64, 64), 0.18)
    files = [photographed(light, np.random.default_rng(3)) for _ in range(2)]
    assert files[0] == files[1] and files[0].startswith(b"\xff\xd8\xff")
    assert files[0] != photographed(light, np.random.default_rng(4))
