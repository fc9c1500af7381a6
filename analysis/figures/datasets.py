"""The study's summary: by how much another regime beats clear at each blur, all datasets on one axis."""

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.accuracy import SIGMA_LABEL, THEIRS, marked, published_ratios, ratio_axis, sigma_axis
from analysis.figures.stages import bar_handles, line_names
from analysis.figures.style import (
    COLUMN,
    GREY,
    MOST_LINES,
    PAGE,
    STYLE,
    dataset_looks,
    entitle,
    grid,
    legend,
    one_line,
    seeds_text,
)
from analysis.figures.values import show_values
from analysis.literature import BLURRY, REGIMES, STUDY_RESOLUTION, STUDY_SHORT, study_order
from analysis.panels import Panel, drawable
from analysis.statistics.estimates import Estimate

MOST = 3
"""Regimes; others are in the figure that has a panel per dataset."""


def datasets_figure(panels: Sequence[Panel]) -> Figure | None:
    """Ratio of accuracies over sigma, a line per dataset, a panel per regime; bars are 95 % intervals, thin dotted
    lines the study's values. None where fewer than two datasets have such a ratio, or more than MOST_LINES lines."""
    curves = {(panel.title, curve.regime): curve for panel in panels for curve in panel.ratios
              if curve.regime != BLURRY and drawable(curve)}  # fmt: skip
    several = [r for r in dict.fromkeys(regime for _, regime in curves)
               if sum(regime == r for _, regime in curves) > 1]  # fmt: skip
    regimes = sorted(several, key=study_order(REGIMES))[:MOST]
    if not regimes:
        return None
    drawn = [panel for panel in panels if any((panel.title, regime) in curves for regime in regimes)]
    if len({panel.dataset for panel in drawn}) < 2 or len(drawn) > MOST_LINES:
        return None
    names = line_names(drawn)
    looks = dataset_looks(names.values())
    sigmas = sorted({s for (_, regime), curve in curves.items() if regime in regimes for s in curve.points})
    width = {1: COLUMN, 2: 5.2}.get(len(regimes), PAGE)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(1, len(regimes), width, 2.3 + 0.15 * math.ceil((len(drawn) + 2) / len(regimes)),
                            sharex=True, sharey=True)  # fmt: skip
        values, points, compared = [], list[Estimate](), False
        for place, regime in zip(axes[0], regimes, strict=True):
            for panel in drawn:
                curve = curves.get((panel.title, regime))
                if curve is None:
                    continue
                look = looks[names[panel.title]]
                at = {s: point for s, point in curve.points.items() if point.value > 0}
                shown = marked([*at])
                (line,) = place.plot([*at], [point.value for point in at.values()], **look, markevery=shown, zorder=3)
                show_values(line, names[panel.title], {s: (point.low, point.high) for s, point in at.items()})
                bars = {s: point for k, (s, point) in enumerate(at.items()) if k in shown and point.low > 0}
                place.vlines([*bars], [p.low for p in bars.values()], [p.high for p in bars.values()],
                             color=look["color"], linewidth=0.7, alpha=0.7, zorder=2)  # fmt: skip
                points += at.values()
                theirs = published_ratios(panel.dataset).get(regime, {})
                beside = {s: value for s, value in sorted(theirs.items()) if s <= max(sigmas)}
                if beside:
                    (line,) = place.plot([*beside], [*beside.values()], color=look["color"], **THEIRS, zorder=2.5)
                    show_values(line, f"{panel.dataset}, published: {STUDY_SHORT}")
                    compared = True
                values += [*beside.values(), *(point.value for point in at.values())]
            entitle(place, f"{regime} / clear", [])
        for place in axes[0]:
            ratio_axis(place, values)
            sigma_axis(place, sigmas)
        figure.supxlabel(SIGMA_LABEL, fontsize=7.5)
        axes[0, 0].set_ylabel("accuracy ratio to clear")
        handles: list[Artist] = [
            Line2D([], [], **looks[name], label=one_line(f"{name}: {_counts(panel, regimes)}"))
            for panel in drawn
            for name in [names[panel.title]]
        ]
        handles += bar_handles(points)
        if compared:
            handles.append(
                Line2D([], [], color=GREY, **THEIRS, label=f"published: {STUDY_SHORT}, {STUDY_RESOLUTION} px")
            )
        legend(figure, handles, len(regimes))
    return figure


def _counts(panel: Panel, regimes: Sequence[str]) -> str:
    return f"n = {panel.n:,}, {seeds_text(len(curve.seeds) for r in regimes if (curve := panel.ratio(r)))}"
