"""Tuning to gratings: filters of known frequency and orientation, bandwidths, and networks that it does not fit."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blurtrain.distributed import Group
from blurtrain.errors import SettingsError
from blurtrain.evaluation.gratings import Gratings, responses, tuned
from blurtrain.evaluation.measures.tuning import Tuning
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.models.trained import Preprocessing, TrainedNetwork

SIDE = 64


def gabor(frequency: float, degrees: float, sigma: float, side: int = 31) -> torch.Tensor:
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    x, y = axis[None, :], axis[:, None]
    wave = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))
    return ((-(x**2 + y**2) / (2 * sigma**2)).exp() * (2 * math.pi * frequency * wave).cos()).float()


def network(module: nn.Module, fresh: Any = None) -> TrainedNetwork:
    return TrainedNetwork(module.eval(), Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.25,) * 3), ("a",), "it", fresh=fresh)


def measure(of: TrainedNetwork, **options: Any) -> Found:
    subject = Subject(of, None, None, None, Group(0, 1, torch.device("cpu")))  # type: ignore[arg-type]
    return Tuning(**options).measure(subject, ["layers"], False)


def of_gabors(kinds: list[tuple[float, float, float]]) -> nn.Sequential:
    layer = nn.Conv2d(3, len(kinds), 31, padding=15)
    layer.weight.data = torch.stack([gabor(*kind) for kind in kinds])[:, None].expand(-1, 3, -1, -1).clone()
    return nn.Sequential(layer)


def test_gratings_are_what_they_are_called() -> None:
    gratings = Gratings(SIDE)
    assert gratings.orientations.tolist() == [12 * k for k in range(15)]
    assert gratings.frequencies[[0, -1]] == pytest.approx([2 / SIDE, 0.5])
    images = gratings.at(5).double()  # 60 degrees
    assert images.shape == (100, 3, SIDE, SIDE) and (images[:, 0] == images[:, 2]).all()
    k = 12  # of 25 frequencies
    spectrum = torch.fft.fft2(images[4 * k, 0] - 127.5).abs()
    row, column = divmod(int(spectrum[: SIDE // 2].argmax()), SIDE)
    f = gratings.frequencies[k]
    assert (column / SIDE, row / SIDE) == pytest.approx(
        (f * math.cos(math.pi / 3), f * math.sin(math.pi / 3)), abs=0.01
    )
    assert images[4 * k : 4 * k + 4].mean(0).sub(127.5).abs().max() < 1e-3, "four phases, a quarter of a wave apart"


def test_a_gabor_filter_prefers_its_own_frequency_and_orientation() -> None:
    gratings = Gratings(SIDE)
    kinds = [(float(gratings.frequencies[k]), float(degrees), 5.0) for k, degrees in ((10, 0), (14, 60), (18, 132))]
    found = measure(network(of_gabors(kinds)), draws=0)
    units = found.arrays["layers"]["units"]
    assert units[:, 0].tolist() == [1, 1, 1]
    assert units[:, 1] == pytest.approx([kind[0] for kind in kinds], rel=1e-5)
    assert units[:, 2] == pytest.approx([kind[1] for kind in kinds])
    assert (units[:, 3] > 0.8).all(), "a narrow filter responds to few orientations"
    rows = {row["metric"]: row for row in found.rows}
    assert all(row["blur"] == "01:0" and row["level"] == "layers" and row["n"] == 3 for row in rows.values())
    assert rows["preferred_frequency"]["value"] == pytest.approx(kinds[1][0], rel=1e-5)
    assert rows["responding"]["value"] == rows["band_passed"]["value"] == 1
    assert not any("random" in name for name in rows)


def test_bandwidth_is_that_of_the_envelope() -> None:
    frequency, sigma = float(Gratings(SIDE).frequencies[14]), 4.0
    found = measure(network(of_gabors([(frequency, 0.0, sigma)])), draws=0)
    half = math.sqrt(2 * math.log(2)) / (2 * math.pi * sigma)
    expected = math.log2((frequency + half) / (frequency - half))
    (value,) = (row["value"] for row in found.rows if row["metric"] == "bandwidth")
    assert value == pytest.approx(expected, rel=0.05)


def test_selectivity_and_silent_units() -> None:
    gratings = Gratings(SIDE)
    tuning = np.zeros((3, 15, 25))
    tuning[0, :, 7] = 1  # all orientations alike
    tuning[1, 4, 7] = 1  # one alone
    found = tuned(tuning, gratings)
    assert found.selectivity[:2] == pytest.approx([0, 1], abs=1e-12)
    assert np.isnan([found.frequency[2], found.bandwidth[2], found.selectivity[2]]).all()
    assert found.frequency[1] == gratings.frequencies[7] and found.orientation[1] == 48


def test_responses_are_above_grey_and_rectified() -> None:
    outcome = torch.full((4, 2, 8, 8), 3.0)
    outcome[:, 1] = -5
    outcome[:, 0, :2] = 1000  # a border
    assert responses(outcome, torch.full((1, 2, 8, 8), 1.0)).tolist() == [[2, 0]]


def test_untrained_networks_stand_beside() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3))

    torch.manual_seed(1)
    one = measure(network(make(), make), draws=2, side=32)
    after = torch.rand(1)
    torch.manual_seed(1)
    again = measure(network(make()), draws=0, side=32)
    assert torch.rand(1) == after, "draws leave the random state as it was"
    rows = {(row["blur"], row["metric"]): row for row in one.rows}
    assert rows["01:0", "selectivity.random"]["n"] == 2 and rows["01:0", "selectivity"]["n"] == 6
    assert {blur for blur, _ in rows} == {"01:0", "02:2"}
    assert one.arrays["layers"]["random_curves"].shape == (2, 25)
    assert one.arrays["layers"]["curves"].tolist() == again.arrays["layers"]["curves"].tolist()
    seeds = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        alone = measure(network(make()), draws=0, side=32)
        seeds.append(next(row["value"] for row in alone.rows if row["metric"] == "selectivity"))
    assert rows["01:0", "selectivity.random"]["value"] == pytest.approx(np.mean(seeds), rel=1e-6)
    assert rows["01:0", "selectivity.random_sd"]["value"] == pytest.approx(np.std(seeds, ddof=1), rel=1e-5)


def test_networks_that_it_does_not_fit() -> None:
    with pytest.raises(SettingsError, match="it: has no convolution with places"):
        measure(network(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2))), draws=0)
    with pytest.raises(SettingsError, match=r"does not take gratings of 32 pixels .*: give tuning side=64"):
        measure(network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 62**2, 2))), draws=0, side=32)
    with pytest.raises(SettingsError, match=r"it is not known how it is initialised.*draws=0"):
        measure(network(of_gabors([(0.1, 0.0, 4.0)])))


def test_responses_that_are_nan_are_reported_not_averaged() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 3))
    module[1].weight.data.fill_(float("nan"))
    rows = {(row["blur"], row["metric"]): row for row in measure(network(module), draws=0).rows}
    assert rows["01:0", "selectivity"]["value"] is not None
    assert rows["02:1", "selectivity"]["value"] is None and rows["02:1", "selectivity"]["not_finite"] == 1
