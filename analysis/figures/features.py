"""How far activations stay the same under blur: maps of Hamming distance (as Fig. 4 of Vasiljevic et al. 2016), and
Hamming distance and linear CKA against blur, stage by stage."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.collecting.invariance import Invariance, Trained
from analysis.figures.accuracy import MEANINGS, sigma_axis
from analysis.figures.style import (
    GREY,
    MOST_LINES,
    PAGE,
    SMALL,
    STYLE,
    grid,
    legend,
    looks,
    one_line,
    seeds_text,
    wrapped,
)
from analysis.statistics.estimates import Estimate

COLOURS = "cividis"
"""Perceptually uniform, and the same to most of the colour-blind (Nuñez, Anderton & Renslow 2018)."""
MOST_STAGES, MOST_ROWS = 6, 6
_SIZED = re.compile(r"([a-z][a-z-]*?)-(\d+(?:\.\d+)?)((?:-[^@]*)?)(?:@(\d+))?")
_SIZES = {"gaussian": "sigma", "disk": "radius", "box": "length"}
SCALED = {"hamming": ("Hamming distance (%)", 100), "cka": ("linear CKA", 1)}


def families(levels: Sequence[str]) -> dict[str, dict[float, str]]:
    """The levels of each kind of blur of which there are two sizes or more, by size; 0: sharp, where that is there.

    A kind is called as its labels are, with a * for the size: disk-*@384.
    """
    found: dict[str, dict[float, str]] = {}
    for label in levels:
        if match := _SIZED.fullmatch(label):
            kind, size, rest, at = match.groups()
            found.setdefault(f"{kind}-*{rest}" + (f"@{at}" if at else ""), {})[float(size)] = label
    sharp = {0.0: "sharp"} if "sharp" in levels else {}
    return {name: dict(sorted((sharp | own).items())) for name, own in found.items() if len(own) > 1}


def strongest(levels: Sequence[str]) -> str:
    """At which maps are shown: the largest disk, as theirs, or else the last level."""
    disks = [own for name, own in families(levels).items() if name.startswith("disk-*")]
    disks += [{0.0: label} for label in levels if label.startswith("disk-")]
    return disks[0][max(disks[0])] if disks else levels[-1]


def _few(stages: Sequence[str]) -> list[str]:
    """The first, the last, and others evenly between."""
    if len(stages) <= MOST_STAGES:
        return [*stages]
    return [stages[round(k * (len(stages) - 1) / (MOST_STAGES - 1))] for k in range(MOST_STAGES)]


# --- maps -----------------------------------------------------------------------------------------------------------


def maps_figure(one: Invariance, level: str) -> Figure | None:
    """Means over the images: a row a network, a column a stage, in one scale of colours. None where none was kept."""
    stages = _few(one.stages)
    rows = [
        (f"{own.name}\n({seeds_text([len(own.seeds)])})", [own.maps.get(stage, {}).get(level) for stage in stages])
        for own in one.networks[:MOST_ROWS]
    ]
    rows = [(name, maps) for name, maps in rows if any(own is not None for own in maps)]
    heading = f"{one.title}: Hamming distance between sharp and {level}, mean of n = {one.n:,} images; {one.model}"
    return _maps(rows, [], stages, heading) if rows else None


def examples_figure(one: Invariance, level: str) -> Figure | None:
    """Of some images: the image, blurred, then as `maps_figure`."""
    stages = _few(one.stages)
    networks = [own for own in one.networks if level in own.pictures][:MOST_ROWS]
    if not networks:
        return None
    count = min(max(1, MOST_ROWS // len(networks)), len(networks[0].pictures[level]))
    rows, pictures = [], []
    for k in range(count):
        for own in networks:
            each = [own.examples.get(stage, {}).get(level) for stage in stages]
            rows.append((own.name, [None if maps is None or k >= len(maps) else maps[k] for maps in each]))
            pictures.append(own.pictures[level][k])
    heading = f"{one.title}: Hamming distance between sharp and {level}, of single images; {one.model}"
    return _maps(rows, pictures, stages, heading, f"image at {level}")


def _maps(
    rows: Sequence[tuple[str, Sequence[NDArray[Any] | None]]],
    pictures: Sequence[NDArray[np.uint8]],
    stages: Sequence[str],
    heading: str,
    of_pictures: str = "",
) -> Figure:
    most = max(float(own.max()) for _, maps in rows for own in maps if own is not None)
    columns = len(stages) + bool(pictures)
    side = min(1.25, (PAGE - 0.9) / columns)
    lines = wrapped(heading, 110)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(rows), columns, side * columns + 0.9, side + 0.06)
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(width, 3.4), height + 0.25 + 0.12 * len(lines))
        figure.suptitle("\n".join(lines), fontsize=7.5)
        shown = None
        for row, ((name, maps), places) in enumerate(zip(rows, axes, strict=True)):
            for place in places:
                place.set(xticks=[], yticks=[])
                for spine in place.spines.values():
                    spine.set_visible(False)
            if pictures:
                places[0].imshow(pictures[row], interpolation="none")
                places[0].set_title(one_line(of_pictures) if row == 0 else "", pad=3)
            for stage, own, place in zip(stages, maps, places[bool(pictures) :], strict=True):
                if own is None:
                    place.text(0.5, 0.5, "not kept", ha="center", va="center", fontsize=SMALL, color=GREY)
                else:
                    shown = place.imshow(100 * own, vmin=0, vmax=100 * most, cmap=COLOURS, interpolation="none")
                if row == 0:
                    place.set_title(one_line(stage), pad=3)
            places[0].set_ylabel("\n".join(one_line(part) for part in name.split("\n")))
        if shown is not None:
            bar = figure.colorbar(shown, ax=axes, pad=0.01, fraction=0.02, aspect=30)
            bar.set_label("channels that differ (%)")
            bar.outline.set_visible(False)
    return figure


# --- lines ----------------------------------------------------------------------------------------------------------


def lines_figure(one: Invariance, family: str) -> Figure | None:
    """Hamming distance and linear CKA over the levels of one of `families`: a column a stage, a line a network. None
    where there is no network with two levels."""
    levels = families(one.levels)[family]
    stages = _few(one.stages)
    networks = [own for own in one.networks if any(len(_line(own, "hamming", stage, levels)) > 1 for stage in stages)]
    networks = networks[:MOST_LINES]
    if not networks:
        return None
    look = looks(own.name for own in networks)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(2, len(stages), PAGE if len(stages) > 2 else 4.4, 1.5, sharex=True, sharey="row")
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.35)
        points: list[Estimate] = []
        for metric, places in zip(SCALED, axes, strict=True):
            label, times = SCALED[metric]
            for stage, place in zip(stages, places, strict=True):
                for own in networks:
                    points += _draw(place, _line(own, metric, stage, levels), look[own.name], times)
                if metric == "hamming":
                    place.set_title(one_line(stage), pad=3)
            places[0].set_ylabel(label)
        for place in axes.flat:
            _scale(place, family, [*levels])
        axes[0, 0].set_ylim(bottom=0)
        low = axes[1, 0].get_ylim()[0]
        axes[1, 0].set_ylim(low, 1 + 0.04 * (1 - low))
        figure.supxlabel(_axis(family), fontsize=7.5)
        about = f"{one.title}, {one.model}, n = {one.n:,} images, {seeds_text(len(own.seeds) for own in networks)}"
        handles = [Line2D([], [], **look[own.name], label=own.name) for own in networks]
        over = dict.fromkeys(point.over for point in points if not math.isnan(point.low))
        handles += [Line2D([], [], color=GREY, linestyle="", marker="|", markersize=8, markeredgecolor=GREY,
                           markeredgewidth=0.8, label=MEANINGS[kind]) for kind in over]  # fmt: skip
        legend(figure, handles, 4, title="\n".join(wrapped(about, 110)), title_fontsize=7.5)
    return figure


def _line(own: Trained, metric: str, stage: str, levels: Mapping[float, str]) -> dict[float, Estimate]:
    at = own.values.get(metric, {}).get(stage, {})
    return {size: at[label] for size, label in levels.items() if label in at}


def _draw(axes: Axes, line: Mapping[float, Estimate], look: Mapping[str, Any], times: float) -> list[Estimate]:
    axes.plot([*line], [times * point.value for point in line.values()], **look, zorder=3, clip_on=False)
    bars = {size: point for size, point in line.items() if not math.isnan(point.low)}
    axes.vlines([*bars], [times * p.low for p in bars.values()], [times * p.high for p in bars.values()],
                color=look["color"], linewidth=0.7, alpha=0.7, zorder=2)  # fmt: skip
    return [*line.values()]


def _scale(axes: Axes, family: str, sizes: Sequence[float]) -> None:
    if family == "gaussian-*":
        sigma_axis(axes, sizes)
        for text in axes.texts:
            text.set_visible(False)  # there is no room
    else:
        axes.set_xticks(sizes)
        axes.set_xlim(min(sizes) - 0.3, max(sizes) + 0.3)


def _axis(family: str) -> str:
    """What the horizontal axis shows."""
    kind, _, rest = family.partition("-*")
    angle, _, at = rest.partition("@")
    if kind not in _SIZES:
        return f"severity of the test blur ({kind})"
    name = f"{kind}{angle}" if angle else kind
    return f"{_SIZES[kind]} of the test blur ({name}; pixels at {at or 224} px)"
