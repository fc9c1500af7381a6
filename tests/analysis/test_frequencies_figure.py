"""Accuracy over spatial frequency as a figure."""

from collections.abc import Callable
from pathlib import Path

import pytest
from measured_runs import images, measured

import analysis
from analysis.figures.frequencies import filters, frequencies_figure, is_drawable
from analysis.panels import panels

MakeRun = Callable[..., str]
RIGHT = {"sharp": 45, "lowpass-16": 30, "lowpass-4": 10, "highpass-2": 40, "highpass-8": 20, "highpass-8-3": 15,
         "bandpass-4-8": 12, "bandpass-2-4": 11, "disk-4": 5}  # fmt: skip


def test_lines_go_through_cut_offs_in_their_order(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, {blur: images(count) for blur, count in RIGHT.items()})
    (panel,) = panels(analysis.load(runs))
    assert is_drawable(panel)
    assert {kind: [*levels] for kind, levels in filters(panel).items()} == {
        ("low-pass", 2, "own"): ["lowpass-4", "lowpass-16"],
        ("band-pass", 2, "own"): ["bandpass-2-4", "bandpass-4-8"],
        ("high-pass", 2, "own"): ["highpass-2", "highpass-8"],
        ("high-pass", 3, "own"): ["highpass-8-3"],
    }
    figure = frequencies_figure(panel)
    low, band, high, steep = figure.axes
    points = next(line for line in low.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    assert points.get_xdata().tolist() == [4, 16] and points.get_ydata().tolist() == pytest.approx([20, 60])
    middle = next(line for line in band.lines if line.get_marker() == "o")
    assert middle.get_xdata().tolist() == pytest.approx([8**0.5, 32**0.5])
    assert [*band.get_xticks()] == [2, 4, 8] and [*high.get_xticks()] == [2, 8] and [*steep.get_xticks()] == [8]
    chance = low.lines[0]
    assert chance.get_ydata()[0] == pytest.approx(10) and chance.get_linestyle() == "--"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["clear", "chance (10.0 %)", "sharp images"] and "n = 50 images" in figure.get_supxlabel()


def test_a_single_level_is_no_figure(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, {"sharp": images(9), "lowpass-4": images(3), "highpass-4": images(3)})
    assert not is_drawable(panels(analysis.load(runs))[0])
