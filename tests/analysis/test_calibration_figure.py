"""The figure of calibration shows what was kept, of the runs of a panel, under its conditions."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from measured_runs import images, measured, own_measure

import analysis
from analysis.figures.calibration import calibrated, calibration_figure
from analysis.panels import panels
from blurtrain.evaluation.arrays import with_arrays

MakeRun = Callable[..., str]
COVERAGE = np.column_stack([np.arange(5, 101, 5), np.linspace(1, 0.4, 20)])


def kept(runs: Path, run_id: str, ece: float) -> Path:
    """What the measure leaves behind, at two levels."""
    own_measure(runs, run_id, {"sharp": ece, "gaussian-8": 2 * ece}, "calibration")
    path = runs / run_id / "evaluations" / "calibration-0123abcd.json"
    document = json.loads(path.read_text())
    document["rows"] = [{**row, "metric": "ece"} for row in document["rows"]]
    path.write_text(json.dumps(document))
    bins = np.array([[10, 0.2, 0.1], [40, 0.8, 0.6]])
    arrays = {blur: {"reliability": bins, "coverage": COVERAGE} for blur in ("sharp", "gaussian-8")}
    path.with_suffix(".npz").write_bytes(with_arrays(path.with_suffix(".npz"), arrays))
    return path


@pytest.fixture
def runs(tmp_path: Path, make_run: MakeRun) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    right = {"sharp": images(30), "gaussian-8": images(20)}
    for regime, seed, ece in (("clear", 0, 0.1), ("clear", 1, 0.2), ("blurry", 0, 0.05)):
        kept(folder, measured(folder, make_run, right, regime, seed), ece)
    measured(folder, make_run, right, "fading", 0)  # of which nothing was kept
    return folder


def test_each_regime_has_its_seeds_with_what_was_kept(runs: Path) -> None:
    (one,) = calibrated(panels(analysis.load(runs)), analysis.collect(runs))
    assert {regime: len(seeds) for regime, seeds in one.regimes.items()} == {"clear": 2, "blurry": 1}
    assert [seed.errors for seed in one.regimes["clear"]] == [{0: 0.1, 8: 0.2}, {0: 0.2, 8: 0.4}]
    assert one.regimes["blurry"][0].reliability[8].tolist() == [[10, 0.2, 0.1], [40, 0.8, 0.6]]
    figure = calibration_figure(one)
    error, diagram, answered = figure.axes
    mean = next(line for line in error.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 1)
    assert np.asarray(mean.get_ydata()).tolist() == pytest.approx([15, 30]), "percent, the mean over seeds"
    assert np.asarray(diagram.lines[0].get_xydata()).tolist() == pytest.approx(np.array([[20, 10], [80, 60]]))
    assert "n = 50 images, 1–2 seeds" in "".join(text.get_text() for text in error.texts)
    assert answered.get_ylim()[0] == 0


def test_a_damaged_file_is_left_out_with_a_warning(runs: Path) -> None:
    (path, *_) = sorted(runs.glob("*blurry*/evaluations/*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="cannot be read"):
        (one,) = calibrated(panels(analysis.load(runs)), analysis.collect(runs))
    assert one.regimes["blurry"][0].reliability == {} and len(one.regimes["clear"][0].reliability) == 2
