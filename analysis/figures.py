"""The two figures of a report: accuracy over blur, and its ratio to the clear regime, a panel per dataset.

Figures are made without pyplot, so there is no global state and no display. The same frame gives the same bytes.
"""

import io
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.literature import BLURRY, BLURRY_TO_CLEAR, CLEAR, REGIMES, study_order
from analysis.panels import Curve, Panel, drawable

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so a figure is the same everywhere
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.5,
    "svg.hashsalt": "blurtrain",
}
GREY = "#6b6b6b"

# Okabe & Ito's colours (2008), safe for the colour-blind; line and marker tell the regimes apart in grey print too.
LOOKS: dict[str, dict[str, Any]] = {
    CLEAR: {"color": "#0072B2", "linestyle": (0, (5, 1.5)), "marker": "o"},
    BLURRY: {"color": "#009E73", "linestyle": (0, (5, 1.5, 1, 1.5)), "marker": "s"},
    BLURRY_TO_CLEAR: {"color": "#D55E00", "linestyle": "-", "marker": "^"},
}
_OTHER_COLOURS = ("#CC79A7", "#000000", "#56B4E9", "#E69F00")
_OTHER_LINES = ((0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)), (0, (6, 1, 1, 1, 1, 1, 1, 1)))
_OTHER_MARKERS = ("D", "v", "P", "X", "p", "<", ">")


def looks(regimes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each regime is drawn: the study's always alike, the others by alphabet."""
    ordered = sorted(set(regimes), key=study_order(REGIMES))
    others = zip(
        (regime for regime in ordered if regime not in LOOKS),
        # Three cycles of different lengths: 140 regimes before a combination comes again.
        zip(itertools.cycle(_OTHER_COLOURS), itertools.cycle(_OTHER_LINES), itertools.cycle(_OTHER_MARKERS)),
        strict=False,
    )
    more = {regime: dict(zip(("color", "linestyle", "marker"), look, strict=True)) for regime, look in others}
    return {regime: LOOKS.get(regime) or more[regime] for regime in ordered}


def accuracy_figure(panels: Sequence[Panel]) -> Figure:
    """Top-1 over sigma, a panel per dataset; shaded: 95 % interval (one seed) or range over seeds."""
    look = looks(curve.regime for panel in panels for curve in panel.curves)

    def draw(axes: Axes, panel: Panel) -> None:
        chance, share = 100 * panel.chance, 100 * panel.largest_class
        near = _differs(panel) and share - chance < 12  # two labels would overlap
        _level(axes, chance, "--", "" if near else f"chance\n{chance:.1f} %")
        if _differs(panel):
            _level(
                axes,
                share,
                ":",
                f"largest {share:.1f} %\nchance {chance:.1f} %" if near else f"largest class\n{share:.1f} %",
            )
        for curve in panel.curves:
            _curve(axes, curve, look[curve.regime], scale=100)
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_locator(FixedLocator(range(0, 101, 20)))

    with matplotlib.rc_context(STYLE):
        lines = [Line2D([], [], color=GREY, linewidth=0.9, linestyle="--", label="chance (1 / classes)")]
        if any(_differs(panel) for panel in panels):
            lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle=":", label="share of the largest class"))
        return _small_multiples(panels, draw, "top-1 accuracy (%)", look, lines)


def ratio_figure(panels: Sequence[Panel]) -> Figure | None:
    """Accuracy divided by that of the clear regime, over sigma; logarithmic, so that twice and half are as far from 1.

    Drawn for blurry-to-clear and for other curricula, not for `blurry`. None if no panel has such a pair of regimes.
    """
    chosen = {panel.title: [c for c in panel.ratios if c.regime != BLURRY and drawable(c)] for panel in panels}
    with_ratio = [panel for panel in panels if chosen[panel.title]]
    if not with_ratio:
        return None
    look = looks(curve.regime for panel in panels for curve in panel.curves)
    estimates = [e for curves in chosen.values() for c in curves for e in c.points.values()]
    # Intervals may reach far out where a handful of images is left; the values decide the axis.
    values = [e.value for e in estimates if e.value > 0]
    low, high = min(0.5, 0.8 * min(values)), max(2.0, 1.6 * max(values))

    def draw(axes: Axes, panel: Panel) -> None:
        axes.set_yscale("log", base=2)
        axes.axhline(1, color=GREY, linewidth=0.9, zorder=1)
        for curve in chosen[panel.title]:
            _curve(axes, curve, look[curve.regime], scale=1)
        axes.set_ylim(low, high)
        steps = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
        axes.yaxis.set_major_locator(FixedLocator([2.0**k for k in steps if low <= 2.0**k <= high]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())

    drawn = {curve.regime for curves in chosen.values() for curve in curves}
    with matplotlib.rc_context(STYLE):
        shown = {regime: how for regime, how in look.items() if regime in drawn}
        labels = {regime: f"{regime} / clear" for regime in shown}
        return _small_multiples(with_ratio, draw, "accuracy ratio to clear", shown, [], labels)


def _differs(panel: Panel) -> bool:
    """Whether guessing the most frequent class beats chance visibly."""
    return panel.largest_class - panel.chance > 0.0005


def _small_multiples(
    panels: Sequence[Panel],
    draw: Callable[[Axes, Panel], None],
    ylabel: str,
    look: dict[str, dict[str, Any]],
    lines: list[Line2D],
    labels: dict[str, str] | None = None,
) -> Figure:
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = {1: (4.9, 3.0), 2: (7.6, 2.7)}.get(columns, (9.8, 2.45))
    handles = [Line2D([], [], label=(labels or {}).get(regime, regime), **how) for regime, how in look.items()] + lines
    spare = rows * columns - len(panels)
    legend_rows = 0 if spare else math.ceil(len(handles) / (2 if columns == 1 else 3))
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.02, hspace=0.04)
    figure = Figure(figsize=(width, rows * height + 0.2 * legend_rows), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True)
    sigmas = sorted({s for panel in panels for curve in panel.curves for s in curve.points})
    for k, axes in enumerate(grid.flat):
        if k >= len(panels):
            axes.set_axis_off()
            continue
        panel = panels[k]
        draw(axes, panel)
        _sigma_axis(axes, sigmas)
        axes.tick_params(labelbottom=k + columns >= len(panels))
        axes.set_title(panel.title, loc="left", fontweight="bold", pad=16, parse_math=False)
        below = f"n = {panel.images} images, {panel.classes} classes{_seeds(panel)}"
        axes.annotate(below, (0, 1), (0, 5), "axes fraction", textcoords="offset points", color=GREY, fontsize=7)
    figure.supylabel(ylabel, fontsize=8.5)
    figure.supxlabel("blur of the test images: sigma (pixels at 224 px)", fontsize=8.5)
    if spare:
        legend = grid.flat[len(panels)].legend(handles=handles, loc="center left", frameon=False, handlelength=3.4)
    else:
        per_row = math.ceil(len(handles) / legend_rows)
        legend = figure.legend(
            handles=handles, loc="outside upper center", ncols=per_row, frameon=False, handlelength=3.4
        )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a regime's name may hold dollar signs
    return figure


def _seeds(panel: Panel) -> str:
    counts = sorted({len(curve.seeds) for curve in panel.curves})
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    return "" if counts == [1] else f", {span} seeds"


def _curve(axes: Axes, curve: Curve, look: dict[str, Any], scale: float) -> None:
    sigmas = sorted(curve.points)
    value, low, high = (
        [scale * getattr(curve.points[sigma], name) for sigma in sigmas] for name in ("value", "low", "high")
    )
    if axes.get_yscale() == "log":  # a ratio of 0 lies infinitely far down: leave a gap
        value = [v if v > 0 else math.nan for v in value]
    # With many levels, a marker on each would hide the line: leave half an octave between them.
    marked: list[int] = []
    for k, sigma in enumerate(sigmas):
        if not marked or _octaves(sigma) - _octaves(sigmas[marked[-1]]) > 0.4:
            marked.append(k)
    axes.fill_between(sigmas, low, high, color=look["color"], alpha=0.16, linewidth=0, zorder=2)
    axes.plot(sigmas, value, **look, markevery=marked, zorder=3, clip_on=False)


def _octaves(sigma: float) -> float:
    """Where sigma lies on the axis of `_sigma_axis`."""
    return sigma if sigma < 1 else 1 + math.log2(sigma)


def _level(axes: Axes, at: float, linestyle: str, label: str) -> None:
    axes.axhline(at, color=GREY, linewidth=0.9, linestyle=linestyle, zorder=1)
    axes.annotate(label, (1, max(at, 3)), (3, 0), ("axes fraction", "data"), textcoords="offset points", va="center",
                  fontsize=6, color=GREY, linespacing=1.0, annotation_clip=False)  # fmt: skip


def _sigma_axis(axes: Axes, sigmas: Sequence[float]) -> None:
    """Octaves above 1, linear below, as blur levels are spaced; marks sigma 8, the blur of the study's training."""
    most = max(sigmas)
    if most > 4:
        axes.set_xscale("symlog", base=2, linthresh=1, linscale=1)
        ticks = [0.0] + [2.0**k for k in range(math.floor(math.log2(most)) + 1)]
    else:
        ticks = sorted({round(s, 6) for s in sigmas})[:9]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    # A little air, so that the outermost markers do not lie on the frame.
    axes.set_xlim(min(sigmas) - 0.15, most * 1.12 if most > 4 else most + 0.15)
    if most >= 8:
        axes.axvline(8, color="#b5b5b5", linewidth=0.8, zorder=0)
        axes.annotate("sigma 8", (8, 1), (2, -1), ("data", "axes fraction"), textcoords="offset points", va="top",
                      fontsize=6, color=GREY)  # fmt: skip


def as_files(figure: Figure) -> dict[str, bytes]:
    """The figure as {"png": ..., "svg": ...}, without dates."""
    files = {}
    with matplotlib.rc_context(STYLE):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=300, metadata=metadata)
            files[kind] = buffer.getvalue()
    return files
