"""Responses to gratings by spatial frequency, layer by layer, beside networks that are not trained."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from analysis.collecting.collection import Collection
from analysis.collecting.kept_arrays import kept_arrays
from analysis.figures.receptive_fields import BAND
from analysis.figures.style import GREY, PAGE, STYLE, entitle, grid, legend, looks, seeds_text, shape

MEASURE = "tuning"
MOST = 6
"""Layers that are drawn, evenly spread."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Of one run, [layers, frequencies]."""

    frequencies: Array
    curves: Array
    random: Array | None
    random_sd: Array | None


@dataclass(frozen=True)
class TunedRuns:
    """Runs of one model on one dataset."""

    dataset: str
    model: str
    layers: list[str]
    """As measured."""
    units: list[int]
    """Of each layer."""
    regimes: dict[str, list[Curves]] = field(default_factory=dict)


def tuning_measured(runs: Collection, run_ids: frozenset[str]) -> Iterator[TunedRuns]:
    """By dataset and model, at the last epoch that was measured."""
    frame = runs.measures(["run_id", "blur", "n", "epoch"], measure=MEASURE, metric="responding")
    frame = frame[frame["run_id"].isin(run_ids)]
    if frame.empty:
        return
    rows = {row["run_id"]: row for row in runs.rows if row["run_id"] in set(frame["run_id"])}
    last = {str(run_id): int(epoch) for run_id, epoch in frame.groupby("run_id", observed=True)["epoch"].max().items()}
    found: dict[tuple[str, str], TunedRuns] = {}
    order = sorted(rows.items(), key=lambda item: (item[1]["regime"], item[1]["seed"]))
    for one in kept_arrays(runs.folder, {name: int(row["epochs"]) for name, row in order}, MEASURE):
        if int(one.conditions["epoch"]) != last[one.run_id] or "curves" not in one.arrays:
            continue
        row, arrays = rows[one.run_id], one.arrays
        own = frame[(frame["run_id"] == one.run_id) & (frame["epoch"] == last[one.run_id])]
        key = row["dataset"], row["model"]
        layers, units = own["blur"].astype(str).tolist(), own["n"].astype(int).tolist()
        group = found.setdefault(key, TunedRuns(*key, layers, units))
        if group.layers == layers:
            curves = Curves(arrays["frequencies"], arrays["curves"], arrays.get("random_curves"),
                            arrays.get("random_curves_sd"))  # fmt: skip
            group.regimes.setdefault(row["regime"], []).append(curves)
    yield from found.values()


def tuning_figure(shown: TunedRuns) -> Figure:
    """An axis a layer: responses against spatial frequency, the largest of each unit being 1, mean over units."""
    look = looks(shown.regimes)
    chosen = sorted(set(np.linspace(0, len(shown.layers) - 1, min(MOST, len(shown.layers))).round().astype(int)))
    rows, columns = shape(len(chosen))
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(rows, columns, PAGE, 2.1, sharex=True, sharey=True)
        for axis in axes.ravel()[len(chosen) :]:
            axis.set_visible(False)
        for k, axis in zip(chosen, axes.ravel(), strict=False):
            for regime, runs in shown.regimes.items():
                _draw(axis, k, runs, look[regime])
            axis.set(xscale="log", ylim=(0, 1.02))
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_locator(NullLocator())
            axis.tick_params(labelbottom=True)
            name = shown.layers[k].partition(":")[2]
            entitle(axis, name, [f"n = {shown.units[k]} units, {seeds_text(map(len, shown.regimes.values()))}"])
        for axis in axes[:, 0]:
            axis.set_ylabel("response / largest")
        for k in range(len(chosen)):
            if k + columns >= len(chosen):
                axes.ravel()[k].set_xlabel("cycles a pixel of the input")
        handles: list[Line2D | Patch] = [Line2D([], [], **{**look[name], "marker": ""}, label=name) for name in look]
        if any(one.random is not None for runs in shown.regimes.values() for one in runs):
            handles.append(Patch(color=BAND, label="untrained, mean ± SD"))
        legend(figure, handles, 5)
    return figure


def _draw(axes: Axes, layer: int, runs: list[Curves], look: dict[str, object]) -> None:
    x = runs[0].frequencies
    if (one := runs[0]).random is not None and one.random_sd is not None:
        low, high = one.random[layer] - one.random_sd[layer], one.random[layer] + one.random_sd[layer]
        axes.fill_between(x, low, high, color=BAND, linewidth=0, zorder=1)
        axes.plot(x, one.random[layer], color=GREY, linewidth=0.5, zorder=1)
    if len(runs) > 1:
        for run in runs:
            axes.plot(x, run.curves[layer], color=str(look["color"]), linewidth=0.4, alpha=0.7, zorder=2)
    mean = np.mean([run.curves[layer] for run in runs], axis=0)
    axes.plot(x, mean, **{**look, "marker": ""}, zorder=3)  # type: ignore[arg-type]
