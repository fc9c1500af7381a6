"""Stages of training: accuracy by the weights that were kept after some epochs, at several levels of blur, and how its
ratio to the clear regime comes about."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from analysis.figures.accuracy import MEANINGS, ratio_axis
from analysis.figures.style import (
    GREY,
    GRID,
    MOST_LINES,
    PAGE,
    STYLE,
    dataset_looks,
    entitle,
    grid,
    legend,
    one_line,
    seeds_text,
    shape,
    wrapped,
)
from analysis.figures.values import show_values
from analysis.literature import BLURRY_TO_CLEAR
from analysis.panels import Curve, Panel, distinctions
from analysis.statistics.estimates import Estimate

MOST_SIGMAS = 6
_USUAL = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
_MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Stages:
    """Panels that differ in the epoch after which they were measured alone."""

    dataset: str
    model: str
    detail: str
    panels: Mapping[int, Panel]
    """By epoch, in order; at least two."""

    @property
    def epochs(self) -> int:
        """Of the whole training."""
        return next(iter(self.panels.values())).epochs

    @property
    def last(self) -> Panel:
        """The panel after the latest epoch."""
        return self.panels[max(self.panels)]

    @property
    def title(self) -> str:
        """The dataset, with `detail` in parentheses where there is any."""
        return f"{self.dataset} ({self.detail})" if self.detail else self.dataset

    def curves(self, regime: str, ratio: bool = False) -> dict[int, Curve]:
        """That of a regime (or its ratio to clear), by epoch."""
        found = {epoch: panel.ratio(regime) if ratio else panel.curve(regime) for epoch, panel in self.panels.items()}
        return {epoch: curve for epoch, curve in found.items() if curve is not None}

    def sigmas(self) -> list[float]:
        """Those that were measured at two stages or more."""
        found = [{s for curve in panel.curves for s in curve.points} for panel in self.panels.values()]
        return sorted(s for s in set().union(*found) if sum(s in of for of in found) > 1)


def stages(panels: Sequence[Panel]) -> list[Stages]:
    """Of these, those that were measured at several stages, in their order."""
    groups: dict[tuple[Any, ...], dict[int, Panel]] = {}
    for panel in panels:
        key = tuple(repr(value) for name, value in panel.alike.items() if name != "epoch")
        groups.setdefault(key, {})[int(panel.conditions["epoch"])] = panel
    found = [dict(sorted(group.items())) for group in groups.values() if len(group) > 1]
    alike = [{n: v for n, v in next(iter(group.values())).alike.items() if n != "epoch"} for group in found]
    return [
        Stages(about["dataset"], about["model"], detail, group)
        for about, detail, group in zip(alike, distinctions(alike), found, strict=True)
    ]


def stages_figure(one: Stages) -> Figure:
    """Top-1 over the epoch, a panel per regime, a line per sigma; bars are 95 % intervals."""
    regimes = list(dict.fromkeys(curve.regime for panel in one.panels.values() for curve in panel.curves))
    sigmas = _few(one.sigmas())
    rows, columns = shape(len(regimes))
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(sigmas)))
    last = one.last
    width = {1: 3.4, 2: 5.2}.get(columns, PAGE)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(rows, columns, width, 2.2 if rows == 1 else 1.9, sharex=True, sharey=True)
        points: list[Estimate] = []
        for k, place in enumerate(axes.flat):
            if k >= len(regimes):
                place.set_axis_off()
                continue
            curves = one.curves(regimes[k])
            for j, (sigma, colour) in enumerate(zip(sigmas, colours, strict=True)):
                at = {epoch: c.points[sigma] for epoch, c in curves.items() if sigma in c.points}
                points += _line(
                    place, f"sigma {sigma:g}", at, {"color": colour, "marker": _MARKERS[j % len(_MARKERS)]}, scale=100
                )
            place.axhline(100 * last.chance, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
            place.grid(axis="y", color=GRID, linewidth=0.6)
            place.set_axisbelow(True)
            place.xaxis.set_major_locator(_stage_ticks([*one.panels]))
            place.tick_params(labelbottom=k + columns >= len(regimes))
            seeds = seeds_text(len(curve.seeds) for curve in curves.values())
            entitle(place, regimes[k], wrapped(f"n = {last.n:,} images, {seeds}", round((width - 0.4) / columns * 20)))
        axes[0, 0].set_ylim(0, _top(points))
        axes[0, 0].set_xlim(0, 1.04 * max(one.panels))
        figure.supxlabel(f"stage: epochs trained, of {one.epochs}", fontsize=7.5)
        for place in axes[:, 0]:
            place.set_ylabel("top-1 accuracy (%)")
        handles: list[Artist] = [Line2D([], [], color=colour, marker=_MARKERS[j % len(_MARKERS)], label=f"sigma {s:g}")
                                 for j, (s, colour) in enumerate(zip(sigmas, colours, strict=True))]  # fmt: skip
        handles += [*bar_handles(points), Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label="chance")]
        legend(figure, handles, 2 if columns == 1 else 4)
    return figure


def stage_ratio_figure(found: Sequence[Stages], regime: str = BLURRY_TO_CLEAR) -> Figure | None:
    """Accuracy of a regime divided by that of clear over the stage, all datasets on one axis, a panel per sigma. None
    where there is no such ratio at two stages, or where there are more than MOST_LINES."""
    drawn = {sigma: _ratios(found, regime, sigma) for sigma in sorted({s for one in found for s in one.sigmas()})}
    with_points = {sigma: lines for sigma, lines in drawn.items() if lines}
    if not with_points:
        return None
    sigmas = [sigma for sigma in (0.0, 4.0, 8.0) if sigma in with_points] or _few([*with_points])[:3]
    present = [one for one in found if any(one.title in with_points[sigma] for sigma in sigmas)]
    if len(present) > MOST_LINES:
        return None
    looks = dataset_looks(line_names(present).values())
    relative = len({one.epochs for one in present}) > 1
    width = {1: 3.4, 2: 5.2}.get(len(sigmas), PAGE)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(1, len(sigmas), width, 2.4, sharex=True, sharey=True)
        points: list[Estimate] = []
        for place, sigma in zip(axes[0], sigmas, strict=True):
            for one in present:
                at = with_points[sigma].get(one.title, {})
                scaled = {100 * epoch / one.epochs if relative else epoch: point for epoch, point in at.items()}
                name = line_names(present)[one.title]
                points += _line(place, name, scaled, looks[name], log=True)
            entitle(place, "sharp" if sigma == 0 else f"sigma {sigma:g}", [])
        for place in axes[0]:
            ratio_axis(place, [point.value for point in points])
            if not relative:
                place.xaxis.set_major_locator(_stage_ticks(sorted({e for one in present for e in one.panels})))
        axes[0, 0].set_xlim(0, 104 if relative else 1.04 * max(one.epochs for one in present))
        figure.supxlabel("stage: epochs trained (%)" if relative else "stage: epochs trained", fontsize=7.5)
        axes[0, 0].set_ylabel("accuracy ratio to clear")
        handles: list[Artist] = [
            Line2D([], [], label=one_line(f"{name}: {_counts(one, regime)}"), **looks[name])
            for one, name in zip(present, line_names(present).values(), strict=True)
        ]
        handles += bar_handles(points)
        legend(figure, handles, 2, title=one_line(f"{regime} / clear"), title_fontsize=7.5)
    return figure


def line_names(found: Sequence[Stages | Panel]) -> dict[str, str]:
    """What a line is called, by its title: the dataset alone where that is enough."""
    titles = [one.title for one in found]
    datasets = [one.dataset for one in found]
    return {title: name if datasets.count(name) == 1 else title for title, name in zip(titles, datasets, strict=True)}


def _counts(one: Stages, regime: str) -> str:
    panel = one.last
    seeds = seeds_text(len(curve.seeds) for curve in one.curves(regime, ratio=True).values())
    return f"n = {panel.n:,}, {seeds}"


def _ratios(found: Sequence[Stages], regime: str, sigma: float) -> dict[str, dict[int, Estimate]]:
    ratios = {}
    for one in found:
        curves = one.curves(regime, ratio=True)
        at = {epoch: curve.points[sigma] for epoch, curve in curves.items() if sigma in curve.points}
        if sum(point.value > 0 for point in at.values()) > 1:
            ratios[one.title] = at
    return ratios


def _line(
    axes: Axes,
    name: str,
    at: Mapping[int, Estimate] | Mapping[float, Estimate],
    look: dict[str, Any],
    scale: float = 1,
    log: bool = False,
) -> list[Estimate]:
    """A line with bars, with a gap where a value is undefined; returns its points."""
    values = [math.nan if log and not point.value > 0 else scale * point.value for point in at.values()]
    (line,) = axes.plot([*at], values, **look, zorder=3, clip_on=False)
    show_values(line, name, {x: (scale * point.low, scale * point.high) for x, point in at.items()})
    bars = {x: point for x, point in at.items() if not math.isnan(point.low) and not (log and point.low <= 0)}
    axes.vlines([*bars], [scale * p.low for p in bars.values()], [scale * p.high for p in bars.values()],
                color=look["color"], linewidth=0.7, alpha=0.7, zorder=2)  # fmt: skip
    return [*at.values()]


def bar_handles(points: Sequence[Estimate]) -> list[Artist]:
    """What the bars are, each kind by an entry."""
    over = dict.fromkeys(point.over for point in points if not math.isnan(point.low))
    return [Line2D([], [], color=GREY, linestyle="", marker="|", markersize=8, markeredgecolor=GREY,
                   markeredgewidth=0.8, label=MEANINGS[kind]) for kind in over]  # fmt: skip


def _few(sigmas: Sequence[float]) -> list[float]:
    usual = [sigma for sigma in sigmas if sigma in _USUAL]
    chosen = usual if len(usual) > 1 else [*sigmas]
    return chosen[:: math.ceil(len(chosen) / MOST_SIGMAS)]


def _stage_ticks(epochs: Sequence[int]) -> Any:
    return FixedLocator(epochs) if len(epochs) <= 7 else MaxNLocator(6, integer=True, steps=[1, 2, 5, 10])


def _top(points: Sequence[Estimate]) -> float:
    """The values decide the axis: intervals may reach far out where there are few images, or two seeds."""
    value = max((100 * point.value for point in points), default=100)
    high = max((100 * point.high for point in points if not math.isnan(point.high)), default=value)
    return min(100.0, 10 * math.ceil(min(high, 1.6 * value) / 10) or 10.0)
