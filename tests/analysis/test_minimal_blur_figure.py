"""The figure of minimal blur shows the curves that were kept, of the runs of a panel, under its conditions."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from measured_runs import images, measured, own_measure

import analysis
from analysis.figures.minimal_blur import share_left, withstood, withstood_figure
from analysis.panels import panels
from blurtrain.evaluation.arrays import with_arrays
from blurtrain.evaluation.survival import kaplan_meier

MakeRun = Callable[..., str]
VALUES = np.concatenate([[1.0, 2, 2, 4], np.full(46, 32.0)])


def kept(runs: Path, run_id: str, scale: float) -> None:
    """What the measure leaves behind, at two levels: at `gaussian` as said, at `any` nothing ever changes."""
    own_measure(runs, run_id, {"gaussian": scale, "any": 0.5}, "minimal-blur")
    path = (runs / run_id / "evaluations" / "minimal-blur-0123abcd.json").with_suffix(".npz")
    document = json.loads(path.with_suffix(".json").read_text())
    document["rows"] = [{**row, "sigma": None} for row in document["rows"]]
    path.with_suffix(".json").write_text(json.dumps(document))
    gaussian = kaplan_meier(scale * VALUES, VALUES == 32).table()
    nothing = kaplan_meier(np.full(50, 0.4), np.ones(50, np.bool_)).table()
    arrays = {"gaussian": {"survival": gaussian}, "any": {"survival": nothing, "gentlest": np.zeros(6)}}
    path.write_bytes(with_arrays(path, arrays))


@pytest.fixture
def runs(tmp_path: Path, make_run: MakeRun) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    right = {"sharp": images(30), "gaussian-8": images(20)}
    for regime, seed, scale in (("clear", 0, 1), ("clear", 1, 2), ("blurry", 0, 1)):
        kept(folder, measured(folder, make_run, right, regime, seed), scale)
    measured(folder, make_run, right, "fading", 0)  # of which nothing was kept
    return folder


def test_each_regime_has_the_curves_of_its_seeds(runs: Path) -> None:
    (one,) = withstood(panels(analysis.load(runs)), analysis.collect(runs))
    assert {level: {name: len(s) for name, s in of.items()} for level, of in one.curves.items()} == {
        "gaussian": {"clear": 2, "blurry": 1},
        "any": {"clear": 2, "blurry": 1},
    }
    figure = withstood_figure(one)
    gaussian, any_ = figure.axes
    texts = [text.get_text() for text in gaussian.texts]
    assert "n = 50 images, 1–2 seeds" in texts and "median" in texts
    assert texts.count("more") == 1 and "more (more)" in texts  # both seeds, and the one with its interval
    clear, blurry = ([100, 98, 96, 94, 92], [50, 49, 47, 46])
    means = [line for line in gaussian.lines if line.get_linewidth() == 1.3 and len(line.get_xdata()) > 3]
    assert np.asarray(means[0].get_xdata())[1:].tolist() == [1, 2, 4, 8]
    assert np.asarray(means[0].get_ydata()).tolist() == pytest.approx([100, 99, 96, 93, 92])  # the mean of two seeds
    assert clear and [text for text in texts if text == str(blurry[1])]
    assert not [line for line in any_.lines if len(line.get_xdata()) > 3]  # no prediction has changed


def test_how_many_are_left_is_read_off_the_curve() -> None:
    curve = kaplan_meier(VALUES, VALUES == 32).table()
    assert share_left(curve, np.array([0.5, 1, 1.9, 2, 3, 40])) == pytest.approx([1, 0.98, 0.98, 0.94, 0.94, 0.92])


def test_without_the_measure_there_is_no_figure(tmp_path: Path, make_run: MakeRun) -> None:
    measured(tmp_path, make_run, {"sharp": images(30)}, "clear", 0)
    assert not list(withstood(panels(analysis.load(tmp_path)), analysis.collect(tmp_path)))
