"""The two figures of a report: accuracy over blur, and its ratio to the clear regime, a panel per dataset (and per
setting in which runs on it differ); beside them the study's published curves.

Figures are made without pyplot, so there is no global state and no display. The same frame gives the same bytes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from analysis.figures.style import (
    COLUMN,
    GREY,
    PAGE,
    STYLE,
    entitle,
    legend,
    looks,
    one_line,
    seeds_text,
    shape,
    wrapped,
)
from analysis.figures.values import show_values
from analysis.literature import BLURRY, CLEAR, STUDY_RESOLUTION, STUDY_SHORT, published_curves
from analysis.panels import Curve, Panel, drawable
from analysis.statistics.estimates import Over


def accuracy_figure(panels: Sequence[Panel]) -> Figure:
    """Top-1 over sigma, a panel per dataset and settings, with 95 % intervals; published curves are dotted."""
    curves = [curve for panel in panels for curve in panel.curves]
    look = looks(curve.regime for curve in curves)
    theirs = {panel.dataset: published_curves(panel.dataset) for panel in panels}
    highest = [100 * max(panel.largest_class, *_tops(panel.curves)) for panel in panels]
    highest += [top for panel in panels for top in _within(theirs[panel.dataset], panel.curves)]
    step = next(step for step in (5, 10, 20) if max(highest) <= 5 * step or step == 20)
    top = min(100, step * math.ceil(max(highest) / step))

    def draw(axes: Axes, panel: Panel) -> None:
        chance, share = 100 * panel.chance, 100 * panel.largest_class
        near = _differs(panel) and share - chance < 0.12 * top  # two labels would overlap
        _level(axes, chance, "--", "" if near else f"chance\n{chance:.1f} %", top)
        if _differs(panel):
            text = f"largest {share:.1f} %\nchance {chance:.1f} %" if near else f"largest class\n{share:.1f} %"
            _level(axes, share, "-.", text, top)
        for curve in panel.curves:
            _published(
                axes,
                curve.regime,
                theirs[panel.dataset].get(curve.regime, {}),
                _reach(panel.curves),
                look[curve.regime],
            )
            _curve(axes, curve, look[curve.regime], scale=100)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(FixedLocator(range(0, top + 1, step)))

    with matplotlib.rc_context(STYLE):
        lines: list[Artist] = [Line2D([], [], color=GREY, linewidth=0.9, linestyle="--", label="chance (1 / classes)")]
        if any(_differs(panel) for panel in panels):
            lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle="-.", label="share of the largest class"))
        compared = any(theirs[panel.dataset].get(curve.regime) for panel in panels for curve in panel.curves)
        lines += _explained(curves, compared)
        return _small_multiples(panels, draw, "top-1 accuracy (%)", look, lines, _levels(curves))


def ratio_figure(panels: Sequence[Panel]) -> Figure | None:
    """Accuracy divided by that of the clear regime, over sigma; logarithmic, so that twice and half are as far from 1.

    Drawn for blurry-to-clear and for other curricula, not for `blurry`. None if no panel has such a pair of regimes.
    """
    chosen = [[c for c in panel.ratios if c.regime != BLURRY and drawable(c)] for panel in panels]
    pairs = [(panel, curves) for panel, curves in zip(panels, chosen, strict=True) if curves]
    if not pairs:
        return None
    curves_of = {id(panel): curves for panel, curves in pairs}
    theirs = {panel.dataset: published_ratios(panel.dataset) for panel, _ in pairs}
    look = looks(curve.regime for panel in panels for curve in panel.curves)
    estimates = [e for _, curves in pairs for c in curves for e in c.points.values()]
    values = [e.value for e in estimates if e.value > 0]
    values += [ratio for panel, curves in pairs for ratio in _within(theirs[panel.dataset], curves)]

    def draw(axes: Axes, panel: Panel) -> None:
        ratio_axis(axes, values)
        curves = curves_of[id(panel)]
        for curve in curves:
            _published(
                axes, curve.regime, theirs[panel.dataset].get(curve.regime, {}), _reach(curves), look[curve.regime]
            )
            _curve(axes, curve, look[curve.regime], scale=1)

    drawn = [curve for _, curves in pairs for curve in curves]
    with matplotlib.rc_context(STYLE):
        shown = {regime: how for regime, how in look.items() if regime in {curve.regime for curve in drawn}}
        labels = {regime: f"{regime} / clear" for regime in shown}
        compared = any(theirs[panel.dataset].get(curve.regime) for panel, curves in pairs for curve in curves)
        lines = _explained(drawn, compared)
        with_ratio = [panel for panel, _ in pairs]
        return _small_multiples(with_ratio, draw, "accuracy ratio to clear", shown, lines, _levels(drawn), labels)


def ratio_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis, so that twice and half are as far from 1, with a line there."""
    # Intervals may reach far out where a handful of images is left; the values decide the axis.
    positive = [value for value in values if value > 0]
    low, high = min(0.5, 0.8 * min(positive)), max(2.0, 1.6 * max(positive))
    axes.set_yscale("log", base=2)
    axes.axhline(1, color=GREY, linewidth=0.9, zorder=1)
    axes.set_ylim(low, high)
    steps = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    axes.yaxis.set_major_locator(FixedLocator([2.0**k for k in steps if low <= 2.0**k <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


# --- parts ----------------------------------------------------------------------------------------------------------

# Dots: over objects; slanting lines: over seeds too. Each says another thing.
HATCHES: dict[Over, str | None] = {
    "images": None,
    "objects": "....",
    "seeds and images": "////",
    "seeds and objects": "//..",
    "seeds": "xxxx",
}
MEANINGS: dict[Over, str] = {
    "images": "95 % over images, one seed",
    "objects": "95 % over objects, one seed",
    "seeds and images": "95 % over seeds and images",
    "seeds and objects": "95 % over seeds and objects",
    "seeds": "95 % over seeds, same images",
}


def _explained(curves: Sequence[Curve], compared: bool) -> list[Artist]:
    """Entries of the legend for what is drawn beside the lines of our regimes."""
    points = [point for curve in curves for point in curve.points.values() if not math.isnan(point.low)]
    present = {point.over for point in points}
    handles: list[Artist] = [
        Patch(facecolor="#e8e8e8", edgecolor="#9a9a9a", hatch=hatch, linewidth=0, label=MEANINGS[over])
        for over, hatch in HATCHES.items() if over in present
    ]  # fmt: skip
    if any(curve.partial for curve in curves):
        handles.append(Line2D([], [], color=GREY, linestyle="", marker="o", markerfacecolor="white",
                              markeredgecolor=GREY, label="some of the seeds only"))  # fmt: skip
    if compared:
        handles.append(Line2D([], [], color=GREY, **THEIRS, label=f"published: {STUDY_SHORT}, {STUDY_RESOLUTION} px"))
    return handles


THEIRS: dict[str, Any] = {"linestyle": (0, (0.7, 1.1)), "linewidth": 1.0, "alpha": 0.9}


def _published(axes: Axes, regime: str, curve: Mapping[float, float], reach: float, look: dict[str, Any]) -> None:
    """The study's values, as far as ours reach: thin and dotted, without markers or intervals, for it gives none."""
    sigmas = [sigma for sigma in sorted(curve) if sigma <= reach]
    if sigmas:
        (line,) = axes.plot(sigmas, [curve[sigma] for sigma in sigmas], color=look["color"], **THEIRS, zorder=2.5)
        show_values(line, f"{regime}, published: {STUDY_SHORT}")


def published_ratios(dataset: str) -> dict[str, dict[float, float]]:
    """The study's top-1 divided by that of its clear regime, by regime and sigma (pixels at 224), where the latter is
    not 0; empty for datasets that are not of the study."""
    curves = published_curves(dataset)
    return {
        regime: {sigma: value / curves[CLEAR][sigma] for sigma, value in curve.items() if curves[CLEAR][sigma]}
        for regime, curve in curves.items()
    }


def _within(theirs: Mapping[str, Mapping[float, float]], curves: Sequence[Curve]) -> list[float]:
    """The published values that are drawn beside these curves."""
    reach, regimes = _reach(curves), [curve.regime for curve in curves]
    return [v for regime in regimes for sigma, v in theirs.get(regime, {}).items() if sigma <= reach]


def _levels(curves: Iterable[Curve]) -> list[float]:
    """All sigmas that these were measured at."""
    return sorted({sigma for curve in curves for sigma in curve.points})


def _reach(curves: Iterable[Curve]) -> float:
    """The most blur that these were measured at."""
    return max(_levels(curves))


def _tops(curves: Iterable[Curve]) -> list[float]:
    points = [point for curve in curves for point in curve.points.values()]
    return [point.value if math.isnan(point.high) else point.high for point in points]


def _differs(panel: Panel) -> bool:
    """Whether guessing the most frequent class beats chance visibly."""
    return panel.largest_class - panel.chance > 0.0005


def _small_multiples(
    panels: Sequence[Panel],
    draw: Callable[[Axes, Panel], None],
    ylabel: str,
    look: dict[str, dict[str, Any]],
    lines: Sequence[Artist],
    sigmas: Sequence[float],
    labels: dict[str, str] | None = None,
) -> Figure:
    rows, columns = shape(len(panels))
    width, height = {1: (COLUMN, 2.1), 2: (5.2, 2.1)}.get(columns, (PAGE, 1.75))
    details = [wrapped(panel.detail, round((width - 0.4) / columns * 20)) for panel in panels]
    below = [[*detail, *wrapped(_counts(panel), round((width - 0.4) / columns * 20))]
             for panel, detail in zip(panels, details, strict=True)]  # fmt: skip
    height += 0.11 * max(len(lines) for lines in below)
    regimes = [
        Line2D([], [], label=one_line((labels or {}).get(regime, regime)), **how) for regime, how in look.items()
    ]
    handles: list[Artist] = [*regimes, *lines]
    spare = rows * columns - len(panels)
    per_row = 1 if columns == 1 else 2 if columns == 2 else 3
    beside = spare > 0 and len(handles) <= 9 and rows > 1  # in the empty place, if it fits
    legend_rows = math.ceil(len(handles) / per_row)
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.02, hspace=0.03)
    figure = Figure(figsize=(width, rows * height + (0 if beside else 0.15 * legend_rows)), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
    for k, axes in enumerate(grid.flat):
        if k >= len(panels):
            axes.set_axis_off()
            continue
        panel = panels[k]
        draw(axes, panel)
        sigma_axis(axes, sigmas)
        axes.tick_params(labelbottom=k + columns >= len(panels))
        entitle(axes, panel.dataset, below[k])
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    figure.supxlabel(SIGMA_LABEL, fontsize=7.5)
    if beside:
        grid.flat[len(panels)].legend(handles=handles, loc="center left", frameon=False, handlelength=3.2)
    else:
        legend(figure, handles, per_row)
    return figure


SIGMA_LABEL = "blur of the test images: sigma (pixels at 224 px)"


def _counts(panel: Panel) -> str:
    objects = f" of {panel.objects:g} objects" if panel.objects > 0 else ""
    seeds = seeds_text(len(curve.seeds) for curve in panel.curves)
    return f"n = {panel.n:,} images{objects}, {panel.classes} classes, {seeds}"


def _curve(axes: Axes, curve: Curve, look: dict[str, Any], scale: float) -> None:
    whole = {sigma: point for sigma, point in curve.whole.items() if not math.isnan(point.value)}
    for over, hatch in HATCHES.items():
        band = {sigma: point for sigma, point in whole.items() if point.over == over}
        if not band:
            continue
        low, high = ([scale * getattr(point, name) for point in band.values()] for name in ("low", "high"))
        colour = to_rgb(look["color"])
        axes.fill_between(list(band), low, high, facecolor=(*colour, 0.16), linewidth=0, zorder=2)
        if hatch:  # by itself: in SVG, a face is as opaque as its hatch, which then is not seen
            axes.fill_between(list(band), low, high, facecolor="none", edgecolor=(*colour, 0.45), hatch=hatch,
                              linewidth=0, zorder=2)  # fmt: skip
    # A ratio of 0 lies infinitely far down a logarithmic axis: leave a gap.
    log = axes.get_yscale() == "log"
    sigmas = sorted(curve.whole)
    values = [scale * curve.whole[sigma].value for sigma in sigmas]
    values = [math.nan if log and value <= 0 else value for value in values]
    name = f"{curve.regime} / clear" if log else curve.regime
    spans = {sigma: (scale * point.low, scale * point.high) for sigma, point in curve.points.items()}
    (line,) = axes.plot(sigmas, values, **look, markevery=marked(sigmas), zorder=3, clip_on=False)
    show_values(line, name, spans)
    for sigma, point in curve.partial.items():  # of other seeds, so not on the line
        if math.isnan(point.value) or (log and point.value <= 0):
            continue
        if not math.isnan(point.low):
            axes.vlines(sigma, scale * point.low, scale * point.high, color=look["color"], linewidth=0.7, zorder=3)
        (line,) = axes.plot([sigma], [scale * point.value], marker=look["marker"], linestyle="",
                            markerfacecolor="white", markeredgecolor=look["color"], markeredgewidth=0.9,
                            zorder=4)  # fmt: skip
        show_values(line, f"{name}, {point.seeds} of {len(curve.seeds)} seeds", spans)


def marked(sigmas: Sequence[float]) -> list[int]:
    """Places in `sigmas` that have a marker: on each of many, it would hide the line; half an octave lies between."""
    places: list[int] = []
    for k, sigma in enumerate(sigmas):
        if not places or _octaves(sigma) - _octaves(sigmas[places[-1]]) > 0.4:
            places.append(k)
    return places


def _octaves(sigma: float) -> float:
    """Where sigma lies on the axis of `sigma_axis`."""
    return sigma if sigma < 1 else 1 + math.log2(sigma)


def _level(axes: Axes, at: float, linestyle: str, label: str, top: float) -> None:
    axes.axhline(at, color=GREY, linewidth=0.9, linestyle=linestyle, zorder=1)
    axes.annotate(label, (1, max(at, 0.03 * top)), (3, 0), ("axes fraction", "data"), textcoords="offset points",
                  va="center", fontsize=5.5, color=GREY, linespacing=1.0, annotation_clip=False)  # fmt: skip


def sigma_axis(axes: Axes, sigmas: Sequence[float]) -> None:
    """Octaves above 1, linear below, as blur levels are spaced; marks sigma 8, the blur of the study's training."""
    most = max(sigmas)
    if most > 4:
        axes.set_xscale("symlog", base=2, linthresh=1, linscale=1)
        axes.xaxis.set_major_locator(FixedLocator([0.0] + [2.0**k for k in range(math.floor(math.log2(most)) + 1)]))
    else:
        axes.xaxis.set_major_locator(
            FixedLocator(sigmas) if len(sigmas) <= 9 else MaxNLocator(9, steps=[1, 2, 2.5, 5, 10])
        )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    # A little air, so that the outermost markers do not lie on the frame.
    axes.set_xlim(min(sigmas) - 0.15, most * 1.12 if most > 4 else most + 0.15)
    if most >= 8:
        axes.axvline(8, color="#b5b5b5", linewidth=0.8, zorder=0)
        axes.annotate("sigma 8", (8, 1), (2, -1), ("data", "axes fraction"), textcoords="offset points", va="top",
                      fontsize=5.5, color=GREY)  # fmt: skip
