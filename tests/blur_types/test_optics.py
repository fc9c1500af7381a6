"""What each kind of blur does to a subject and to its background."""

import numpy as np
import pytest
import torch

from blurtrain.blur.kernels import disk
from blurtrain.blur_types import CLASSES as NAMES
from blurtrain.data.preparation.blurred.layers import Scene, blurred, scene_of
from blurtrain.data.preparation.blurred.optics import CLASSES, Kind, Sizes, kind_of

KINDS = {kind.draw.__name__: kind for kinds in CLASSES.values() for kind in kinds}
SUBJECT, ABOVE, FOOT, BELOW = (slice(60, 85), slice(55, 75)), (slice(2, 8),), (slice(93, 97),), (slice(114, 120),)
"""Well within a subject; rows of the background: at the upper border, at the subject's foot, at the lower border."""


def scene() -> Scene:
    """Noise before other noise."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(120, 160)
    mask[45:95, 40:90] = 1
    return scene_of(torch.rand(3, 120, 160, generator=generator), mask, torch.rand(3, 120, 160, generator=generator))


def detail(light: torch.Tensor) -> float:
    return float((light - blurred(light, disk(1.0, True))).square().mean())


def kept(name: str, place: tuple[slice, ...]) -> float:
    """Share of the detail at a place (of rows: beside the subject) that a kind of blur leaves: the median of five."""
    before = scene()
    rows, columns = place if len(place) == 2 else (place[0], slice(115, 160))
    found = []
    for seed in range(5):
        after = KINDS[name].draw(before, np.random.default_rng(seed), Sizes(4.0, 0.03, 9.0, 0.06)).light
        found.append(detail(after[:, rows, columns]) / detail(before.light[:, rows, columns]))
    return float(np.median(found))


def test_the_kinds_of_a_class_are_drawn_by_their_shares() -> None:
    assert list(CLASSES) == sorted(NAMES)
    for name, kinds in CLASSES.items():
        assert sum(kind.share for kind in kinds) == pytest.approx(1)
        rng = np.random.default_rng(0)
        drawn: list[Kind] = [kind_of(name, rng) for _ in range(1000)]
        for kind in kinds:
            assert drawn.count(kind) / 1000 == pytest.approx(kind.share, abs=0.05)


@pytest.mark.parametrize("name", ["_background_out_of_focus", "_background_panned", "_ground_out_of_focus"])
def test_a_sharp_subject_stays_as_it_is_before_a_blurred_background(name: str) -> None:
    assert kept(name, SUBJECT) == pytest.approx(1, abs=1e-4) and kept(name, ABOVE) < 0.3


def test_a_ground_is_sharp_at_the_foot_of_a_sharp_subject() -> None:
    foot, below, above = (kept("_ground_out_of_focus", place) for place in (FOOT, BELOW, ABOVE))
    assert foot > 0.4 > 0.2 > max(below, above)


@pytest.mark.parametrize("name", ["_subject_out_of_focus", "_subject_and_ground_out_of_focus", "_subject_moved"])
def test_a_blurred_subject_leaves_what_is_far_behind_it(name: str) -> None:
    assert kept(name, SUBJECT) < 0.3 and kept(name, ABOVE) > 0.7


def test_a_ground_is_as_blurred_as_the_subject_that_stands_on_it() -> None:
    assert kept("_subject_and_ground_out_of_focus", FOOT) < 0.3 > kept("_subject_and_ground_out_of_focus", BELOW)
    assert kept("_subject_out_of_focus", FOOT) > 0.7


@pytest.mark.parametrize("name", [k.draw.__name__ for n in ("defocused_blurred", "motion_blurred") for k in CLASSES[n]])
def test_other_kinds_blur_everything_or_the_subject(name: str) -> None:
    assert kept(name, SUBJECT) < 0.5
    assert KINDS[name].layered == (name in ("_both_out_of_focus", "_subject_moved"))
    assert name == "_subject_moved" or kept(name, ABOVE) < 0.5


def test_blur_of_a_very_large_photo_has_the_largest_kernel_there_is() -> None:
    """Three hundredths of its longer side would be more."""
    narrow = scene_of(torch.rand(3, 2, 20_000), torch.ones(2, 20_000))
    for name in ("_all_out_of_focus", "_moved"):
        found = KINDS[name].draw(narrow, np.random.default_rng(0), Sizes(least_radius=200, least_length=500))
        assert bool(found.light.isfinite().all())
