"""How far confidence can be trusted: calibration error over blur, and at one blur reliability and coverage.

Lines are means over seeds; thin ones single seeds. What is drawn of one panel was measured as its accuracies were.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.collecting.collection import Collection
from analysis.collecting.kept_arrays import KeptArrays, kept_arrays
from analysis.figures.accuracy import marked, sigma_axis
from analysis.figures.style import GREY, PAGE, STYLE, entitle, grid, legend, looks, seeds_text
from analysis.figures.values import show_values
from analysis.panels import Panel

USUAL = 8.0
"""Sigma at which reliability and coverage are shown, where it was measured."""
MEASURE = "calibration"


@dataclass(frozen=True)
class Seed:
    """One run: calibration error by sigma, and its bins and coverage by sigma."""

    errors: Mapping[float, float]
    reliability: Mapping[float, NDArray[np.float64]]
    """[bins, 3]: images, mean confidence, share of right answers."""
    coverage: Mapping[float, NDArray[np.float64]]
    """[points, 2]: percent answered, share of right answers."""


@dataclass(frozen=True)
class Calibrated:
    """What was measured of the regimes of one panel: those that have it, a list of seeds each."""

    panel: Panel
    regimes: Mapping[str, Sequence[Seed]]


def calibrated(panels: Sequence[Panel], runs: Collection) -> Iterator[Calibrated]:
    """The panels that have calibration, at two sigmas or more."""
    frame = runs.measures(["run_id", "sigma", "blur", "value", "epoch", "n", "split", "pixels", "protocol", "deblur"],
                          measure=MEASURE, metric="ece")  # fmt: skip
    if frame.empty:
        return
    frame = frame.dropna(subset=["sigma"])
    epochs = {row["run_id"]: int(row["epochs"]) for row in runs.rows if row["run_id"] in set(frame["run_id"])}
    kept: dict[str, list[KeptArrays]] = {}
    for one in kept_arrays(runs.folder, epochs, MEASURE):
        kept.setdefault(one.run_id, []).append(one)
    for panel in panels:
        alike = {name: panel.conditions[name] for name in ("epoch", "n", "split", "pixels", "protocol", "deblur")}
        own = frame.loc[np.logical_and.reduce([frame[name] == value for name, value in alike.items()])]
        by_run = dict(iter(own.groupby("run_id", observed=True)))
        regimes = {
            curve.regime: [
                _seed(by_run[run.run_id], kept.get(run.run_id, []), alike) for run in curve.runs if run.run_id in by_run
            ]
            for curve in panel.curves
        }
        regimes = {regime: seeds for regime, seeds in regimes.items() if seeds and len(seeds[0].errors) > 1}
        if regimes:
            yield Calibrated(panel, regimes)


def _seed(rows: Any, kept: Sequence[KeptArrays], alike: Mapping[str, Any]) -> Seed:
    sigma_of = dict(zip(rows["blur"], rows["sigma"], strict=True))
    fitting = [one for one in kept if all(one.conditions[name] == value for name, value in alike.items())]
    of = {sigma_of[one.level]: one.arrays for one in fitting if one.level in sigma_of}
    return Seed(
        dict(sorted(zip(rows["sigma"], rows["value"], strict=True))),
        {sigma: arrays["reliability"] for sigma, arrays in of.items() if "reliability" in arrays},
        {sigma: arrays["coverage"] for sigma, arrays in of.items() if "coverage" in arrays},
    )


def calibration_figure(shown: Calibrated) -> Figure:
    """Three axes: calibration error over sigma; at one sigma, the reliability diagram, and accuracy against the share
    of images that are answered, the most confident first."""
    look = looks(shown.regimes)
    sigmas = sorted({sigma for seeds in shown.regimes.values() for seed in seeds for sigma in seed.errors})
    at = USUAL if USUAL in sigmas else sigmas[-1]
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(1, 3, PAGE, 2.3)
        error, diagram, answered = axes[0]
        for regime, seeds in shown.regimes.items():
            _errors(error, regime, seeds, look[regime])
            _reliability(diagram, regime, seeds, at, look[regime])
            _coverage(answered, regime, seeds, at, look[regime])
        sigma_axis(error, sigmas)
        error.set(xlabel="sigma of the test blur (pixels at 224 px)", ylabel="calibration error (%)")
        error.set_ylim(bottom=0)
        diagram.plot([0, 100], [0, 100], color=GREY, linewidth=0.7, linestyle=(0, (1, 1)), zorder=1)
        diagram.set(
            xlabel="mean confidence of a bin (%)", ylabel="right answers in it (%)", xlim=(0, 100), ylim=(0, 100)
        )
        answered.set(xlabel="images answered, surest first (%)", ylabel="top-1 accuracy (%)", xlim=(0, 101))
        answered.set_ylim(bottom=0)
        counts = seeds_text(len(seeds) for seeds in shown.regimes.values())
        entitle(error, "Calibration error", [f"n = {shown.panel.n:,} images, {counts}"])
        entitle(diagram, "Reliability", [f"sigma {at:g}; above the diagonal: under-confident"])
        entitle(answered, "Coverage", [f"sigma {at:g}; right end: all images"])
        handles = [Line2D([], [], **look[regime], label=regime) for regime in look]
        if any(len(seeds) > 1 for seeds in shown.regimes.values()):
            handles.append(Line2D([], [], color=GREY, linewidth=0.6, label="single seeds"))
        legend(figure, handles, 5)
    return figure


def _errors(axes: Axes, name: str, seeds: Sequence[Seed], look: Mapping[str, Any]) -> None:
    both = [sigma for sigma in seeds[0].errors if all(sigma in seed.errors for seed in seeds)]
    each = [[100 * seed.errors[sigma] for sigma in both] for seed in seeds]
    _lines(axes, name, [both] * len(each), each, look, marked(both))


def _reliability(axes: Axes, name: str, seeds: Sequence[Seed], at: float, look: Mapping[str, Any]) -> None:
    """Bins with less than one image in a hundred are left out: their share of right answers is chance."""
    bins = [seed.reliability[at] for seed in seeds if at in seed.reliability]
    if not bins:
        return
    whole = np.sum([np.column_stack([b[:, 0], b[:, :1] * b[:, 1:]]) for b in bins], axis=0)
    few = whole[:, 0] < max(whole[:, 0].sum() / 100, 1)
    confidence, right = (np.where(few, math.nan, 100 * whole[:, k] / np.maximum(whole[:, 0], 1)) for k in (1, 2))
    (line,) = axes.plot(confidence[~few], right[~few], **look, zorder=3, clip_on=False)
    show_values(line, name if len(bins) == 1 else f"{name}, {len(bins)} seeds together")


def _coverage(axes: Axes, name: str, seeds: Sequence[Seed], at: float, look: Mapping[str, Any]) -> None:
    curves = [seed.coverage[at] for seed in seeds if at in seed.coverage]
    if curves:
        _lines(axes, name, [c[:, 0] for c in curves], [100 * c[:, 1] for c in curves], look, [3, 7, 11, 15, 19])


def _lines(
    axes: Axes, name: str, x: Sequence[Any], each: Sequence[Any], look: Mapping[str, Any], markers: Sequence[int]
) -> None:
    if len(each) > 1:
        for values in each:
            axes.plot(x[0], values, color=look["color"], linewidth=0.4, alpha=0.7, zorder=2)
    (line,) = axes.plot(x[0], np.mean(each, axis=0), **look, markevery=list(markers), zorder=3, clip_on=False)
    show_values(line, name if len(each) == 1 else f"{name}, mean of {len(each)} seeds")
