"""Deblurring: accuracy on images that each method has restored, and how near these are to the sharp ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.collecting.collection import Collection
from analysis.figures.style import GREY, PAGE, STYLE, entitle, grid, legend, looks, one_line
from analysis.literature import REGIMES, study_order

NONE = "none"
ALIKE = ["dataset", "n", "split", "pixels", "protocol"]
"""What two networks have in common that are shown the same images."""

SEED: dict[str, Any] = {"marker": "|", "markersize": 7, "markeredgewidth": 0.9, "linestyle": ""}


@dataclass(frozen=True)
class Restored:
    """What was measured of one model on the images of one dataset."""

    dataset: str
    model: str
    n: int
    accuracy: Mapping[tuple[str, str, str], Sequence[float]]
    """Top-1 in percent by blur, method and regime, of each seed."""
    psnr: Mapping[tuple[str, str], float]
    """In dB, by blur and method, where it was measured."""

    @property
    def blurs(self) -> list[str]:
        """Those of which images were restored, in their order."""
        return [*dict.fromkeys(blur for blur, method, _ in self.accuracy if method != NONE)]

    @property
    def methods(self) -> list[str]:
        """Blurred images as they are come first."""
        found = dict.fromkeys(method for _, method, _ in self.accuracy)
        return [NONE, *(method for method in found if method != NONE)]


def restored(collection: Collection, run_ids: Iterable[str]) -> list[Restored]:
    """Of these runs after their last epoch, where images were deblurred; one for each model and set of images."""
    frame = collection.measures()
    if frame is None or frame.empty:
        return []
    about = collection.runs[["run_id", "dataset", "model", "regime", "seed", "epochs"]]
    frame = frame[frame["run_id"].isin([*run_ids]) & (frame["blur"] != "sharp")].merge(about, on="run_id")
    frame = frame[frame["epoch"] == frame["epochs"]]
    right = frame[(frame["measure"] == "accuracy") & (frame["metric"] == "top1")]
    quality = frame[(frame["measure"] == "deblurring") & (frame["metric"] == "psnr")]
    found: list[Restored] = []
    for (model, *same), own in right.groupby(["model", *ALIKE], sort=False, observed=True, dropna=False):
        if set(own["deblur"].astype(str)) <= {NONE}:
            continue
        shown = quality[np.logical_and.reduce([_equal(quality[k], v) for k, v in zip(ALIKE, same, strict=True)])]
        found.append(Restored(str(same[0]), str(model), int(str(same[1])), _by_method(own), _means(shown)))
    return found


def _equal(column: Any, value: Any) -> Any:
    return (column == value) | (column.isna() & (value != value))


def _by_method(rows: Any) -> dict[tuple[str, str, str], list[float]]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows.sort_values("seed").to_dict("records"):
        key = str(row["blur"]), str(row["deblur"]), str(row["regime"])
        found.setdefault(key, []).append(100 * row["count"] / row["n"])
    return found


def _means(rows: Any) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows.to_dict("records"):
        found.setdefault((str(row["blur"]), str(row["deblur"])), []).append(row["value"])
    return {key: float(np.mean(values)) for key, values in found.items()}


def deblurring_figure(shown: Restored) -> Figure:
    """A row of two axes for each blur, a line in them for each method: top-1 of each regime, and PSNR."""
    regimes = sorted({regime for _, _, regime in shown.accuracy}, key=study_order(REGIMES))
    look, methods = looks(regimes), shown.methods
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(shown.blurs), 2, PAGE, 0.9 + 0.2 * len(methods))
        for (accuracy, quality), blur in zip(axes, shown.blurs, strict=True):
            for place, method in enumerate(methods):
                for regime in regimes:
                    if values := shown.accuracy.get((blur, method, regime)):
                        _points(accuracy, values, place, look[regime])
                if (value := shown.psnr.get((blur, method))) is not None:
                    quality.plot(value, place, color="black", marker="o", linestyle="")
                    quality.annotate(f"{value:.2f}", (value, place), (5, 0), textcoords="offset points", va="center")
            entitle(accuracy, f"{shown.dataset}, {blur}", [f"{one_line(shown.model)}, n = {shown.n:,} images"])
            entitle(quality, "Distance from the sharp image", ["mean over the same images"])
            for own in (accuracy, quality):
                own.set(ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)))
                own.margins(x=0.15)
            accuracy.set_yticklabels([one_line("blurred" if method == NONE else method) for method in methods])
            quality.set_yticklabels([])
            accuracy.set_xlabel("top-1 accuracy (%)")
            quality.set_xlabel("PSNR (dB)")
        handles = [Line2D([], [], **{**look[name], "linestyle": ""}, label=name) for name in regimes]
        handles.append(Line2D([], [], **SEED, markeredgecolor=GREY, label="single seeds"))
        legend(figure, handles, 5)
    return figure


def _points(axes: Axes, values: Sequence[float], place: int, look: Mapping[str, Any]) -> None:
    if len(values) > 1:
        axes.plot(values, [place] * len(values), **SEED, markeredgecolor=look["color"], zorder=2)
    axes.plot(np.mean(values), place, color=look["color"], marker=look["marker"], linestyle="", zorder=3)
