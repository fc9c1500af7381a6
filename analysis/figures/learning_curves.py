"""Learning curves: loss and accuracy over the epochs of a run, on the images trained on and on the val split, and under
them, on the same axis, how blurred the images of each epoch were."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.collecting.collection import Collection
from analysis.collecting.runs import level_order
from analysis.figures.style import GREY, GRID, PAGE, SMALL, STYLE, entitle, grid, ink_on, one_line, seeds_text, wrapped
from analysis.figures.values import show_values
from analysis.literature import DATASETS, REGIMES, study_order

LOOKS: dict[str, dict[str, Any]] = {
    "train": {"color": "#0072B2", "linestyle": "-"},
    "val": {"color": "#D55E00", "linestyle": (0, (4, 1.2)), "marker": "s", "markersize": 3},
}
BLUR = "#56B4E9"
METRICS = {"loss": "loss (nats)", "top1": "top-1 (%)"}
MOST = 12
"""Experiments of one figure."""


@dataclass(frozen=True)
class Learning:
    """Runs that differ in their seed alone, as they were trained."""

    dataset: str
    model: str
    regime: str
    detail: str
    """In which settings it differs from others of this dataset, model and regime."""
    epochs: int
    """Of the whole training."""
    states: tuple[str, ...]
    """Of its runs that are not done."""
    curves: dict[tuple[str, str], pd.DataFrame]
    """By split and metric: a row an epoch (its index, 1: the first), a column a seed."""
    sigma: "pd.Series[float]"
    """By epoch, the mean over its images, in pixels at 224 px; empty where blurs are not given by it."""
    shares: pd.DataFrame
    """By epoch, a column a blur: its share of the images; empty where all is said by sigma."""
    n: dict[str, int]
    """Images by split."""
    blurs: tuple[str, ...]
    """At which the val split was looked at."""

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len({seed for curve in self.curves.values() for seed in curve.columns})


def learning(collection: Collection, run_ids: Iterable[str]) -> list[Learning]:
    """What was logged of these runs, done or not, as experiments, in the order of the study."""
    known = [name for name in collection.epochs_columns() if name in (*METRICS, "sigma", "blurs", "n")]
    rows = collection.epochs(["run_id", "epoch", "split", "blur", *known])
    rows = rows[rows["run_id"].isin([*run_ids])].reindex(columns=["run_id", "epoch", "split", "blur", *METRICS, "sigma",
                                                                  "blurs", "n"])  # fmt: skip
    runs = collection.runs.set_index("run_id")
    runs = runs[runs.index.isin(rows["run_id"].unique())]
    about = ["dataset", "model", "regime", "settings_id"]
    experiment = runs.groupby(about, sort=False).ngroup()
    rows = rows.assign(seed=rows["run_id"].map(runs["seed"]), experiment=rows["run_id"].map(experiment))
    found = []
    for number, mine in rows.groupby("experiment", sort=True):
        own = runs[experiment == number]
        one = own.iloc[0]
        alike = runs[(runs[about[:3]] == one[about[:3]]).all(axis="columns")]
        called = (str(one["dataset"]), str(one["model"]), str(one["regime"]))
        found.append(_learning(called, _detail(one, alike), own, mine))
    order, regimes = study_order(DATASETS), study_order(REGIMES)
    return sorted(found, key=lambda one: (order(one.dataset), one.model, regimes(one.regime), one.detail))


def _detail(own: "pd.Series[Any]", alike: pd.DataFrame) -> str:
    names = [name for name in alike.columns if "." in name and alike[name].nunique(dropna=False) > 1]
    return ", ".join(f"{name}={own[name]}" for name in names)


def _learning(about: tuple[str, str, str], detail: str, own: pd.DataFrame, rows: pd.DataFrame) -> Learning:
    whole = rows[rows["blur"].isna()]
    curves = {}
    for split in LOOKS:
        for metric in METRICS:
            table = whole[whole["split"] == split].pivot_table(index="epoch", columns="seed", values=metric)
            if len(table):
                curves[split, metric] = table
    train = whole[whole["split"] == "train"].drop_duplicates("epoch").set_index("epoch").sort_index()
    mixed = train["blurs"].dropna()
    shares = pd.DataFrame([json.loads(text) for text in mixed], index=mixed.index).fillna(0)
    n = {split: int(of["n"].max()) for split in LOOKS if len(of := whole[whole["split"] == split].dropna(subset=["n"]))}
    blurs = rows["blur"].dropna().unique().tolist()
    states = tuple(state for state in own["state"] if state != "done")
    epochs = int(own["epochs"].max())
    return Learning(
        *about, detail, epochs, states, curves, train["sigma"].dropna().astype(float), shares, n, tuple(blurs)
    )


def learning_figures(found: Sequence[Learning]) -> Iterator[tuple[str, str, Figure]]:
    """For each dataset and model: the dataset, a title, and a figure: a column an experiment, with its loss, its
    accuracy and its blur one above the other. Thin lines: seeds; thick ones: their mean, as far as all were trained."""
    for about in dict.fromkeys((one.dataset, one.model) for one in found):
        own = [one for one in found if (one.dataset, one.model) == about and one.curves]
        for start in range(0, len(own), MOST):
            part = f", part {start // MOST + 1}" if len(own) > MOST else ""
            yield about[0], f"{about[1]} on {about[0]}{part}", learning_figure(own[start : start + MOST])


def learning_figure(found: Sequence[Learning]) -> Figure:
    """The experiments of one dataset and model, at most three in a row."""
    columns = min(3, len(found))
    blocks = math.ceil(len(found) / columns)
    metrics = [metric for metric in METRICS if any((split, metric) in one.curves for one in found for split in LOOKS)]
    lines = len(metrics) + 1
    width = {1: 3.4, 2: 5.2}.get(columns, PAGE)
    mixed = any(len(one.shares.columns) > 2 for one in found)
    ratios = ([1.0] * len(metrics) + [0.85 if mixed else 0.55]) * blocks
    with matplotlib.rc_context(STYLE):
        below = [_below(one, round((width - 0.4) / columns * 20)) for one in found]
        height = 0.97 * sum(ratios) / (lines * blocks) + (0.3 + 0.12 * max(map(len, below))) / lines
        figure, axes = grid(lines * blocks, columns, width, height, height_ratios=ratios)
        most = max([8.0, *(float(one.sigma.max()) for one in found if len(one.sigma))])
        limits = {metric: _limits(found, metric) for metric in metrics}
        for k in range(blocks * columns):
            own = axes[k // columns * lines : (k // columns + 1) * lines, k % columns]
            if k >= len(found):
                for empty in own:
                    empty.set_axis_off()
                continue
            one = found[k]
            entitle(own[0], one.regime, below[k])
            for metric, place in zip(metrics, own, strict=False):
                _curves(place, one, metric)
                place.set_ylim(*limits[metric])
                place.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]))
            _blur(own[-1], one, most)
            for place in own:
                place.set_xlim(0, one.epochs)
                place.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
                place.tick_params(labelbottom=place is own[-1])
            own[-1].set_xlabel("epoch")
            if k % columns == 0:
                for place, metric in zip(own, metrics, strict=False):
                    place.set_ylabel(METRICS[metric])
            if k % columns == 0 or len({*map(_blur_label, found)}) > 1:
                own[-1].set_ylabel(_blur_label(one))
        figure.align_ylabels()
        figure.legend(handles=_legend(found), loc="outside upper center", ncols=(1, 2, 4)[columns - 1], frameon=False,
                      handlelength=3)  # fmt: skip
    return figure


def _below(one: Learning, letters: int) -> list[str]:
    at = f" at {', '.join(one.blurs)}" if len(one.blurs) < 4 else f" at {len(one.blurs)} blurs"
    counts = ", ".join(f"{split} n = {one.n[split]:,}" + (at if split == "val" and one.blurs else "")
                       for split in LOOKS if split in one.n)  # fmt: skip
    states = [f"{one.states.count(state)} {state}" for state in dict.fromkeys(one.states)]
    about = [seeds_text([one.seeds]) + (f" ({', '.join(states)})" if states else ""), counts]
    return [*wrapped(one.detail, letters), *wrapped(", ".join(about), letters)]


def _curves(axes: Axes, one: Learning, metric: str) -> None:
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    chart = one_line(f"{one.regime} ({one.detail})" if one.detail else one.regime)
    for split, look in LOOKS.items():
        table = one.curves.get((split, metric))
        if table is None:
            continue
        thin = {**look, "marker": "", "linewidth": 0.6, "alpha": 0.55}
        for seed in table.columns if len(table.columns) > 1 else ():
            (line,) = axes.plot(table.index, table[seed], **thin, zorder=2)
            show_values(line, f"{split}, seed {seed}", chart=chart)
        mean = table.dropna().mean(axis="columns")
        mark = max(1, math.ceil(len(mean) / 8))
        (line,) = axes.plot(mean.index, mean, **look, markevery=mark, zorder=3, clip_on=False)
        show_values(line, f"{split}, {'mean of the seeds' if len(table.columns) > 1 else 'one seed'}", chart=chart)


def _blur(axes: Axes, one: Learning, most: float) -> None:
    """What the images of epoch k had, between k - 1 and k."""
    if len(one.shares.columns):
        names = sorted(one.shares.columns, key=lambda label: (label != "sharp", level_order(math.nan, label)))
        colours = matplotlib.colormaps["cividis_r"](np.linspace(0.05, 0.95, len(names)))
        edges = _edges(one.shares.index)
        span = edges[-1] - edges[0]
        floor = np.zeros(len(one.shares))
        for name, colour in zip(names, colours, strict=True):
            top = floor + 100 * one.shares[name].to_numpy()
            axes.fill_between(edges, np.append(floor, floor[-1:]), np.append(top, top[-1:]), step="post",
                              facecolor=colour, edgecolor="white", linewidth=0.4, label=one_line(name))  # fmt: skip
            here = int(np.argmax(top - floor))  # where there is most room for its name
            if top[here] - floor[here] > 12:
                left, right = (edges[here] - edges[0]) / span, (edges[-1] - edges[here + 1]) / span
                side = "left" if left < 0.3 else "right" if right < 0.3 else "center"
                x = {"left": edges[here] + 0.02 * span, "right": edges[here + 1] - 0.02 * span,
                     "center": (edges[here] + edges[here + 1]) / 2}[side]  # fmt: skip
                axes.text(x, (floor[here] + top[here]) / 2, one_line(name), ha=side, va="center_baseline",
                          fontsize=SMALL - 0.5, color=ink_on(colour), clip_on=True)  # fmt: skip
            floor = top
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_locator(MaxNLocator(2))
    elif len(one.sigma):
        axes.stairs(one.sigma.to_numpy(), _edges(one.sigma.index), baseline=0, fill=True, facecolor=BLUR, alpha=0.35)
        axes.stairs(one.sigma.to_numpy(), _edges(one.sigma.index), baseline=None, color="#444444", linewidth=1.1)
        axes.set_ylim(0, 1.1 * most)
        axes.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 4, 5, 10]))
    else:
        axes.annotate("not logged", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=GREY)
        axes.set_yticks([])


def _edges(epochs: "pd.Index[Any]") -> Any:
    return np.append(epochs.to_numpy(float) - 1, float(epochs[-1]))


def _blur_label(one: Learning) -> str:
    return "shares (%)" if len(one.shares.columns) else "sigma (px)"


def _limits(found: Sequence[Learning], metric: str) -> tuple[float, float]:
    """One axis for all, as far as the means reach: one epoch that went wrong is not to flatten all others."""
    values = np.concatenate([
        table.to_numpy(float).ravel() for one in found for (_, name), table in one.curves.items() if name == metric
    ])  # fmt: skip
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    return 0.0, min(100.0 if metric == "top1" else math.inf, 1.08 * float(values.max()) or 1.0)


def _legend(found: Sequence[Learning]) -> list[Line2D]:
    splits = {split for one in found for split, _ in one.curves}
    several = any(len(one.blurs) > 1 for one in found)
    words = {"train": "train, as blurred as below", "val": "val, mean of its blurs" if several else "val"}
    handles = [Line2D([], [], label=words[split], **look) for split, look in LOOKS.items() if split in splits]
    if any(one.seeds > 1 for one in found):
        handles.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.7, label="one seed"))
        handles.append(Line2D([], [], color=GREY, linewidth=1.3, label="mean of the seeds"))
    return handles
