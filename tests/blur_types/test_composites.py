"""Scenes of two photos, and which photos they are made of."""

import collections

import numpy as np
import pytest
import torch
from PIL import Image

from blurtrain.data.preparation.blurred.composites import covered, pasted, scene_with
from blurtrain.data.preparation.blurred.layers import distinguishable
from blurtrain.data.preparation.blurred.photos import Photo, subject_of
from blurtrain.errors import DataError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    """Photos of noise: nine in a large folder, one in a small one, one of another split, and one more of the second's
    scene; all with masks. The first has no detail outside its mask."""
    folder = tmp_path_factory.mktemp("photos")
    mask = np.zeros((96, 120), np.uint8)
    mask[16:88, 24:96] = 255
    found = []
    for k in range(12):
        noise = np.random.default_rng(k).integers(0, 256, (96, 120, 3), np.uint8)
        if k == 0:
            noise[mask == 0] = 128
        Image.fromarray(noise).save(folder / f"{k}.png")
        Image.fromarray(mask).save(folder / f"mask{k}.png")
        of = "small" if k == 9 else "large"
        photo = Photo(str(k), of, str(folder / f"{k}.png"), str(folder / f"mask{k}.png"), "1" if k == 11 else str(k))
        found.append(photo._replace(split="val" if k == 10 else "train"))
    return found


def test_a_folder_lends_as_much_as_another_and_nothing_crosses_scenes_and_splits(photos: list[Photo]) -> None:
    drawn = [scene_with(photos[1], photos, np.random.default_rng(k), layered=False) for k in range(200)]
    others = collections.Counter(one.other for one in drawn)
    assert set(others) == {"", "0", "2", "3", "4", "5", "6", "7", "8", "9"}
    assert 60 < others[""] < 140  # alone
    assert 0.3 < others["9"] / (200 - others[""]) < 0.7  # all of its folder
    for one in drawn:
        assert one.subject in ("1", "") if not one.other else one.subject in ("1", one.other, "")
    subjects = collections.Counter(one.subject == "1" for one in drawn if one.other and one.subject)
    assert min(subjects.values()) > 20  # before another one, or behind


def test_scenes_are_drawn_anew_until_their_layers_can_be_told_apart(photos: list[Photo]) -> None:
    def seen(layered: bool) -> int:
        drawn = (scene_with(photos[0], photos, np.random.default_rng(k), layered) for k in range(30))
        return sum(distinguishable(one.scene) for one in drawn)

    assert seen(layered=True) > 25 and seen(layered=False) < 15


def test_a_photo_without_others_is_a_scene_of_its_own(photos: list[Photo]) -> None:
    """Also where its layers cannot be told apart, however often they are drawn."""
    alone = scene_with(photos[0], photos[:1], np.random.default_rng(0), layered=True)
    assert (alone.subject, alone.other) == ("0", "") and not distinguishable(alone.scene)


def shown(matte: torch.Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what a matte [1, H, W] mostly shows; the last ones are outside."""
    rows, columns = (torch.nonzero(matte[0].amax(axis) > 0.5).flatten() for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def test_a_pasted_subject_is_cut_off_by_two_fifths_of_a_side_at_most() -> None:
    subject, mask = torch.ones(3, 40, 60), torch.zeros(40, 60)
    mask[5:35, 10:50] = 1
    behind = torch.zeros(3, 100, 120)
    whole = 0
    for k in range(200):
        scene = pasted(subject, mask, behind, np.random.default_rng(k))
        assert scene.light.shape == behind.shape and torch.equal(scene.background, behind)
        top, bottom, left, right = shown(scene.matte)
        assert 0.55 * 30 <= bottom - top <= 31 and 0.55 * 40 <= right - left <= 41
        whole += bottom - top >= 29 and right - left >= 39
    assert 20 < whole < 180


@pytest.mark.parametrize("size", [(100, 120), (30, 50), (1, 200)])
def test_what_a_border_has_cut_off_stands_at_a_border(size: tuple[int, int]) -> None:
    """Also before a photo that is smaller than the subject."""
    mask = torch.zeros(40, 60)
    mask[20:, :30] = 1  # cut off below and on the left
    for k in range(50):
        top, bottom, left, right = shown(
            pasted(torch.ones(3, 40, 60), mask, torch.zeros(3, *size), np.random.default_rng(k)).matte
        )
        assert bottom == size[0] and (left == 0 or right == size[1])
        assert bottom - top <= 21 and right - left <= 31


def test_a_shape_of_a_photo_lies_before_what_both_have_room_for() -> None:
    near, far = torch.full((3, 40, 60), 0.8), torch.full((3, 50, 30), 0.2)
    scene = covered(near, far, np.random.default_rng(0))
    assert scene.light.shape == (3, 40, 30)
    torch.testing.assert_close(scene.light, 0.2 + 0.6 * scene.matte.expand(3, -1, -1))


def test_a_mask_is_of_the_photo_as_it_is_shown(photos: list[Photo]) -> None:
    assert subject_of(photos[1], (120, 96)) is not None
    with pytest.raises(DataError, match=r"is not of the size of .* as it is shown, 96 x 120"):
        subject_of(photos[1], (96, 120))


def test_a_mask_of_grey_alone_is_of_no_subject(photos: list[Photo], tmp_path_factory: pytest.TempPathFactory) -> None:
    grey = tmp_path_factory.mktemp("grey") / "mask.png"
    Image.new("L", (120, 96), 100).save(grey)
    assert subject_of(photos[1]._replace(mask=str(grey)), (120, 96)) is None
