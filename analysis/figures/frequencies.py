"""Accuracy over spatial frequency: on low-, high- and band-passed test images, against the cut-off."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.figures.style import COLUMN, GREY, PAGE, STYLE, entitle, grid, legend, looks, one_line, seeds_text
from analysis.panels import Curve, Panel
from analysis.statistics.estimates import Estimate
from blurtrain.blur.bands import BandPass, HighPass, LowPass
from blurtrain.blur.blurs import Blur
from blurtrain.errors import BlurtrainError

KINDS: dict[type[Blur], str] = {LowPass: "low-pass", BandPass: "band-pass", HighPass: "high-pass"}
Filter = tuple[str, int, str]
"""Low-, band- or high-pass; its order; and the mean that is put back."""


def is_drawable(panel: Panel) -> bool:
    """Whether there are two points of one filter to draw a line through."""
    return any(len(levels) > 1 for levels in filters(panel).values())


def filters(panel: Panel) -> dict[Filter, dict[str, tuple[float, float]]]:
    """The levels of each filter, by their labels, from low to high: its lower and its upper cut-off (0, inf: none)."""
    found: dict[Filter, dict[str, tuple[float, float]]] = {}
    for label in panel.others:
        if not label.startswith(("lowpass-", "bandpass-", "highpass-")):
            continue
        try:
            blur = Blur.parse(label)
        except BlurtrainError:  # of a later version
            continue
        if isinstance(blur, LowPass | HighPass | BandPass):
            low, high = blur.limits()
            kind = (KINDS[type(blur)], blur.order, getattr(blur, "mean", "own"))
            found.setdefault(kind, {})[label] = (low or 0.0, high or math.inf)
    order = [*KINDS.values()]
    kinds = sorted(found, key=lambda kind: (order.index(kind[0]), kind[1:]))
    return {kind: dict(sorted(found[kind].items(), key=lambda item: item[1])) for kind in kinds}


def frequencies_figure(panel: Panel) -> Figure:
    """Top-1 against cycles per image, a part a filter, a line a regime, with 95 % intervals; chance is dashed, and what
    is right of sharp images dotted."""
    parts = filters(panel)
    look = looks(curve.regime for curve in panel.curves)
    tops = [e.value if math.isnan(e.high) else e.high for c in panel.curves for e in (*c.others.values(), *_sharp(c))]
    top = min(100, 10 * math.ceil(10 * max([*tops, panel.chance])))
    with matplotlib.rc_context(STYLE):
        width = {1: COLUMN, 2: 5.2}.get(len(parts), PAGE)
        figure, axes = grid(1, len(parts), width, 2.6, sharey=True)
        for place, (kind, levels) in zip(axes[0], parts.items(), strict=True):
            _filter(place, panel, levels, look)
            place.set_ylim(0, top)
            place.set_xlabel("band (cycles per image)" if kind[0] == "band-pass" else "cut-off (cycles per image)")
            entitle(place, kind[0], [f"order {kind[1]}" + (", grey mean" if kind[2] == "grey" else "")])
        axes[0, 0].set_ylabel("top-1 accuracy (%)")
        lines = [Line2D([], [], label=one_line(regime), **how) for regime, how in look.items()]
        lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle="--",
                            label=f"chance ({100 * panel.chance:.1f} %)"))  # fmt: skip
        if any(_sharp(curve) for curve in panel.curves):
            lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="sharp images"))
        seeds = seeds_text(len(curve.seeds) for curve in panel.curves)
        figure.supxlabel(f"n = {panel.n:,} images, {panel.classes} classes, {seeds}", fontsize=6, color=GREY)
        legend(figure, lines, 3)
    return figure


def _filter(
    axes: Axes, panel: Panel, levels: Mapping[str, tuple[float, float]], look: Mapping[str, dict[str, Any]]
) -> None:
    at = {label: _place(*limits) for label, limits in levels.items()}
    axes.axhline(100 * panel.chance, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
    for curve in panel.curves:
        how = look[curve.regime]
        for estimate in _sharp(curve):
            axes.axhline(100 * estimate.value, color=how["color"], linewidth=0.9, linestyle=":", zorder=1)
        own = {label: curve.others[label] for label in levels if label in curve.others}
        if not own:
            continue
        x = [at[label] for label in own]
        values = [100 * estimate.value for estimate in own.values()]
        axes.plot(x, values, **how, zorder=3, clip_on=False)
        for label, estimate in own.items():
            low, high = levels[label]
            if low and not math.isinf(high):
                axes.hlines(100 * estimate.value, low, high, color=how["color"], linewidth=0.9, zorder=2)
        axes.fill_between(x, [100 * e.low for e in own.values()], [100 * e.high for e in own.values()],
                          color=how["color"], alpha=0.16, linewidth=0, zorder=2)  # fmt: skip
    axes.set_xscale("log", base=2)
    ticks: Sequence[float] = sorted(
        {*at.values()} if not _are_bands(levels) else {c for pair in levels.values() for c in pair}
    )
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _are_bands(levels: Mapping[str, tuple[float, float]]) -> bool:
    return all(low and not math.isinf(high) for low, high in levels.values())


def _place(low: float, high: float) -> float:
    """Where a level stands: at its cut-off, or in the middle of its band, in octaves."""
    return high if not low else low if math.isinf(high) else math.sqrt(low * high)


def _sharp(curve: Curve) -> list[Estimate]:
    return [curve.points[0.0]] if 0.0 in curve.points else []
