"""The figures of receptive fields and of tuning show what was kept, beside the untrained networks."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_runs import images, measured

import analysis
from analysis.figures.receptive_fields import fields_figure, fields_measured
from analysis.figures.tuning import tuning_figure, tuning_measured
from blurtrain.evaluation.arrays import with_arrays

MakeRun = Callable[..., str]


def keep(
    runs: Path, run_id: str, measure: str, rows: list[dict[str, Any]], arrays: Mapping[str, Any], epoch: int
) -> None:
    """What a measure leaves behind."""
    (path,) = (runs / run_id / "evaluations").glob("accuracy-0123abcd.json")
    document = json.loads(path.read_text()) | {"measure": measure, "epoch": epoch, "rows": rows}
    path = path.with_name(f"{measure}-{epoch:08x}.json")
    path.write_text(json.dumps(document))
    path.with_suffix(".npz").write_bytes(with_arrays(path.with_suffix(".npz"), arrays))


def row(blur: str, metric: str, value: float, n: int) -> dict[str, Any]:
    return {"metric": metric, "blur": blur, "level": "layers", "sigma": None, "n": n, "value": value}


def fields(runs: Path, run_id: str, epoch: int, moment: float, area: float) -> None:
    rows = [row("first-layer", "energy_moment", moment, 64), row("first-layer", "energy_moment.random", 6.3, 20),
            row("first-layer", "energy_moment.random_sd", 0.1, 20)]  # fmt: skip
    for k, (layer, size, stride) in enumerate((("a", 11, 4), ("b", 51, 8), ("head", 64, 0))):
        own = {"field": size, "field_least": size - 2 * k, "stride": stride, "start": 0}
        rows += [row(f"{k + 1:02d}:{layer}", metric, value, 1) for metric, value in own.items()]
        if stride:
            for metric, scale in (("effective_area", 1.0), ("effective_sigma", 0.5)):
                label = f"{k + 1:02d}:{layer}"
                rows += [row(label, metric, scale * area * (k + 1), 16), row(label, f"{metric}.random", 5, 20),
                         row(label, f"{metric}.random_sd", 1, 20)]  # fmt: skip
    gabors = np.zeros((64, 7))
    gabors[:16, 0] = 0.9
    keep(runs, run_id, "receptive-fields", rows, {"first-layer": {"gabors": gabors}}, epoch)


@pytest.fixture
def runs(tmp_path: Path, make_run: MakeRun) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for regime, seed, area in (("clear", 0, 10.0), ("clear", 1, 14.0), ("blurry", 0, 8.0)):
        run_id = measured(folder, make_run, {"sharp": images(30)}, regime, seed)
        for epoch, moment in ((1, 6.0), (2, 5.0 + seed)):
            fields(folder, run_id, epoch, moment, area)
    measured(folder, make_run, {"sharp": images(30)}, "fading", 0)  # of which nothing was kept
    return folder


def ids(runs: Path) -> frozenset[str]:
    return frozenset(path.name for path in runs.iterdir() if path.is_dir())


def test_fields_by_layer_and_moments_by_epoch(runs: Path) -> None:
    (one,) = fields_measured(analysis.collect(runs), ids(runs))
    assert {regime: len(seeds) for regime, seeds in one.regimes.items()} == {"clear": 2, "blurry": 1}
    assert [seed.moments for seed in one.regimes["clear"]] == [{1: 6, 2: 5}, {1: 6, 2: 6}]
    figure = fields_figure(one)
    area, sigma, moment, gabor = figure.axes
    lines = [np.asarray(line.get_xydata()).tolist() for line in area.lines]
    assert [[1, 11], [2, 51]] in lines, "theoretical; the head sees all of the image, and is no point"
    assert [[1, 11], [2, 49]] in lines, "the shortest path"
    assert [[1, 12], [2, 24]] in lines, "mean of both seeds"
    assert [text.get_text() for text in area.get_xticklabels()] == ["a", "b"]
    assert [[1, 6], [2, 12]] in [np.asarray(line.get_xydata()).tolist() for line in sigma.lines]
    assert [[1, 6], [2, 5.5]] in [np.asarray(line.get_xydata()).tolist() for line in moment.lines]
    assert "n = 16 images, 1–2 seeds, 20 draws untrained" in "".join(text.get_text() for text in area.texts)
    steps = np.asarray(gabor.lines[0].get_xydata())
    assert steps[steps[:, 0] >= 0.9][0, 1] == pytest.approx(25), "a quarter of the filters"
    assert not list(fields_measured(analysis.collect(runs), frozenset()))


def test_tuning_curves_by_layer(runs: Path) -> None:
    frequencies = np.geomspace(0.05, 0.5, 5)
    curves = np.array([[1, 0.5, 0.25, 0.1, 0.1], [0.1, 0.2, 1, 0.2, 0.1]])
    for run_id in ids(runs):
        if "clear" in run_id:
            rows = [row(label, "responding", 1.0, 500) for label in ("01:a", "02:b")]  # more units than images
            scale = 0.5 if "clear-1" in run_id else 1
            arrays = {"frequencies": frequencies, "curves": scale * curves, "random_curves": curves * 0 + 0.3,
                      "random_curves_sd": curves * 0 + 0.1}  # fmt: skip
            keep(runs, run_id, "tuning", rows, {"layers": arrays}, 2)
    (one,) = tuning_measured(analysis.collect(runs), ids(runs))
    assert one.layers == ["01:a", "02:b"] and len(one.regimes["clear"]) == 2
    figure = tuning_figure(one)
    first, second = figure.axes
    means = [np.asarray(line.get_ydata()) for line in second.lines]
    assert any(np.allclose(mean, 0.75 * curves[1]) for mean in means)
    assert "n = 500 units, 2 seeds" in "".join(text.get_text() for text in first.texts)
    assert first.collections, "the band of untrained networks"
