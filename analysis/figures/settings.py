"""Accuracy against a setting, whichever setting that is: a chart a dataset and level of blur."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from analysis.figures.stages import bar_handles
from analysis.figures.style import GREY, PAGE, STYLE, entitle, grid, legend, looks, one_line, wrapped
from analysis.figures.values import show_values
from analysis.panels import Panel
from analysis.statistics.estimates import Estimate
from blurtrain.settings.labels import NAMES, short_names, shown

LEVELS = (0.0, 8.0)
"""Sigmas; where not all were measured at the second, the largest of all."""
MOST_ROWS = 6
_WORDS = 30
"""Letters of a value that an axis shows."""


def settings_figure(panels: Sequence[Panel], name: str, others: Sequence[str]) -> Figure | None:
    """Top-1 accuracy against the setting `name`, a line for each combination of regime and `others` (names of
    `Panel.alike`), in a chart for each dataset and level; bars are 95 % intervals.

    None where no dataset has two values of it in the same combination.
    """
    lines: dict[str, dict[str, dict[Any, dict[float, Estimate]]]] = {}
    several = len({curve.regime for panel in panels for curve in panel.curves}) > 1
    titles = short_names([name, *others])
    for panel in panels:
        for curve in panel.curves:
            about = ", ".join(
                [*([curve.regime] if several else []), *(_named(panel, other, titles) for other in others)]
            )
            about = about or curve.regime
            of_line = lines.setdefault(panel.dataset, {}).setdefault(about, {})
            of_line[_plain(panel.alike[name])] = curve.points
    lines = {dataset: {about: of for about, of in own.items() if len(of) > 1} for dataset, own in lines.items()}
    lines = {dataset: own for dataset, own in lines.items() if own}
    levels = _levels([points for own in lines.values() for of in own.values() for points in of.values()])
    if not lines or not levels:
        return None
    drawn = dict(list(lines.items())[:MOST_ROWS])
    values = list(dict.fromkeys(value for own in drawn.values() for of in own.values() for value in of))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numeric else values
    look = looks(about for own in drawn.values() for about in own)
    with matplotlib.rc_context(STYLE):
        width = PAGE if len(levels) > 1 else PAGE / 2
        entries = 0.15 * (len(look) + 2) if len(look) <= 12 else 0.3
        figure, axes = grid(len(drawn), len(levels), width, 2.0 + entries / len(drawn), sharex=True, sharey="row")
        points: list[Estimate] = []
        for row, (dataset, own) in zip(axes, drawn.items(), strict=True):
            for place, level in zip(row, levels, strict=True):
                entitle(
                    place, dataset, ["sharp test images" if level == 0 else f"test images blurred by sigma {level:g}"]
                )
                for k, (about, of) in enumerate(own.items()):
                    beside = 0.0 if numeric else (k - (len(own) - 1) / 2) * min(0.1, 0.7 / len(own))
                    here = {value: points_at[level] for value, points_at in of.items() if level in points_at}
                    points += _line(place, values, numeric, beside, one_line(about), here, look[about])
                _ticks(place, values, numeric)
            row[0].set_ylabel("top-1 accuracy (%)")
        figure.supxlabel(one_line(name), fontsize=7.5)
        if len(look) <= 12:
            handles = [Line2D([], [], label=one_line(about), **how) for about, how in look.items()]
            legend(figure, [*handles, *bar_handles(points)], 3)
    return figure


def _line(
    axes: Axes,
    values: Sequence[Any],
    numeric: bool,
    beside: float,
    called: str,
    of: dict[Any, Estimate],
    look: dict[str, Any],
) -> list[Estimate]:
    """beside: how far to the right, where values have no scale and lines would hide one another."""
    known = [value for value in values if value in of]
    at = [float(value) if numeric else values.index(value) + beside for value in known]
    points = [of[value] for value in known]
    style = look if numeric else look | {"linestyle": ""}
    (line,) = axes.plot(at, [100 * point.value for point in points], **style, zorder=3)
    show_values(line, called, {x: (100 * p.low, 100 * p.high) for x, p in zip(at, points, strict=True)})
    bars = [(x, point) for x, point in zip(at, points, strict=True) if not math.isnan(point.low)]
    axes.vlines([x for x, _ in bars], [100 * p.low for _, p in bars], [100 * p.high for _, p in bars],
                color=look["color"], linewidth=0.7, alpha=0.7, zorder=2)  # fmt: skip
    return points


def _ticks(axes: Axes, values: Sequence[Any], numeric: bool) -> None:
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.5)
    if not numeric:
        axes.set_xticks(range(len(values)), ["\n".join(wrapped(_word(v), _WORDS)) for v in values], color=GREY)
        axes.tick_params(axis="x", rotation=0 if sum(len(_word(v)) for v in values) < 40 else 30)
        axes.set_xlim(-0.5, len(values) - 0.5)
        return
    if min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(values) <= 6:
        axes.xaxis.set_major_locator(FixedLocator([float(value) for value in values]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{value:g}" for value in values])


def _levels(found: Sequence[dict[float, Estimate]]) -> list[float]:
    """Of LEVELS those that all were measured at, or the least and the largest of all."""
    common = sorted(set.intersection(*(set(points) for points in found))) if found else []
    chosen = [level for level in LEVELS if level in common]
    return chosen if len(chosen) == len(LEVELS) else list(dict.fromkeys([*common[:1], *common[-1:]]))


def _named(panel: Panel, name: str, titles: dict[str, str]) -> str:
    return _word(panel.alike[name]) if name in NAMES else f"{titles[name]} {_word(panel.alike[name])}"


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value == value else _word(value)


def _word(value: Any) -> str:
    return shown(value.item() if hasattr(value, "item") else value)
