"""Effective fields, energy moments and Gabor fits against known answers; the measure on a run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluators import run as evaluate_ranks
from torch import nn

import analysis
from blurtrain.cli import main
from blurtrain.evaluation.arrays import read_arrays
from blurtrain.evaluation.effective_field import area_side, gaussian_fit, gradient_maps
from blurtrain.evaluation.energy import energy_moments
from blurtrain.evaluation.gabor import gabor_fits, patterns
from blurtrain.evaluation.measures.receptive_fields import ReceptiveFields
from blurtrain.evaluation.runs import alone, run_plan
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]


def gaussian(sigma: float, side: int) -> torch.Tensor:
    x = torch.arange(side) - (side - 1) / 2
    line = (-(x**2) / (2 * sigma**2)).exp()
    return line[:, None] * line


def test_of_a_gaussian_filter_the_effective_field_is_that_gaussian() -> None:
    layer = nn.Conv2d(3, 2, 31, padding=15)
    layer.weight.data = gaussian(4, 31).expand(2, 3, 31, 31).clone()
    # What follows works in place, and stops all: the field is of what the layer itself gives.
    module = nn.Sequential(layer, nn.Threshold(1e9, 0.0, inplace=True))
    maps, bad = gradient_maps(module, [torch.randn(2, 3, 64, 64), torch.randn(1, 3, 64, 64)], ["0"])
    assert maps.shape == (1, 64, 64) and bad == 0
    assert maps[0].max() == pytest.approx(3 * 2), "three channels of the image, two of the layer"
    sigma, r2 = gaussian_fit(maps[0], (32, 32))
    assert sigma == pytest.approx(4, rel=1e-4) and r2 > 0.9999
    y, x = np.mgrid[-15:16, -15:16]
    inside = np.count_nonzero(np.exp(-(x**2 + y**2) / 32) > 1 - 0.9545)
    assert area_side(maps[0]) == pytest.approx(math.sqrt(inside))


def test_gradients_are_absolute_values_averaged_over_images() -> None:
    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 1, 1, bias=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(images.square())
            return found

    module = Squared()
    module.layer.weight.data.fill_(1.0)
    images = torch.full((2, 3, 8, 8), 1.0)
    images[1] *= -3
    maps, _ = gradient_maps(module, [images], ["layer"])
    assert maps[0, 4, 4] == pytest.approx(3 * (2 + 6) / 2) and np.count_nonzero(maps) == 1


def test_images_with_gradients_that_are_nan_are_counted_and_left_out() -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1))
    images = torch.zeros(2, 3, 8, 8)

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(given.sqrt())
            return found

    images[1] += 1
    maps, bad = gradient_maps(Root(), [images], ["layer.0"])  # the root of 0 has an infinite slope
    assert bad == 1 and np.isfinite(maps).all() and maps.max() > 0
    assert math.isnan(gaussian_fit(np.zeros((8, 8)), (4, 4))[0]) and math.isnan(area_side(np.zeros((8, 8))))


def test_energy_moments() -> None:
    rng = np.random.default_rng(0)
    two = np.zeros((1, 1, 11, 11))
    two[0, 0, 3, 0], two[0, 0, 3, 10] = 1, -1  # 5 from their middle along one axis, 0 along the other
    assert energy_moments(two)[0] == pytest.approx(2 * math.sqrt(25 / 2))
    noise = rng.uniform(-1, 1, (2000, 3, 11, 11))
    assert energy_moments(noise).mean() == pytest.approx(math.sqrt((11**2 - 1) / 3), rel=0.005)
    assert energy_moments(noise + 5) == pytest.approx(energy_moments(noise)), "a constant plays no part"
    s = 2.5
    wave = np.cos(2 * np.pi * 0.3 * (np.arange(21) - 10))
    gabor = gaussian(s, 21).numpy() * wave
    assert energy_moments(gabor[None, None])[0] == pytest.approx(math.sqrt(2) * s, rel=0.03)
    assert math.isnan(energy_moments(np.ones((1, 3, 5, 5)))[0])


def gabors(count: int, side: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Filters with known numbers, which are written out here anew."""
    known = {
        "frequency": rng.uniform(0.12, 0.35, count), "orientation": rng.uniform(0, 180, count),
        "along": rng.uniform(1.3, 2.4, count), "across": rng.uniform(1.3, 2.4, count),
        "row": rng.uniform(side / 2 - 1.5, side / 2 + 0.5, count),
        "column": rng.uniform(side / 2 - 1.5, side / 2 + 0.5, count),
    }  # fmt: skip
    made = np.zeros((count, side, side))
    for k in range(count):
        one, phase = {name: values[k] for name, values in known.items()}, rng.uniform(0, 2 * np.pi)
        angle = np.radians(one["orientation"])
        for row in range(side):
            for column in range(side):
                x, y = column - one["column"], row - one["row"]
                a, b = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
                envelope = np.exp(-(a**2) / (2 * one["along"] ** 2) - b**2 / (2 * one["across"] ** 2))
                made[k, row, column] = envelope * np.cos(2 * np.pi * one["frequency"] * a + phase)
    return made, known


def test_gabors_are_recovered_with_noise() -> None:
    rng = np.random.default_rng(1)
    made, known = gabors(24, 11, rng)
    exact = gabor_fits(made)
    assert exact.r2.min() > 0.9999
    for name in ("frequency", "along", "across", "row", "column"):
        assert getattr(exact, name) == pytest.approx(known[name], rel=1e-3), name
    noisy = gabor_fits(made + rng.normal(0, 0.05, made.shape))
    turned_by = np.abs((noisy.orientation - known["orientation"] + 90) % 180 - 90)
    assert np.median(turned_by) < 1.5 and turned_by.max() < 10
    assert np.median(np.abs(noisy.frequency / known["frequency"] - 1)) < 0.03
    assert np.median(np.abs(noisy.size / np.sqrt(known["along"] * known["across"]) - 1)) < 0.05
    assert (noisy.r2 > 0.7).all()


def test_noise_is_no_gabor_and_a_blob_has_no_lower_edge() -> None:
    rng = np.random.default_rng(2)
    assert gabor_fits(rng.uniform(-1, 1, (64, 11, 11))).r2.max() < 0.5
    assert gabor_fits(np.ones((1, 7, 7))).r2.tolist() == [0]
    assert np.isinf(gabor_fits(gaussian(1.5, 11).numpy()[None]).bandwidth).all()
    one = gabor_fits(gabors(1, 11, rng)[0])
    half = math.sqrt(2 * math.log(2)) / (2 * math.pi * one.along)
    assert one.bandwidth == pytest.approx(np.log2((one.frequency + half) / (one.frequency - half)))


def test_the_pattern_of_a_filter_is_what_its_channels_share() -> None:
    pattern = np.random.default_rng(3).normal(size=(2, 7, 7))
    colours = np.array([[0.2, 0.9, -0.4], [1.0, 0, 0]])
    found = patterns(colours[:, :, None, None] * pattern[:, None])
    for k in range(2):
        assert abs(np.corrcoef(found[k].ravel(), pattern[k].ravel())[0, 1]) == pytest.approx(1)
        assert np.linalg.norm(found[k]) == pytest.approx(np.linalg.norm(colours[k]) * np.linalg.norm(pattern[k]))


# --- on a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(evaluation={"sigmas": [0], "batch_size": 4}, optimisation={"epochs": 1, "warmup_epochs": 0})
    return train(settings, tmp_path_factory.mktemp("runs")).path


def measure(run: Path, words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), "--measure", words, "--json"])
    out, err = capsys.readouterr()
    assert caught.value.code == 0, err
    return json.loads(out)


WORDS = "receptive-fields images=3 layers=2 draws=3"


def test_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measure(run, WORDS, capsys)
    by = {(row["blur"], row["metric"]): row for row in found["rows"]}
    fields = {blur: row["value"] for (blur, metric), row in by.items() if metric == "field"}
    assert fields == {
        "01:features.0": 11, "02:features.2": 19, "03:features.3": 51, "04:features.5": 67, "05:features.6": 99,
        "06:features.8": 131, "07:features.10": 163, "08:features.12": 195, "09:pool": 195, "10:classifier": 64,
    }  # fmt: skip
    assert by["03:features.3", "stride"]["value"] == 8 and by["03:features.3", "start"]["value"] == -18
    moments = [by["first-layer", name] for name in ("energy_moment", "energy_moment.random", "energy_moment.random_sd")]
    assert [row["n"] for row in moments] == [64, 3, 3]
    own, random, sd = (row["value"] for row in moments)
    assert random == pytest.approx(math.sqrt(40), rel=0.01) and 0 < sd < 0.1
    assert own == pytest.approx(random, rel=0.02), "after four steps it is nearly as it was drawn"
    assert by["first-layer", "gabor_accepted"]["value"] == 0 and by["first-layer", "gabor_accepted"]["n"] == 64
    assert by["first-layer", "gabor_size"]["value"] is None, "there is none to speak of"
    effective = by["01:features.0", "effective_sigma"]
    assert effective["n"] == 3 and 3 < effective["value"] < 5
    assert {blur for blur, metric in by if metric == "effective_area"} == {"01:features.0", "07:features.10"}
    kept = read_arrays((run / "evaluations" / found["file"]).with_suffix(".npz"))
    assert kept["first-layer"]["gabors"].shape == (64, 7) and kept["first-layer"]["weights"].shape == (64, 3, 11, 11)
    assert kept["layers"]["maps"].shape == (2, 64, 64) and kept["layers"]["maps"].max() == 1
    assert kept["layers"]["places"].tolist() == [1, 7]
    assert measure(run, WORDS, capsys)["rows"] == found["rows"], "read, not measured again"
    table = analysis.metrics(run.parent)
    assert set(table.loc[table["metric"] == "field", "blur"]) == set(fields)


def test_two_processes_find_the_same(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = measure(run, WORDS, capsys)["rows"]
    for path in (run / "evaluations").glob("receptive-fields-*"):
        path.unlink()
    found = evaluate_ranks([run, "--measure", WORDS, "--json"], tmp_path / "log", ranks=2)
    assert [code for code, _ in found] == [0, 0], found
    two = measure(run, WORDS, capsys)["rows"]
    for a, b in zip(one, two, strict=True):
        assert b == {**a, "value": a["value"] and pytest.approx(a["value"], rel=1e-6)}


@pytest.mark.parametrize(("spoilt", "n", "bad"), [(0.0, 60, None), (float("nan"), 64, 4)])
def test_filters_of_zeros_are_left_out_and_nan_is_reported(run: Path, spoilt: float, n: int, bad: int | None) -> None:
    subject = run_plan(run, ["evaluation.measures=[accuracy]"]).opened(alone())
    layer = subject.network.module.get_submodule("features.0")
    layer.weight.data[:4] = spoilt
    rows = ReceptiveFields(draws=0).measure(subject, ["first-layer"], False).rows
    (moment,) = (row for row in rows if row["metric"] == "energy_moment")
    assert (moment["n"], moment.get("not_finite"), moment["value"] is None) == (n, bad, bad is not None)
