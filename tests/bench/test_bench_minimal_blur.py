"""The bench of minimal blur: the plain scan it compares with, and the rows it gives."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blurtrain.bench.minimal_blur import bench_minimal_blur, plain_scan, table
from blurtrain.data.dataset import Dataset
from blurtrain.evaluation.flips import Grid
from blurtrain.evaluation.networks import network_plan
from blurtrain.models.trained import trained
from blurtrain.settings import Evaluation, Settings


class Contrast(nn.Module):
    """Sees how much neighbours differ: another class each time this has halved."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        contrast = images.diff(dim=-1).abs().mean((1, 2, 3)).log2()
        return -(contrast[:, None].remainder(3) - torch.arange(3).to(images)).abs() + self.nothing


def test_the_plain_scan_finds_the_first_flip_of_all() -> None:
    grid = Grid.of(0.5, 32, 0.02, 2.3)
    table = np.random.default_rng(0).integers(1, 3, (50, len(grid.points)))
    table[0], start = 1, np.ones(50, np.int64)
    seen = np.zeros(50, np.int64)

    def predict(rows: NDArray[np.int64], points: NDArray[np.int64]) -> NDArray[np.int64]:
        seen[rows] += 1
        return table[rows, points]

    found = plain_scan(predict, start, np.ones(50, np.bool_), grid)
    assert found.first[0] == len(grid.points) == found.tries[0]
    assert found.first[1:].tolist() == (table[1:] == 2).argmax(1).tolist()
    assert (found.tries == seen).all() and (found.tries[1:] == found.first[1:] + 1).all()


def test_rows_say_what_each_way_took_and_that_they_agree(prepared: Dataset, tiny: Callable[..., Settings]) -> None:
    network = trained(Contrast(), tiny(), prepared, "of a test")
    plan = network_plan(network, prepared, Evaluation(split="train", batch_size=8))
    ours, plain = bench_minimal_blur(plan, torch.device("cpu"), 12, 0.2)
    assert (ours["what"], plain["what"], ours["n"]) == ("scan and bisection", "plain scan", 12)
    assert ours["same"] + ours["earlier"] == 12 and ours["other"] == 0 and ours["same"] > 6
    assert 1 < ours["passes_per_image"] <= ours["most_passes"] <= 9 < plain["most_passes"]
    assert "same sigma" in table([ours, plain])
