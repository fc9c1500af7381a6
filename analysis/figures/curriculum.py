"""A picture of a curriculum: how blurred the images of each epoch are."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Sharp
from blurtrain.blur.curricula import Curriculum
from blurtrain.blur.resampling import scaled
from blurtrain.errors import SettingsError
from blurtrain.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR, INK, BAR = "#D55E00", "#444444", "#F0B88F"
BANDS = ((0.05, 0.95, "#F9E2D2"), (0.25, 0.75, BAR))
"""Quantiles between which a band is drawn, and its colour."""
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
}
_DRAWS = (np.arange(10_000) + 0.5) / 10_000  # at equal distances: shares and quantiles to 1/10,000
_OTHERS = _DRAWS[np.arange(10_000) * 6181 % 10_000]  # the same, in an order that has nothing to do with the first
_FEW = 8  # levels that an eye keeps apart
_NAMED = 24  # rows that can have their names beside each other
_PER_EPOCH = 40  # points of a curve that falls within epochs too


def curriculum_figure(settings: Settings) -> "Figure":
    """Sigma, or the shares of other blurs, over the epochs of a run.

    Line: the mean over the images. Where a level is drawn: bars as high as the share of the images (or batches, where
    these share a draw) at each of a few levels, or bands that hold the middle 50 % and 90 % of the blurred ones, and in
    words the share that is sharp. Right: pixels at the run's own resolution. Blurs that are not given by sigma have a
    row each, with bars alone. Raises SettingsError where there is no epoch.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    curriculum, epochs = settings.curriculum, settings.optimisation.epochs
    if not epochs:
        raise SettingsError("optimisation.epochs=0: nothing is trained, so there is no curriculum to draw")
    drawn, edges, labels = _drawn(curriculum, epochs)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        lowest, highest = 0.0, float(drawn.max()) or (1.0 if _smooths_features(curriculum, epochs) else 8.0)
        by_chance = bool(labels) or bool(np.ptp(drawn, axis=1).any())
        levels = np.arange(float(len(labels))) if labels else np.unique(drawn)
        if by_chance and len(levels) <= max(_FEW, len(labels)):
            at = "this blur" if labels else "this sigma"
            height = _bars(axes, levels, drawn, edges, f"{_what_draws(curriculum)} at {at}")
            lowest, highest = lowest - height / 2, float(levels.max()) + height / 2
        elif by_chance:
            _bands(axes, drawn, edges, curriculum)
        if labels:
            every = -(-len(labels) // _NAMED)
            axes.set_yticks(levels[::every], labels[::every])
        else:
            look: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 1.5))} if by_chance else {"color": COLOUR}
            axes.stairs(drawn.mean(axis=1), edges, baseline=None, linewidth=1.6, label="mean of the images", **look)
        if by_chance:
            axes.legend(
                loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=7.5, borderaxespad=0.2
            )
        pad = 0.06 * (highest - lowest)
        axes.set_ylim(lowest - pad, highest + pad)
        _furnish(axes, settings)
    return figure


def save(settings: Settings, path: Path) -> None:
    """Draw `curriculum_figure` into `path` (its folder is made); raises SettingsError for a name that is no picture's.

    The same settings give the same bytes.
    """
    kinds = {".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    if path.suffix.lower() not in kinds:
        raise SettingsError(f"{path}: a picture's name must end in one of {', '.join(kinds)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "blurtrain"}):
        curriculum_figure(settings).savefig(path, dpi=160, metadata=kinds[path.suffix.lower()])


def _drawn(curriculum: Curriculum, epochs: int) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Sigma by time and chance [times, draws], the epochs between which each of the times lies [times + 1], and no
    labels; of blurs that are not given by sigma, their rows and labels (the first at the top)."""
    if _smooths_features(curriculum, epochs):
        return np.array([[curriculum.feature_sigma(k)] for k in range(epochs)]), np.arange(epochs + 1.0), []

    def assigned(epoch: int, within: NDArray[np.float64], draws: slice) -> Assignment:
        return curriculum.assign(epoch, epochs, within=within, images=_DRAWS[draws], batches=_OTHERS[draws])

    times, draws = np.zeros((1, 1)), slice(None)
    parts = (np.arange(_PER_EPOCH)[:, None] + 0.5) / _PER_EPOCH
    if np.ptp(assigned(0, parts, slice(1)).sigmas):  # it changes within epochs, too
        times, draws = parts, slice(None, None, 10)
    by_epoch = [assigned(epoch, times, draws) for epoch in range(epochs)]
    edges = np.linspace(0, epochs, epochs * len(times) + 1)
    if all(a.which is None for a in by_epoch):
        return np.concatenate([a.sigmas for a in by_epoch]), edges, []
    # Epochs before the blurs begin are given by sigma: they are sharp.
    named = [a if a.which is not None else Assignment.of((Sharp(),), np.zeros(a.sigmas.shape, int)) for a in by_epoch]
    drawn = [a for a in by_epoch if a.which is not None]
    labels = list(dict.fromkeys(blur.label for a in (*drawn, *named) for blur in reversed(a.blurs)))
    rows = [np.array([float(labels.index(blur.label)) for blur in a.blurs])[a.which] for a in named]
    return np.concatenate(rows), edges, labels


def _smooths_features(curriculum: Curriculum, epochs: int) -> bool:
    return any(curriculum.feature_sigma(epoch) for epoch in range(epochs))


def _what_draws(curriculum: Curriculum) -> str:
    return "batches" if curriculum.one_draw_a_batch else "images"


def _bars(
    axes: "Axes", levels: NDArray[np.float64], drawn: NDArray[np.float64], edges: NDArray[np.float64], what: str
) -> float:
    """Around each level a bar as high as the share of the images there; returns the height of the highest.

    The highest fills four fifths of the distance between the nearest levels, or a quarter of the whole range.
    """
    shares = np.stack([(drawn == level).mean(axis=1) for level in levels])  # [level, epoch]
    most = min(0.8 * float(np.diff(levels).min()), 0.25 * float(np.ptp(levels))) if len(levels) > 1 else 0.8
    for k, (level, share) in enumerate(zip(levels, shares, strict=True)):
        half = np.append(share, share[-1]) / shares.max() * most / 2
        axes.fill_between(
            edges,
            level - half,
            level + half,
            where=(half > 0) | np.append(False, share > 0),
            step="post",
            facecolor=BAR,
            edgecolor=BAR,
            linewidth=0.8,  # so that a share of one in a thousand is still seen
            label="" if k else f"height: share of the {what}",
        )
        ends = [(0, share[0], "left", 5)] if np.ptp(share) else []
        for x, value, side, indent in [*ends, (edges[-1], share[-1], "right", -5)]:
            if value:
                axes.annotate(
                    f"{100 * value:.3g} %",
                    (x, level),
                    (indent, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=7,
                    color=INK,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                )
    axes.set_yticks(levels)
    return most


def _bands(axes: "Axes", drawn: NDArray[np.float64], edges: NDArray[np.float64], curriculum: Curriculum) -> None:
    share = float((drawn > 0).mean())
    what = _what_draws(curriculum) if share == 1 else "blurred"
    if share < 1:
        drawn = np.sort(drawn, axis=1)[:, -round(share * drawn.shape[1]) :]
        axes.annotate(
            f"{100 * (1 - share):.3g} % of the images: sharp",
            (edges[-1], 0),
            (-5, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color=INK,
        )
    for low, high, colour in BANDS:
        under, over = (np.append(q, q[-1]) for q in np.quantile(drawn, (low, high), axis=1))
        axes.fill_between(
            edges,
            under,
            over,
            step="post",
            color=colour,
            linewidth=0,
            label=f"{100 * low:.0f}–{100 * high:.0f} % of the {what}",
        )


def _furnish(axes: "Axes", settings: Settings) -> None:
    curriculum, epochs = settings.curriculum, settings.optimisation.epochs
    resolution, reference = settings.data.resolution, settings.blur.reference_resolution
    axes.set_xlim(0, epochs)
    axes.set_xlabel("epoch")
    axes.grid(axis="y", color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["right"].set_visible(False)
    if _smooths_features(curriculum, epochs):
        axes.set_ylabel("sigma of the feature maps (feature pixels)")
    elif not curriculum.used():
        axes.set_ylabel(f"sigma (pixels at {reference})")
        if resolution != reference:
            share = scaled(1.0, resolution, reference)
            own = axes.secondary_yaxis(
                "right", functions=(partial(np.multiply, share), partial(np.multiply, 1 / share))
            )
            own.set_ylabel(f"pixels at this run's {resolution}")
    named = settings.regime if settings.regime == curriculum.schedule else f"{settings.regime}: {curriculum.schedule}"
    parts = [named, f"{epochs} epoch{'s' * (epochs != 1)}"]
    if _what_draws(curriculum) == "batches":
        parts.append("one draw a batch")
    if at_test := curriculum.feature_sigma_at_test(epochs):
        parts.append(f"at test {at_test:.2g}")
    axes.figure.suptitle(" · ".join(parts), fontsize=10)
