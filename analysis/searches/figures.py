"""Figures of a search: parallel coordinates, importance, learning curves, and the objective trial by trial.

As in `analysis.figures.accuracy`: without pyplot, and the same search gives the same bytes.
"""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import GREY, STYLE
from analysis.figures.values import show_values
from analysis.searches.trials import Dimension, Search, TrialFound
from blurtrain.settings.labels import shown

BEST, BASE, DONE = "#D55E00", "#000000", "#0072B2"  # Okabe & Ito (2008)
FAINT = "#b5b5b5"
HALO: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
_MOST_WIDTH = 13.0


def parallel_figure(search: Search) -> Figure | None:
    """Parallel coordinates: an axis a dimension, and at the right the objective, which is also the colour. A line has a
    gap where a dimension is not active. None where no trial has an objective yet."""
    drawn = _with_objective(search)
    if not drawn:
        return None
    axes_of = [_axis(search.names[path], dimension, [t.trial.active.get(path) for t in drawn])
               for path, dimension in search.space.items()]  # fmt: skip
    values = {trial.number: float(trial.objective or 0.0) for trial in drawn}
    low, high = min(values.values()), max(values.values())
    norm = Normalize(low, high if high > low else low + 1)
    colours = matplotlib.colormaps["viridis" if search.is_max else "viridis_r"]  # the better, the brighter
    ranked = sorted(drawn, key=lambda t: (t.best, t.is_base, t.state == "done", values[t.number]))
    with matplotlib.rc_context(STYLE):
        width = min(_MOST_WIDTH, max(6.4, 1.55 * (len(axes_of) + 1) + 1.2))
        figure = Figure(figsize=(width, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
        axes = figure.add_subplot()
        last = len(axes_of)
        for trial in ranked:
            at = [axis.at(trial.trial.active.get(path)) for path, axis in zip(search.space, axes_of, strict=True)]
            ys = [*at, float(norm(values[trial.number]))]
            look = _line(trial, colours(ys[-1]))
            axes.plot(range(last + 1), ys, **look)
            for x, y in enumerate(ys):  # also where both neighbours are gaps
                if not math.isnan(y) and (trial.best or trial.is_base or _alone(ys, x)):
                    size = 4.5 if trial.best or trial.is_base else 3
                    axes.plot([x], [y], marker=_marker(trial), color=look["color"], zorder=look["zorder"] + 0.1,
                              alpha=look["alpha"], markersize=size, clip_on=False)  # fmt: skip
        for x, axis in enumerate(axes_of):
            axes.axvline(x, color="#444444", linewidth=0.7, zorder=1)
            for y, text in axis.ticks:
                axes.plot([x - 0.015, x + 0.015], [y, y], color="#444444", linewidth=0.7, zorder=1)
                axes.annotate(text, (x, y), (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=6.5,
                              bbox=HALO, zorder=6, parse_math=False)  # fmt: skip
        _colour_axis(axes, last, norm, colours)
        titles = [*(f"{axis.name}\n{axis.scale}" for axis in axes_of), f"{_wrapped(search.metric, 18)}"]
        for x, title in enumerate(titles):
            name, _, scale = title.partition("\n") if x < last else (title, "", "")
            axes.annotate(name, (x, 1), (0, 15), ("data", "axes fraction"), textcoords="offset points", ha="center",
                          va="bottom", fontsize=7.5, parse_math=False, annotation_clip=False)  # fmt: skip
            axes.annotate(scale, (x, 1), (0, 6), ("data", "axes fraction"), textcoords="offset points", ha="center",
                          va="bottom", fontsize=6, color=GREY, annotation_clip=False)  # fmt: skip
        axes.set(xlim=(-0.42, last + 0.4), ylim=(-0.03, 1.03), xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.legend(handles=_parallel_legend(drawn), loc="outside lower center", ncols=4, frameon=False)
        return figure


@dataclass(frozen=True)
class _Axis:
    """One dimension as a vertical axis from 0 to 1."""

    name: str
    scale: str
    """How it runs, in a word."""
    at: Callable[[Any], float]
    """Where a value lies; NaN for one that is not set."""
    ticks: tuple[tuple[float, str], ...]


def _axis(name: str, dimension: Dimension, values: Sequence[Any]) -> _Axis:
    """`values` may lie outside, as those of the base settings do."""
    given = [value for value in values if value is not None]
    numbers = [float(value) for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    title = _wrapped(name, 17)
    if dimension.limits is None or len(numbers) < len(given):
        labels = {shown(value): _words(value) for value in (*(dimension.choice or ()), *given)}
        step = 1 / max(1, len(labels) - 1)
        rows = {label: k * step if len(labels) > 1 else 0.5 for k, label in enumerate(labels)}
        ticks = tuple((y, _short(labels[label])) for label, y in rows.items())
        return _Axis(title, "choices", lambda v: math.nan if v is None else rows[shown(v)], ticks)
    low, high = (pick([end, *numbers]) for pick, end in zip((min, max), dimension.limits, strict=True))
    if dimension.log_uniform and low > 0:
        at = [math.log10(low), math.log10(high)]
        marks = [10.0**k for k in range(math.ceil(at[0] - 1e-9), math.floor(at[1] + 1e-9) + 1)]
        if len(marks) < 2:
            marks = [low, math.sqrt(low * high), high]
        ticks = tuple(((math.log10(m) - at[0]) / (at[1] - at[0]), f"{m:.3g}") for m in marks)
        return _Axis(
            title, "log", lambda v: math.nan if v is None else (math.log10(v) - at[0]) / (at[1] - at[0]), ticks
        )
    steps = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=dimension.integer is not None).tick_values(low, high)
    ticks = tuple(((m - low) / (high - low), f"{m:g}") for m in steps if low - 1e-9 <= m <= high + 1e-9)
    scale = "integers" if dimension.integer else "linear"
    return _Axis(title, scale, lambda v: math.nan if v is None else (float(v) - low) / (high - low), ticks)


def _line(trial: TrialFound, colour: Any) -> dict[str, Any]:
    if trial.best:
        return {"color": BEST, "linewidth": 2.2, "alpha": 1.0, "zorder": 5}
    if trial.is_base:
        return {"color": BASE, "linewidth": 1.5, "linestyle": (0, (4, 1.5)), "alpha": 1.0, "zorder": 4}
    if trial.state == "done":
        return {"color": colour, "linewidth": 1.1, "alpha": 0.95, "zorder": 3}
    return {"color": colour, "linewidth": 0.7, "alpha": 0.35, "zorder": 2}


def _marker(trial: TrialFound) -> str:
    return "^" if trial.best else "s" if trial.is_base else "o"


def _alone(ys: Sequence[float], x: int) -> bool:
    beside = [ys[k] for k in (x - 1, x + 1) if 0 <= k < len(ys)]
    return all(math.isnan(y) for y in beside)


def _colour_axis(axes: Axes, x: int, norm: Normalize, colours: Any) -> None:
    """The axis of the objective, which is the key to the colours too."""
    axes.imshow(np.linspace(0, 1, 256)[:, None], extent=(x - 0.02, x + 0.02, 0, 1), origin="lower", aspect="auto",
                cmap=colours, zorder=2.5, interpolation="nearest")  # fmt: skip
    low, high = float(norm.vmin or 0), float(norm.vmax or 1)
    for mark in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high):
        if low <= mark <= high:
            axes.annotate(f"{mark:g}", (x, float(norm(mark))), (6, 0), textcoords="offset points", va="center",
                          fontsize=6.5, bbox=HALO, zorder=6)  # fmt: skip


def _parallel_legend(drawn: Sequence[TrialFound]) -> list[Line2D]:
    best, base = (next((t for t in drawn if getattr(t, name)), None) for name in ("best", "is_base"))
    handles = []
    if best:
        name = f"best: trial {best.number}" + (" (base settings)" if best.is_base else "")
        handles.append(Line2D([], [], color=BEST, linewidth=2.2, marker="^", label=name))
    if base and base is not best:
        handles.append(Line2D([], [], color=BASE, linewidth=1.5, linestyle=(0, (4, 1.5)), marker="s",
                              label=f"base settings: trial {base.number}"))  # fmt: skip
    if any(t.state == "done" for t in drawn if t not in (best, base)):
        handles.append(Line2D([], [], color="#21918c", linewidth=1.1, label="done"))
    if any(t.state != "done" for t in drawn if t not in (best, base)):
        handles.append(Line2D([], [], color="#21918c", linewidth=0.7, alpha=0.45, label="pruned, or not at its end"))
    return handles


def importance_figure(search: Search, importance: dict[str, float], trials: int) -> Figure:
    """A bar a dimension, the most important first. importance: shares that add up to 1, by dotted name; trials: that
    they were found from."""
    named = sorted(importance.items(), key=lambda pair: pair[1])
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
        figure = Figure(figsize=(4.9, 0.75 + 0.3 * len(named)), layout=layout)
        axes = figure.add_subplot()
        axes.barh(range(len(named)), [100 * share for _, share in named], color=DONE, height=0.62)
        for y, (_, share) in enumerate(named):
            axes.annotate(f"{100 * share:.0f} %", (100 * share, y), (3, 0), textcoords="offset points", va="center",
                          fontsize=7, color=GREY)  # fmt: skip
        axes.set_yticks(range(len(named)), [search.names[path] for path, _ in named], parse_math=False)
        axes.set(xlabel=f"importance (%), from {trials} finished trials", xlim=(0, 112 * max(importance.values())))
        axes.tick_params(axis="y", length=0)
        return figure


def learning_figure(search: Search) -> Figure | None:
    """The objective over epochs, a curve a trial; where each was pruned, and ASHA's rungs. None where there is no
    value yet."""
    drawn = _with_objective(search)
    if not drawn:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.5), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
        axes = figure.add_subplot()
        for rung in search.rungs:
            axes.axvline(rung, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
            axes.annotate(f"rung {rung:g}", (rung, 1), (2, 1), ("data", "axes fraction"), textcoords="offset points",
                          fontsize=6, color=GREY, va="bottom", ha="center", annotation_clip=False)  # fmt: skip
        for trial in sorted(drawn, key=lambda t: (t.best, t.is_base, t.state == "done")):
            epochs, values = zip(*sorted(trial.standing.values.items()), strict=True)
            look = _curve(trial)
            (line,) = axes.plot(epochs, values, **look, clip_on=False)
            show_values(line, f"trial {trial.number}, {trial.state}")
            mark = ENDS.get(trial.state)
            if trial.best or trial.is_base or mark or len(epochs) == 1:
                own = {"marker": _marker(trial), "markersize": 4.5} if trial.best or trial.is_base else {"marker": "."}
                own = {**own, **(mark or {})}
                axes.plot(epochs[-1:], values[-1:], color=look["color"] if look["color"] != FAINT else GREY,
                          linestyle="", zorder=look["zorder"] + 0.1, clip_on=False, **own)  # fmt: skip
        axes.set(xlabel="epoch", ylabel=_wrapped(search.metric, 34), xlim=(0, max(search.epochs, 1)))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        axes.grid(axis="y", color="#e8e8e8", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(handles=_curve_legend(drawn), loc="outside lower center", ncols=4, frameon=False)
        return figure


ENDS: dict[str, dict[str, Any]] = {
    "pruned": {"marker": "x", "markersize": 4, "markeredgewidth": 0.9, "markeredgecolor": GREY},
    "failed": {"marker": "P", "markersize": 5, "markerfacecolor": "#CC79A7"},
    "running": {"marker": "o", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": DONE,
                "markeredgewidth": 0.9},
    "open": {"marker": "o", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": GREY,
             "markeredgewidth": 0.9},
}  # fmt: skip
"""How the end of a curve is drawn, by the state of its trial."""
MEANINGS = {"pruned": "pruned", "failed": "failed", "running": "running", "open": "to go on"}


def _curve(trial: TrialFound) -> dict[str, Any]:
    if trial.best:
        return {"color": BEST, "linewidth": 2.0, "zorder": 5}
    if trial.is_base:
        return {"color": BASE, "linewidth": 1.4, "linestyle": (0, (4, 1.5)), "zorder": 4}
    if trial.state == "done":
        return {"color": DONE, "linewidth": 0.9, "alpha": 0.75, "zorder": 3}
    return {"color": FAINT, "linewidth": 0.8, "zorder": 2}


def _curve_legend(drawn: Sequence[TrialFound]) -> list[Line2D]:
    handles = _parallel_legend(drawn)[:2]
    handles = [handle for handle in handles if str(handle.get_label()).startswith(("best", "base"))]
    named = [trial for trial in drawn if not trial.best and not trial.is_base]
    if any(trial.state == "done" for trial in named):
        handles.append(Line2D([], [], color=DONE, linewidth=0.9, label="done"))
    present = [state for state in ENDS if any(trial.state == state for trial in drawn)]
    handles += [Line2D([], [], color=FAINT, linewidth=0.8, label=MEANINGS[state], **ENDS[state]) for state in present]
    return handles


def progress_figure(search: Search) -> Figure | None:
    """The objective trial by trial, and the best so far of those that are done; beside it the best so far over the
    epochs that all trials together were trained for. None where there is no value yet."""
    drawn = _with_objective(search)
    if not drawn:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.0), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
        by_trial, by_cost = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for trial in drawn:
            (point,) = by_trial.plot([trial.number], [trial.objective], linestyle="", zorder=3, clip_on=False,
                                     **_point(trial))  # fmt: skip
            show_values(point, f"trial {trial.number}, {trial.state}")
        spent = np.cumsum([trial.standing.at * len(trial.trial.runs) for trial in search.trials])
        steps = _best_so_far(search)
        for axes, ends in ((by_trial, [t.number for t in search.trials]), (by_cost, spent.tolist())):
            if steps:
                axes.step([ends[k] for k, _ in steps] + ends[-1:], [v for _, v in steps] + [steps[-1][1]],
                          where="post", color=BEST, linewidth=1.5, zorder=2)  # fmt: skip
            if search.base and search.base.state == "done" and search.base.objective is not None:
                axes.axhline(search.base.objective, color=BASE, linewidth=0.9, linestyle=(0, (4, 1.5)), zorder=1)
            axes.grid(axis="y", color="#e8e8e8", linewidth=0.6)
            axes.set_axisbelow(True)
        by_trial.set(xlabel="trial", ylabel=_wrapped(search.metric, 30))
        by_trial.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        by_cost.set(xlabel="epochs trained, all runs together", xlim=(0, None))
        by_cost.xaxis.set_major_locator(MaxNLocator(5))
        figure.legend(handles=_progress_legend(search, drawn, bool(steps)), loc="outside lower center", ncols=5,
                      frameon=False)  # fmt: skip
        return figure


def _point(trial: TrialFound) -> dict[str, Any]:
    if trial.state in ENDS:
        return {"color": GREY, **ENDS[trial.state]}
    return {"marker": _marker(trial), "color": BEST if trial.best else BASE if trial.is_base else DONE}


def _best_so_far(search: Search) -> list[tuple[int, float]]:
    """Places in the list of trials where the best of those that are done changes, each with it."""
    steps: list[tuple[int, float]] = []
    for k, trial in enumerate(search.trials):
        value = trial.objective
        if trial.state != "done" or value is None:
            continue
        if not steps or (value > steps[-1][1] if search.is_max else value < steps[-1][1]):
            steps.append((k, value))
    return steps


def _progress_legend(search: Search, drawn: Sequence[TrialFound], has_best: bool) -> list[Line2D]:
    handles = [Line2D([], [], color=BEST, linewidth=1.5, label="best so far")] if has_best else []
    for trial in drawn:
        if trial.best or trial.is_base:
            name = f"best: trial {trial.number}" if trial.best else f"base settings: trial {trial.number}"
            dashes: dict[str, Any] = {"linestyle": (0, (4, 1.5)), "linewidth": 0.9}
            line = dashes if trial.is_base and trial.state == "done" else {"linestyle": ""}
            handles.append(Line2D([], [], label=name, **{**_point(trial), **line}))
    if any(trial.state == "done" and not trial.best and not trial.is_base for trial in drawn):
        handles.append(Line2D([], [], linestyle="", marker="o", color=DONE, label="done"))
    present = [state for state in ENDS if any(trial.state == state for trial in drawn if not trial.is_base)]
    handles += [Line2D([], [], linestyle="", color=GREY, label=MEANINGS[state], **ENDS[state]) for state in present]
    return handles


def _with_objective(search: Search) -> list[TrialFound]:
    return [trial for trial in search.trials if trial.objective is not None and math.isfinite(trial.objective)]


def _wrapped(text: str, width: int) -> str:
    parts = text.replace("_", "_\N{ZERO WIDTH SPACE}")
    return "\n".join(textwrap.wrap(parts, width, break_on_hyphens=False)).replace("\N{ZERO WIDTH SPACE}", "")


def _words(value: Any) -> str:
    """A choice in few words: of a section, its values."""
    return " ".join(map(_words, value.values())) if isinstance(value, Mapping) else shown(value)


def _short(label: str) -> str:
    return label if len(label) <= 20 else f"{label[:11]}…{label[-8:]}"
