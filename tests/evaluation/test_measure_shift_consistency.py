"""Answers over shifts of networks that look at one pixel, or at all of them alike, against counts over all shifts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import ResidentLoader
from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measures.shift_consistency import ShiftConsistency
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.evaluation.views import scaled
from blurtrain.models.trained import trained
from blurtrain.settings import Settings

CPU = torch.device("cpu")
AT = 32
Tiny = Callable[..., Settings]


class OnePixel(nn.Module):
    """Class 0 where the pixel at (AT, AT) is darker than mid-grey, else class 1; NaN for all where it says so."""

    def __init__(self, nan: bool = False) -> None:
        super().__init__()
        self.nothing, self.nan = nn.Parameter(torch.zeros(())), nan

    def forward(self, images: Tensor) -> Tensor:
        pixel = images[:, :, AT, AT].mean(1) * (torch.nan if self.nan else 1.0)
        return torch.stack([-pixel, pixel, torch.full_like(pixel, -9.0)], 1) + self.nothing


class Mean(OnePixel):
    """As all pixels are on average."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.double().mean((1, 2, 3)).round(decimals=6)
        return torch.stack([-mean, mean, mean - 9], 1)


def found(dataset: Dataset, tiny: Tiny, module: nn.Module, batch_size: int = 4, **options: Any) -> Found:
    half = [0.5, 0.5, 0.5]
    settings = tiny(data={"mean": half, "sd": half}, evaluation={"batch_size": batch_size, "sigmas": [0, 8]})
    images = Images.of(dataset, settings.evaluation, settings.data.resolution)
    loader, transform = ResidentLoader(images.source, CPU), Transform.of(settings, dataset)
    network = trained(module, settings, dataset, "of a test")
    subject = Subject.of(network, images, loader, transform, Group(0, 1, CPU), settings.evaluation)
    return ShiftConsistency(**options).measure(subject, settings.levels, per_image=True)


def metric(outcome: Found, name: str, blur: str = "sharp") -> Any:
    (row,) = [row for row in outcome.rows if row["metric"] == name and row["blur"] == blur]
    return row.get("count", row.get("value"))


@pytest.mark.parametrize("border", ["circular", "crop"])
def test_one_pixel_agrees_as_often_as_the_pixels_that_come_there_are_alike(
    prepared: Dataset, tiny: Tiny, border: str
) -> None:
    outcome = found(prepared, tiny, OnePixel(), border=border, largest=3.5 * 4, shifts=64)
    source = prepared.evaluation_images("test", 64)
    images = torch.from_numpy(source.store.read(source.indices)).permute(0, 3, 1, 2).float()
    if border == "crop":
        images = scaled(images, 68 / 64, "bilinear")
        window = images[..., AT : AT + 5, AT : AT + 5]
    else:
        window = images[..., AT - 4 : AT + 1, AT - 4 : AT + 1]
    bright = (window.mean(1) > 127.5).double().mean((1, 2)).numpy()
    records = outcome.records["sharp"]
    expected = bright**2 + (1 - bright) ** 2
    np.testing.assert_allclose(records["consistency"], expected, atol=0.2)  # of 64 shifts, drawn
    assert records["consistency"].mean() == pytest.approx(expected.mean(), abs=0.05)
    assert 0.5 < metric(outcome, "consistency") < 0.99
    assert metric(outcome, "consistency") == pytest.approx(records["consistency"].mean())
    assert metric(outcome, "stays") == records["stays"].sum() == (records["consistency"] == 1).sum()


def test_what_looks_at_all_pixels_alike_stays_when_they_go_round(prepared: Dataset, tiny: Tiny) -> None:
    outcome = found(prepared, tiny, Mean(), border="circular")
    for blur in ("sharp", "gaussian-8"):
        assert metric(outcome, "consistency", blur) == 1 and metric(outcome, "stays", blur) == 9


def test_shifts_are_drawn_of_the_image_and_the_same_at_every_level_and_batch(prepared: Dataset, tiny: Tiny) -> None:
    first, second = (found(prepared, tiny, OnePixel(), batch_size=size) for size in (2, 9))
    for blur in ("sharp", "gaussian-8"):
        for name, values in first.records[blur].items():
            assert np.array_equal(values, second.records[blur][name])
    seen = [first.records[blur]["right"] for blur in ("sharp", "gaussian-8")]
    assert not np.array_equal(*seen), "the blur is shown"


def test_nan_agrees_with_nothing(prepared: Dataset, tiny: Tiny) -> None:
    outcome = found(prepared, tiny, OnePixel(nan=True))
    assert {metric(outcome, name) for name in ("consistency", "stays", "top1_shifted")} == {0}
    assert {row["not_finite"] for row in outcome.rows} == {9}
