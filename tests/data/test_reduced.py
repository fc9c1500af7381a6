"""Epochs of blurred images at fewer pixels: when, at how many, and what is lost by it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Sharp
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import open_loader
from blurtrain.data.reduced import reduced_side
from blurtrain.data.training_batches import TrainingBatches
from blurtrain.data.training_views import training_views
from blurtrain.errors import SettingsError
from blurtrain.settings import Settings
from blurtrain.settings.sections import Reduced

Tiny = Callable[..., Settings]
STEPWISE = {"schedule": "stepwise", "sigmas": [16, 8, 0], "epochs_per_level": 1}


@pytest.mark.parametrize(
    ("sigmas", "reduced", "side"),
    [
        ([8, 8], Reduced(least_resolution=32), 32),  # 224 / 8 = 28 would do
        ([8, 8], Reduced(), 64),
        ([4, 4], Reduced(least_resolution=32), 64),  # 56
        ([2, 8], Reduced(least_resolution=32), 128),  # 112: the least sigma counts
        ([2, 2], Reduced(least_resolution=32, least_sigma=1.2), 160),  # 134.4
        ([7, 7], Reduced(least_resolution=32), 32),  # 32 exactly
        ([1, 1], Reduced(), 224),
        ([0, 8], Reduced(), 224),
        ([8, 8], None, 224),
    ],
)
def test_the_smallest_multiple_of_32_where_the_least_sigma_is_large_enough(
    sigmas: list[float], reduced: Reduced | None, side: int
) -> None:
    assert reduced_side(reduced, Assignment.gaussian(np.array([sigmas], float)), 224, 224) == side


def test_other_blurs_than_gaussians_stay_as_large() -> None:
    sharp = Assignment.of((Sharp(),), np.zeros((1, 4), np.int64))
    assert reduced_side(Reduced(), sharp, 224, 224) == 224


def batches_of(settings: Settings, dataset: Dataset) -> TrainingBatches:
    o = settings.optimisation
    return TrainingBatches(
        open_loader(settings.loader, dataset, torch.device("cpu")), Transform.of(settings, dataset),
        settings.curriculum, dataset.split("train")[0], seed=settings.seed, batch_size=o.batch_size, epochs=o.epochs,
        reduced=settings.data.reduced,
    )  # fmt: skip


def test_batches_show_the_same_crops_as_blurred(prepared: Dataset, tiny: Tiny) -> None:
    plain = {"curriculum": STEPWISE, "optimisation": {"epochs": 3}, "augmentation": {"colour": 0}}
    reduced, whole = tiny(**plain, data={"reduced": {"least_resolution": 32}}), tiny(**plain)
    for epoch, side in enumerate([32, 32, 64]):
        small, large = (next(batches_of(s, prepared).epoch(epoch).read()) for s in (reduced, whole))
        assert small.images.shape[-2:] == (side, side) and torch.equal(small.targets, large.targets)
        if side == 64:
            assert torch.equal(small.images, large.images)
            continue
        # Both are the same crop, blurred by the same share of it: the larger one by means of 2 x 2 pixels.
        means = torch.nn.functional.avg_pool2d(large.images, 2)
        assert (small.images - means).square().mean() < 0.01 * means.var()


def test_the_curriculum_shows_it(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(curriculum=STEPWISE, optimisation={"epochs": 3}, data={"reduced": {"least_resolution": 32}})
    first, last = next((one, other) for one, other in training_views(settings, prepared, 8, [1, 3]) if one and other)
    assert (first.blur, last.blur) == ("sigma 16 at 32 px", "sigma 0")
    assert first.pixels.shape == last.pixels.shape == (64, 64, 3)
    assert (first.pixels == first.pixels[::2, ::2].repeat(2, 0).repeat(2, 1)).all()


def test_what_a_sigma_of_one_pixel_leaves_beyond_the_grid() -> None:
    """What `least_sigma` says: at the finest grating of the smaller grid, exp(-2 pi^2 sigma^2 f^2) with f = 1/2."""
    assert np.exp(-2 * np.pi**2 * 0.25) == pytest.approx(0.0072, abs=1e-4)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"loss": "jensen-shannon"}, r"does not go with loss=jensen-shannon, which shows further views"),
        ({"precision": {"compile": True}}, r"does not go with precision\.compile"),
        (
            {"augmentation": {"colour": 0, "scaled": {"object_scales": [384], "network_scales": [384]}}},
            r"augmentation\.scaled",
        ),
        ({"data": {"reduced": {"least_resolution": 48}}}, r"least_resolution=48 must be a multiple of 32"),
        ({"data": {"reduced": {"least_resolution": 64}}}, r"less than data\.resolution=64"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tiny: Tiny, overrides: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=rf"^[^\n]*data\.reduced[^\n]*{said}[^\n]*$"):
        tiny(**{"data": {"reduced": {"least_resolution": 32}}, **overrides})


def test_a_transform_of_another_side_is_all_that_changes(prepared: Dataset, tiny: Tiny) -> None:
    settings = tiny(curriculum=STEPWISE, optimisation={"epochs": 3}, data={"reduced": {"least_resolution": 32}})
    epoch = batches_of(settings, prepared).epoch(0)
    assert epoch.transform == replace(Transform.of(settings, prepared), resolution=32)
