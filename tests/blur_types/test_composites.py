"""Scenes of two photos, and which photos they are made of."""

import collections

import numpy as np
import pytest
import torch
from PIL import Image

from blurtrain.data.preparation.blurred.composites import pasted, scene_with
from blurtrain.data.preparation.blurred.layers import distinguishable
from blurtrain.data.preparation.blurred.photos import Photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    """Nine photos of noise in a large folder, one in a small one, and one of another split; all with masks. The first
    has no detail outside its mask."""
    folder = tmp_path_factory.mktemp("photos")
    mask = np.zeros((96, 120), np.uint8)
    mask[24:80, 32:80] = 255
    found = []
    for k in range(11):
        noise = np.random.default_rng(k).integers(0, 256, (96, 120, 3), np.uint8)
        if k == 0:
            noise[mask == 0] = 128
        Image.fromarray(noise).save(folder / f"{k}.png")
        Image.fromarray(mask).save(folder / f"mask{k}.png")
        of = "large" if k < 9 else "small"
        photo = Photo(str(k), of, str(folder / f"{k}.png"), str(folder / f"mask{k}.png"), str(k))
        found.append(photo._replace(split="val" if k == 10 else "train"))
    return found


def test_a_folder_lends_as_much_as_another_and_nothing_crosses_the_split(photos: list[Photo]) -> None:
    shown = collections.Counter(
        scene_with(photos[1], photos, np.random.default_rng(k), apart=False)[1] for k in range(200)
    )
    assert "10" not in shown
    assert shown["1"] > 100  # alone, or before another one
    lent = {name: n for name, n in shown.items() if name not in ("1", "")}
    assert lent["9"] > 0.25 * sum(lent.values())  # one of nine others, and all of its folder


def test_scenes_are_drawn_anew_until_their_layers_can_be_distinguishable(photos: list[Photo]) -> None:
    def seen(apart: bool) -> int:
        scenes = (scene_with(photos[0], photos, np.random.default_rng(k), apart)[0] for k in range(30))
        return sum(distinguishable(scene) for scene in scenes)

    assert seen(apart=True) >= 27 and seen(apart=False) < 18  # 28 and fewer: not all tries lead to one


def test_a_photo_without_others_is_a_scene_of_its_own(photos: list[Photo]) -> None:
    """Also where its layers cannot be told apart, however often they are drawn."""
    scene, subject = scene_with(photos[0], photos[:1], np.random.default_rng(0), apart=True)
    assert subject == "0" and not distinguishable(scene)


def test_a_pasted_subject_is_cut_off_by_two_fifths_at_most() -> None:
    subject, mask = torch.ones(3, 40, 60), torch.zeros(40, 60)
    mask[5:35, 10:50] = 1
    behind = torch.zeros(3, 100, 120)
    whole = cut = 0
    for k in range(200):
        scene = pasted(subject, mask, behind, np.random.default_rng(k))
        assert scene.light.shape == behind.shape and torch.equal(scene.background, behind)
        rows, columns = (torch.nonzero(scene.matte[0].amax(axis) > 0.5).flatten() for axis in (1, 0))
        shown = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
        assert 0.55 * 30 <= shown[0] <= 31 and 0.55 * 40 <= shown[1] <= 41
        whole += shown[0] >= 29 and shown[1] >= 39
        cut += shown[0] < 29 or shown[1] < 39
    assert whole > 20 and cut > 20
