"""Receptive fields by layer, and what the first layer's filters are like, beside networks that are not trained.

Lines are means over seeds, thin ones single seeds; grey: the same architecture freshly initialised, mean and standard
deviation over its draws.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from analysis.collecting.collection import Collection
from analysis.collecting.kept_arrays import kept_arrays
from analysis.figures.style import GREY, PAGE, SMALL, STYLE, entitle, grid, legend, looks, one_line, seeds_text

MEASURE = "receptive-fields"
FIRST = "first-layer"
BAND = "#d5d5d5"


@dataclass(frozen=True)
class Seed:
    """One run."""

    values: Mapping[tuple[str, str], float]
    """At its last epoch, by layer (as measured) and metric."""
    counts: Mapping[tuple[str, str], int]
    """How many images, filters or draws they are of."""
    moments: Mapping[int, float]
    """Energy moment of the first layer by epoch."""
    r2: NDArray[np.float64] | None
    """[filters], at most 1: of the Gabor fit of each; none: the filters are too small."""


@dataclass(frozen=True)
class Fields:
    """Runs of one model on one dataset: those that have it, a list of seeds a regime."""

    dataset: str
    model: str
    regimes: dict[str, list[Seed]] = field(default_factory=dict)

    @property
    def any_seed(self) -> Seed:
        """All have the same layers."""
        return next(iter(self.regimes.values()))[0]


def fields_measured(runs: Collection, run_ids: frozenset[str]) -> Iterator[Fields]:
    """By dataset and model."""
    frame = runs.measures(["run_id", "metric", "blur", "value", "epoch", "n"], measure=MEASURE)
    frame = frame[frame["run_id"].isin(run_ids)]
    if frame.empty:
        return
    rows = {row["run_id"]: row for row in runs.rows if row["run_id"] in set(frame["run_id"])}
    kept: dict[tuple[str, int], Any] = {}
    for one in kept_arrays(runs.folder, {name: int(row["epochs"]) for name, row in rows.items()}, MEASURE):
        if one.level == FIRST and "gabors" in one.arrays:
            kept[one.run_id, int(one.conditions["epoch"])] = one.arrays["gabors"][:, 0]
    found: dict[tuple[str, str], Fields] = {}
    by_run = dict(iter(frame.groupby("run_id", observed=True)))
    for run_id, row in sorted(rows.items(), key=lambda item: (item[1]["regime"], item[1]["seed"])):
        key = row["dataset"], row["model"]
        own = by_run[run_id]
        last = int(own["epoch"].max())
        seeds = found.setdefault(key, Fields(*key)).regimes.setdefault(row["regime"], [])
        seeds.append(_seed(own, last, kept.get((run_id, last))))
    yield from found.values()


def _seed(own: pd.DataFrame, last: int, r2: NDArray[np.float64] | None) -> Seed:
    value = own["value"].astype(float)
    at_end = (own["epoch"] == last).to_numpy()
    keys = list(zip(own["blur"].astype(str), own["metric"].astype(str), strict=True))
    end = [k for k in range(len(own)) if at_end[k]]
    moments = {
        int(epoch): float(v)
        for epoch, (blur, metric), v in zip(own["epoch"], keys, value, strict=True)
        if (blur, metric) == (FIRST, "energy_moment")
    }
    return Seed(
        {keys[k]: float(value.iloc[k]) for k in end},
        {keys[k]: int(own["n"].iloc[k]) for k in end},
        dict(sorted(moments.items())),
        r2,
    )


def fields_figure(shown: Fields) -> Figure:
    """Four axes: theoretical and effective field by layer; sigma of the effective field; energy moment of the first
    layer over epochs; how well Gabor functions fit its filters."""
    look = looks(shown.regimes)
    one = shown.any_seed
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(2, 2, PAGE, 2.45)
        area, sigma, moment, gabor = axes.ravel()
        _theoretical(area, one)
        for axis, metric in ((area, "effective_area"), (sigma, "effective_sigma")):
            _by_layer(axis, shown, metric, look)
        area.set(yscale="log", ylabel="side (pixels of the input)")
        area.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        area.yaxis.set_major_formatter("{x:g}")
        area.yaxis.set_minor_locator(NullLocator())
        sigma.set(ylabel="sigma (pixels of the input)")
        sigma.set_ylim(bottom=0)
        _moments(moment, shown, look)
        _fits(gabor, shown, look)
        images = max((n for (_, metric), n in one.counts.items() if metric == "effective_area"), default=0)
        draws = max((n for (_, metric), n in one.counts.items() if metric.endswith(".random")), default=0)
        filters = one.counts.get((FIRST, "energy_moment"), 0)
        seeds = seeds_text(len(own) for own in shown.regimes.values())
        entitle(area, "Receptive field by layer", [f"n = {images} images, {seeds}, {draws} draws untrained"])
        entitle(sigma, "Effective field", ["sigma of the Gaussian that fits best"])
        entitle(moment, "Energy moment of the first layer", [f"n = {filters} filters, {seeds}"])
        entitle(gabor, "Gabor fits of the first layer", [f"n = {filters} filters a seed"])
        handles: list[Any] = [Line2D([], [], **look[regime], label=regime) for regime in look]
        handles.append(Line2D([], [], color="black", linewidth=0.9, label="theoretical"))
        if draws:
            handles.append(Patch(color=BAND, label="untrained, mean ± SD"))
        legend(figure, handles, 6)
    return figure


def _layers(one: Seed, metric: str) -> list[str]:
    return [layer for layer, name in one.values if name == metric]


def _place(layer: str) -> int:
    return int(layer.partition(":")[0])


def _theoretical(axes: Axes, one: Seed) -> None:
    """Of layers whose units each see a part of their own; where there are others, the image's side beside."""
    layers = [name for name in _layers(one, "field") if one.values[name, "stride"] > 0]
    x = [_place(name) for name in layers]
    largest, least = ([one.values[name, metric] for name in layers] for metric in ("field", "field_least"))
    axes.plot(x, largest, color="black", linewidth=0.9, marker=".", markersize=2.5, zorder=2)
    if least != largest:
        axes.plot(x, least, color="black", linewidth=0.7, linestyle=(0, (2, 1.5)), zorder=2)
        axes.annotate("shortest path", (x[-1], least[-1]), (-2, -8), textcoords="offset points", ha="right",
                      fontsize=SMALL)  # fmt: skip
    if whole := [one.values[name, "field"] for name in _layers(one, "field") if name not in layers]:
        axes.axhline(whole[-1], color=GREY, linewidth=0.6, linestyle=(0, (1, 1)), zorder=1)
        axes.annotate("side of the image", (1, whole[-1]), (-1, 2), ("axes fraction", "data"), "offset points",
                      ha="right", fontsize=SMALL, color=GREY)  # fmt: skip


def _by_layer(axes: Axes, shown: Fields, metric: str, look: Mapping[str, Any]) -> None:
    layers = _layers(shown.any_seed, metric)
    x = [_place(name) for name in layers]
    random = [shown.any_seed.values.get((name, f"{metric}.random"), math.nan) for name in layers]
    sd = [shown.any_seed.values.get((name, f"{metric}.random_sd"), math.nan) for name in layers]
    axes.fill_between(x, np.subtract(random, sd), np.add(random, sd), color=BAND, linewidth=0, zorder=1)
    axes.plot(x, random, color=GREY, linewidth=0.6, zorder=1)
    for regime, seeds in shown.regimes.items():
        each = [[seed.values.get((name, metric), math.nan) for name in layers] for seed in seeds]
        _lines(axes, x, each, look[regime])
    axes.set_xticks(x, [one_line(name.partition(":")[2]) for name in layers], rotation=30, ha="right")
    for label in axes.get_xticklabels():
        label.set_fontsize(SMALL - 0.5)


def _moments(axes: Axes, shown: Fields, look: Mapping[str, Any]) -> None:
    for regime, seeds in shown.regimes.items():
        epochs = sorted(set.intersection(*(set(seed.moments) for seed in seeds)))
        _lines(axes, epochs, [[seed.moments[epoch] for epoch in epochs] for seed in seeds], look[regime])
    random, sd = (shown.any_seed.values.get((FIRST, f"energy_moment.{name}")) for name in ("random", "random_sd"))
    if random is not None:
        axes.axhline(random, color=GREY, linewidth=0.6, zorder=1)
        axes.axhspan(random - (sd or 0), random + (sd or 0), color=BAND, linewidth=0, zorder=0)
    axes.set(xlabel="epoch", ylabel="energy moment (pixels)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _fits(axes: Axes, shown: Fields, look: Mapping[str, Any]) -> None:
    """Share of filters whose fit is at least so good."""
    axes.set(xlabel="R² of the fit", ylabel="filters at least as well fitted (%)", xlim=(0, 1), ylim=(0, 101))
    drawn = False
    for regime, seeds in shown.regimes.items():
        found = [np.sort(seed.r2) for seed in seeds if seed.r2 is not None]
        for r2 in found:
            share = 100 * (1 - np.arange(len(r2)) / len(r2))
            width = 1.0 if len(found) == 1 else 0.6
            axes.step(np.r_[0, r2], np.r_[100, share], where="pre", color=look[regime]["color"],
                      linestyle=look[regime]["linestyle"], linewidth=width)  # fmt: skip
            drawn = True
    if not drawn:
        axes.text(0.5, 0.5, "filters are too small to be fitted", ha="center", va="center", fontsize=SMALL,
                  transform=axes.transAxes)  # fmt: skip


def _lines(axes: Axes, x: Sequence[Any], each: Sequence[Any], look: Mapping[str, Any]) -> None:
    if len(each) > 1:
        for values in each:
            axes.plot(x, values, color=look["color"], linewidth=0.4, alpha=0.7, zorder=2)
    axes.plot(x, np.mean(each, axis=0), **look, zorder=3, clip_on=False)
