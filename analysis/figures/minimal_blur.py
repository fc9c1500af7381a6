"""How much blur predictions withstand: the share of the images whose prediction has not changed yet, over the width of
the kernel, and over the loss of quality of the gentlest one.

Lines are means over seeds, thin ones single seeds; of one seed, a band is the 95 % interval over images, point by
point. In numbers, a line a regime: the median ("more" where more than half of the images are left at the end), and how
many images (of all seeds) are left at some widths.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from analysis.collecting.collection import Collection
from analysis.collecting.kept_arrays import kept_arrays
from analysis.figures.style import GREY, GRID, PAGE, SMALL, STYLE, entitle, grid, legend, looks, one_line, seeds_text
from analysis.panels import Panel

MEASURE = "minimal-blur"
SHOWN = {
    "gaussian": ("Gaussian", "sigma (pixels at 224 px)"),
    "disk": ("Defocus", "radius of the disk (pixels at 224 px)"),
    "any": ("Any of the kernels", "loss of quality (1 - SSIM)"),
}
"""Levels that are drawn, each with its title and what it is drawn over."""
LOSSES = (0.0, 0.2, 0.4, 0.6, 0.8)
ALIKE = ("epoch", "n", "split", "pixels", "protocol", "deblur")
VALUE, AT_RISK, EVENTS, LEFT, LOW, HIGH = range(6)
"""Columns of a curve."""


@dataclass(frozen=True)
class Withstood:
    """What was measured of the regimes of one panel."""

    panel: Panel
    curves: Mapping[str, Mapping[str, Sequence[NDArray[np.float64]]]]
    """By level and regime, the curves [k, 6] of its seeds."""


def withstood(panels: Sequence[Panel], runs: Collection) -> Iterator[Withstood]:
    """The panels of which minimal blur was measured, with its usual options."""
    epochs = {row["run_id"]: int(row["epochs"]) for panel in panels for row in _rows(panel, runs)}
    kept: dict[tuple[str, str], list[tuple[Mapping[str, Any], NDArray[np.float64]]]] = {}
    for one in kept_arrays(runs.folder, epochs, MEASURE):
        if "survival" in one.arrays:
            kept.setdefault((one.run_id, one.level), []).append((one.conditions, one.arrays["survival"]))
    for panel in panels:
        alike = {name: panel.conditions[name] for name in ALIKE}

        def of(run_id: str, level: str, alike: Mapping[str, Any] = alike) -> list[NDArray[np.float64]]:
            found = kept.get((run_id, level), [])
            return [curve for about, curve in found if all(about[name] == value for name, value in alike.items())]

        curves = {
            level: {
                regime.regime: seeds
                for regime in panel.curves
                if (seeds := [curve for run in regime.runs for curve in of(run.run_id, level)])
            }
            for level in SHOWN
        }
        curves = {level: of_regimes for level, of_regimes in curves.items() if of_regimes}
        if curves:
            yield Withstood(panel, curves)


def _rows(panel: Panel, runs: Collection) -> list[dict[str, Any]]:
    own = {run.run_id for curve in panel.curves for run in curve.runs}
    return [row for row in runs.rows if row["run_id"] in own]


def withstood_figure(shown: Withstood) -> Figure:
    """A panel a level."""
    regimes = list(dict.fromkeys(regime for of in shown.curves.values() for regime in of))
    look = looks(regimes)
    regimes = [regime for regime in look if regime in regimes]
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(1, len(shown.curves), PAGE, 2.35 + 0.11 * len(regimes), sharey=True)
        for place, (level, of_regimes) in zip(axes[0], shown.curves.items(), strict=True):
            title, over = SHOWN[level]
            for regime, seeds in of_regimes.items():
                _curve(place, seeds, look[regime])
            _axis(place, level, of_regimes)
            _in_numbers(place, [(of_regimes.get(regime, []), look[regime]["color"]) for regime in regimes])
            place.axhline(50, color=GREY, linewidth=0.6, linestyle=(0, (1, 1)), zorder=1)
            place.grid(axis="y", color=GRID, linewidth=0.6)
            place.set_axisbelow(True)
            place.set_xlabel(over, labelpad=4 + 7.5 * (len(regimes) + 1))
            n = shown.panel.n
            entitle(place, title, [f"n = {n:,} images, {seeds_text(len(seeds) for seeds in of_regimes.values())}"])
        axes[0, 0].set_ylabel("prediction not changed (%)")
        axes[0, 0].set_ylim(0, 102)
        handles = [Line2D([], [], **look[regime], label=one_line(regime)) for regime in regimes]
        if any(len(seeds) > 1 for of in shown.curves.values() for seeds in of.values()):
            handles.append(Line2D([], [], color=GREY, linewidth=0.6, label="single seeds"))
        legend(figure, handles, 5)
    return figure


def _curve(axes: Axes, seeds: Sequence[NDArray[np.float64]], look: Mapping[str, Any]) -> None:
    at = np.unique(np.concatenate([curve[:, VALUE] for curve in seeds]))
    if not len(at):  # no prediction has changed
        return
    each = np.array([share_left(curve, at) for curve in seeds])
    if len(each) > 1:
        for values in each:
            axes.step(at, 100 * values, where="post", color=look["color"], linewidth=0.4, alpha=0.7, zorder=2)
    else:
        low, high = (100 * seeds[0][:, column] for column in (LOW, HIGH))
        axes.fill_between(at, low, high, step="post", color=look["color"], alpha=0.15, linewidth=0, zorder=1)
    plain = {name: value for name, value in look.items() if name != "marker"}
    mean = np.concatenate([[1.0], each.mean(0)])
    axes.step(np.concatenate([[at[0] / 1e3], at]), 100 * mean, where="post", **plain, zorder=3)
    few = np.searchsorted(at, np.quantile(at, [0.2, 0.5, 0.8]))
    axes.plot(at[few], 100 * each.mean(0)[few], **{**look, "linestyle": ""}, zorder=4, clip_on=False)


def share_left(curve: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """[k]: the share, in 0..1, of the images whose value is larger than each of `at` [k], by a curve as
    `Survival.table` gives it."""
    shares = np.concatenate([[1.0], curve[:, LEFT]])
    found: NDArray[np.float64] = shares[np.searchsorted(curve[:, VALUE], at, side="right")]
    return found


def _axis(axes: Axes, level: str, of_regimes: Mapping[str, Sequence[NDArray[np.float64]]]) -> None:
    values = np.concatenate([curve[:, VALUE] for seeds in of_regimes.values() for curve in seeds])
    most = float(values.max()) if len(values) else 1.0
    if level == "any":
        axes.set_xlim(0, min(1.0, max(1.05 * most, 0.1)))
        axes.xaxis.set_major_locator(FixedLocator(LOSSES))
    else:
        least = float(values.min()) if len(values) else 0.5
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(-1, 8)]))
        axes.set_xlim(min(least, 1.0) / 1.05, max(most * 1.05, 2.0))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _in_numbers(axes: Axes, lines: Sequence[tuple[Sequence[NDArray[np.float64]], Any]]) -> None:
    """For each regime its median, and, beneath the ticks, how many images are left there."""
    low, high = axes.get_xlim()
    ticks = [float(tick) for tick in axes.xaxis.get_major_locator()() if low <= tick <= high]
    write: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, "annotation_clip": False}
    axes.annotate("images left", (0, 0), (0, -14), "axes fraction", color=GREY, va="top", **write)
    axes.annotate("median", (0, 0), (4, 4 + 7.5 * len(lines)), "axes fraction", color=GREY, **write)
    for k, (seeds, colour) in enumerate(lines):
        if not seeds:
            continue
        above = 4 + 7.5 * (len(lines) - 1 - k)
        axes.annotate(_median(seeds), (0, 0), (4, above), "axes fraction", color=colour, **write)
        for tick in ticks:
            left = sum(_left(curve, tick) for curve in seeds)
            axes.annotate(f"{left}", (tick, 0), (0, -14 - 7.5 * (k + 1)), ("data", "axes fraction"), color=colour,
                          ha="center", va="top", **write)  # fmt: skip


def _left(curve: NDArray[np.float64], at: float) -> int:
    """Images whose value is larger than `at`, as far as is known."""
    if not len(curve):
        return 0
    later = np.flatnonzero(curve[:, VALUE] > at)
    return int(curve[later[0], AT_RISK] if len(later) else curve[-1, AT_RISK] - curve[-1, EVENTS])


def _median(seeds: Sequence[NDArray[np.float64]]) -> str:
    """Of one seed with its interval, of several the lowest and the highest."""
    if len(seeds) == 1:
        median, *ends = (_shown(seeds[0], column) for column in (LEFT, LOW, HIGH))
        return f"{median} ({' – '.join(dict.fromkeys(ends))})"
    ordered = sorted(seeds, key=lambda curve: _crossing(curve, LEFT))
    return " – ".join(dict.fromkeys(_shown(curve, LEFT) for curve in (ordered[0], ordered[-1])))


def _shown(curve: NDArray[np.float64], column: int) -> str:
    value = _crossing(curve, column)
    return "more" if np.isinf(value) else f"{value:.2g}"


def _crossing(curve: NDArray[np.float64], column: int) -> float:
    below = np.flatnonzero(curve[:, column] <= 0.5 + 1e-12)
    return float(curve[below[0], VALUE]) if len(below) else np.inf
