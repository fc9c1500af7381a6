"""Shape bias: of the decisions for shape or texture on images whose cues conflict, the share of those for shape."""

from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from analysis.collecting.collection import Collection
from analysis.figures.style import COLUMN, GREY, STYLE, entitle, grid, looks, one_line
from analysis.literature import REGIMES, study_order
from analysis.statistics.intervals import wilson

MEASURE = "shape-bias"


@dataclass(frozen=True)
class Decisions:
    """Of one run."""

    regime: str
    seed: int
    shape: int
    texture: int
    n: int
    """Images."""


def decisions(collection: Collection, run_ids: Iterable[str]) -> dict[tuple[str, str, str], list[Decisions]]:
    """Of these runs after their last epoch, by dataset, model and measure (with its options)."""
    rows = collection.measures()
    rows = rows[rows["measure"].astype(str).str.startswith(MEASURE) & rows["run_id"].isin([*run_ids])]
    runs = collection.runs.set_index("run_id")
    found: dict[tuple[str, str, str], list[Decisions]] = {}
    for (measure, run_id, epoch), own in rows.groupby(["measure", "run_id", "epoch"], sort=False, observed=True):
        run = runs.loc[str(run_id)]
        known = own.dropna(subset=["count"])
        counts = dict(zip(known["metric"].astype(str), known["count"].astype(int).tolist(), strict=True))
        if epoch != run["epochs"] or not {"shape", "texture"} <= counts.keys():
            continue
        one = Decisions(
            str(run["regime"]), int(str(run["seed"])), counts["shape"], counts["texture"], int(own["n"].iloc[0])
        )
        found.setdefault((str(run["dataset"]), str(run["model"]), str(measure)), []).append(one)
    for some in found.values():
        some.sort(key=lambda one: (study_order(REGIMES)(one.regime), one.seed))
    return found


def shape_bias_figure(dataset: str, model: str, some: list[Decisions]) -> Figure:
    """A line a regime and a point a run, with Wilson's 95 % interval of its decisions: texture left, shape right."""
    regimes = [*dict.fromkeys(one.regime for one in some)]
    look = looks(regimes)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(1, 1, COLUMN, 0.9 + 0.32 * len(regimes))
        place = axes[0, 0]
        for row, regime in enumerate(regimes):
            own = [one for one in some if one.regime == regime and one.shape + one.texture]
            colour, marker = look[regime]["color"], look[regime]["marker"]
            for k, one in enumerate(own):
                y, total = row + (k - (len(own) - 1) / 2) * 0.16, one.shape + one.texture
                low, high = wilson(one.shape, total)
                place.hlines(y, 100 * low, 100 * high, color=colour, linewidth=0.9, zorder=2)
                place.plot(100 * one.shape / total, y, color=colour, marker=marker, linestyle="", zorder=3)
            decided = sum(one.shape + one.texture for one in own)
            text = f"{decided} decisions" if own else "none for shape or texture"
            place.annotate(text, (1, row), (2, 0), ("axes fraction", "data"), textcoords="offset points",
                           va="center", fontsize=5.5, color=GREY, annotation_clip=False)  # fmt: skip
        place.axvline(50, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
        place.set(xlim=(0, 100), ylim=(len(regimes) - 0.5, -0.5), yticks=range(len(regimes)))
        place.set_yticklabels([one_line(regime) for regime in regimes])
        place.set_xlabel("shape bias (%):  texture  0 – 100  shape")
        n = ", ".join(f"{n:,}" for n in sorted({one.n for one in some}))
        entitle(place, dataset, [f"{one_line(model)}, n = {n} images; a point a seed"])
    return figure
