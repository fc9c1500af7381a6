"""Errors on the blurs of ImageNet-C over severities, a part a family, beside AlexNet's."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.collecting.collection import Collection
from analysis.collecting.image_records import objects_of
from analysis.documents import CONDITIONS
from analysis.figures.style import GREY, PAGE, STYLE, entitle, grid, legend, looks, one_line, seeds_text
from analysis.literature import DATASETS, REGIMES, study_order
from analysis.statistics.estimates import Estimate, accuracy, summary

MEASURE = "imagenet-c-blur"
ALEXNET = {"defocus": 0.819880, "glass": 0.826268, "motion": 0.785948, "zoom": 0.798360}
"""Mean error over severities on ImageNet's 1000 classes (Hendrycks & Dietterich, 2019)."""
FAMILIES = (*ALEXNET, "gaussian")
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Errors:
    """One regime: its errors, each over the seeds that were measured."""

    regime: str
    seeds: int
    sharp: Estimate
    by_family: dict[str, dict[int, Estimate]]
    total: Estimate
    """blur-mCE."""


@dataclass(frozen=True)
class Corruptions:
    """Regimes that were measured alike on one dataset."""

    dataset: str
    model: str
    form: str
    """exact or published."""
    n: int
    classes: int
    curves: tuple[Errors, ...]


def corruptions(collection: Collection, run_ids: Iterable[str]) -> list[Corruptions]:
    """All that was measured of these runs after their last epoch, in the order of the study."""
    rows = collection.measures()
    rows = rows[rows["measure"].astype(str).str.startswith(MEASURE) & rows["run_id"].isin([*run_ids])]
    if rows.empty:
        return []
    runs = collection.runs.set_index("run_id")
    about = ["dataset", "model", "regime", "settings_id", "seed", "epochs"]
    run_id = rows["run_id"].astype(str)  # of a categorical column, what it is mapped to would be categorical too
    rows = rows.assign(**{name: run_id.map(runs[name]) for name in about})
    rows = rows[rows["epoch"] == rows["epochs"]]
    alike = ["dataset", "model", "measure", *(name for name in CONDITIONS if name != "epoch")]
    found = []
    for _, group in rows.groupby(alike, sort=False, dropna=False, observed=True):
        first, measure = group.iloc[0], str(group["measure"].iloc[0])
        records = collection.images([*group["run_id"].unique()], measure)
        several = group.groupby("regime", observed=True)["settings_id"].nunique()
        curves = []
        for (regime, settings), own in group.groupby(["regime", "settings_id"], sort=False, observed=True):
            name = str(regime) if several[str(regime)] == 1 else f"{regime} {settings}"
            curves.append(_errors(name, own, records))
        curves.sort(key=lambda curve: study_order(REGIMES)(curve.regime))
        form = "published" if "published" in measure else "exact"
        found.append(
            Corruptions(
                str(first["dataset"]), str(first["model"]), form, int(first["n"]), int(first["classes"]), tuple(curves)
            )
        )
    return sorted(found, key=lambda one: (study_order(DATASETS)(one.dataset), one.model, one.form))


def _errors(regime: str, rows: pd.DataFrame, records: pd.DataFrame) -> Errors:
    by_metric = {str(name): own for name, own in rows.groupby("metric", observed=True)}

    def error(name: str) -> Estimate:
        own = by_metric[name]
        dependent = bool((own["objects"] > 0).any())
        return accuracy([int(c) for c in own["count"]], [int(n) for n in own["n"]], dependent=dependent)

    families = {family: {s: error(f"error-{family}-{s}") for s in SEVERITIES} for family in FAMILIES}
    total = by_metric["blur-mCE"].set_index("run_id")["value"]
    return Errors(regime, len(total), error("error-sharp"), families, _total(total, records))


def _total(values: "pd.Series[float]", records: pd.DataFrame) -> Estimate:
    """With an interval where images were recorded."""
    own = records[records["run_id"].isin(values.index)] if len(records) else records
    if len(own) and own["run_id"].nunique() == len(values) and values.notna().all():
        wide = own.pivot(index="run_id", columns="index", values="blur-mCE")
        if not wide.isna().to_numpy().any():
            return summary(wide.to_numpy(), objects_of(own, wide.columns))
    sd = float(values.std()) if len(values) > 1 else math.nan
    return Estimate(float(values.mean(skipna=False)), math.nan, math.nan, sd, len(values), "images")


def corruptions_figure(one: Corruptions) -> Figure:
    """Error in percent over severity (0: sharp), a part a family, a line a regime, with 95 % intervals; the mean of
    AlexNet's errors over severities is dashed."""
    look = looks(curve.regime for curve in one.curves)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(1, len(FAMILIES), PAGE, 2.5, sharey=True, sharex=True)
        for place, family in zip(axes[0], FAMILIES, strict=True):
            if family in ALEXNET:
                place.axhline(100 * ALEXNET[family], color=GREY, linewidth=0.9, linestyle="--", zorder=1)
            for curve in one.curves:
                _curve(place, {0: curve.sharp, **curve.by_family[family]}, look[curve.regime])
            place.set(ylim=(0, 100), xticks=(0, *SEVERITIES))
            place.set_xticklabels(("sharp", *map(str, SEVERITIES)))
            entitle(place, family, ["counts in blur-mCE" if family in ALEXNET else "extra set, not in the mean"])
        axes[0, 0].set_ylabel("top-1 error (%)")
        lines = [
            Line2D([], [], label=f"{one_line(curve.regime)}: blur-mCE {_shown(curve.total)}", **look[curve.regime])
            for curve in one.curves
        ]
        label = "AlexNet on ImageNet-C, mean of severities (1000 classes)"
        lines.append(Line2D([], [], color=GREY, linewidth=0.9, linestyle="--", label=label))
        seeds = seeds_text(curve.seeds for curve in one.curves)
        text = f"severity;  n = {one.n:,} images, {one.classes} classes, {seeds}, {one.form} form"
        figure.supxlabel(text, fontsize=7)
        legend(figure, lines, 3)
    return figure


def _curve(axes: Axes, points: dict[int, Estimate], how: dict[str, Any]) -> None:
    axes.plot([*points], [100 * e.value for e in points.values()], **how, zorder=3, clip_on=False)
    axes.fill_between([*points], [100 * e.low for e in points.values()], [100 * e.high for e in points.values()],
                      color=how["color"], alpha=0.16, linewidth=0, zorder=2)  # fmt: skip


def _shown(total: Estimate) -> str:
    if math.isnan(total.value):
        return "undefined"
    interval = "" if math.isnan(total.low) else f" ({100 * total.low:.1f}–{100 * total.high:.1f})"
    return f"{100 * total.value:.1f} %{interval}"
