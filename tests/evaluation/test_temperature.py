"""The temperature of a network on its dataset: images as in an evaluation, and what cannot be calibrated."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preprocessing import Preprocessing
from blurtrain.errors import DataError
from blurtrain.evaluation.temperature import LEAST, MOST, calibration
from blurtrain.models.trained import TrainedNetwork

SIDE, MIDDLE = 64, 26
LEVELS = (200, 60)
"""Of the borders of photos, around a black middle."""


class Brightness(nn.Module):
    """Logits: `factor` times the mean (0..1) minus 0.4, and 0."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = self.factor * (images.mean((1, 2, 3)) - 0.4)
        return torch.stack([bright, 0 * bright], 1)


def network(factor: float, side: int) -> TrainedNetwork:
    seen = Preprocessing(side, side, (0.0,) * 3, (1.0,) * 3)
    return TrainedNetwork(Brightness(factor).eval(), seen, ("bright", "dark"), "it")


def framed(root: Path, split: str, name: str, levels: list[int], aspect: int = SIDE) -> None:
    (root / split / name).mkdir(parents=True)
    for k, level in enumerate(levels):
        pixels = np.full((SIDE, aspect, 3), level, np.uint8)
        start = (SIDE - MIDDLE) // 2
        pixels[start : start + MIDDLE, start : start + MIDDLE] = 0
        pixels[0, 0] = len(split), k, len(name)  # no two alike
        Image.fromarray(pixels).save(root / split / name / f"{k}.png")


def dataset(root: Path, wrong: int = 1, **recipe: str) -> Dataset:
    """Of five val photos a class, `wrong` have the border of the other."""
    for split in ("train", "val"):
        for name, (own, other) in (("bright", LEVELS), ("dark", LEVELS[::-1])):
            framed(root / "photos", split, name, [other] * wrong + [own] * (5 - wrong), SIDE + 8 * bool(recipe))
    given = Recipe(images=str(root / "photos"), resolution=SIDE, **recipe)
    return prepare(root / "data", "frames", given)[0]


def expected(factor: float, wrong: int) -> float:
    """Cross-entropy of whole photos."""
    total = 0.0
    for sign, (own, other) in ((1, LEVELS), (-1, LEVELS[::-1])):
        for level in [other] * wrong + [own] * (5 - wrong):
            logit = factor * (level / 255 * (1 - (MIDDLE / SIDE) ** 2) - 0.4)
            total += np.log1p(np.exp(-sign * logit))
    return total / 10


@pytest.mark.parametrize("side", [SIDE, SIDE // 3])
def test_whole_images_are_seen_at_any_resolution(tmp_path: Path, side: int) -> None:
    found = calibration(network(9.0, side), dataset(tmp_path))
    assert found["cross_entropy"][0] == pytest.approx(expected(9.0, 1), abs=0.01)
    assert found["n"] == 10 and found["split"] == "val" and not found["at_bound"]
    assert found["cross_entropy"][1] <= found["cross_entropy"][0]


@pytest.mark.parametrize(("wrong", "bound"), [(0, LEAST), (5, MOST)])
def test_what_no_temperature_calibrates_is_said(tmp_path: Path, wrong: int, bound: float) -> None:
    found = calibration(network(9.0, SIDE), dataset(tmp_path, wrong))
    assert found["temperature"] == pytest.approx(bound, rel=0.2) and found["at_bound"]


def test_images_that_keep_their_aspect(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--aspect square"):
        calibration(network(9.0, SIDE), dataset(tmp_path, aspect="kept"))
