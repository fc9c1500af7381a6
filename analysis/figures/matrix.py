"""The train-blur x test-blur matrix: accuracy of each regime (and of the untrained network) at each blur of the test
images, as numbers on colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.collecting.runs import level_order
from analysis.figures.style import COLUMN, PAGE, SMALL, STYLE, entitle, grid, ink_on, one_line, seeds_text, wrapped
from analysis.panels import Curve, Panel
from analysis.statistics.estimates import Estimate

COLOURS = "cividis"
"""Perceptually uniform, and the same to most of the colour-blind (Nuñez, Anderton & Renslow 2018)."""
MOST_COLUMNS, MOST_ROWS = 12, 24
_USUAL = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_OF_TRAINING = "optimisation."


@dataclass(frozen=True)
class Matrix:
    """One panel as a matrix; a cell is an estimate, or why there is none."""

    panel: Panel
    rows: tuple[str, ...]
    columns: tuple[tuple[float, str], ...]
    """Levels: sigma (NaN: no Gaussian) and label."""
    cells: tuple[tuple[Estimate | str, ...], ...]
    seeds: tuple[int, ...]
    """Of each row; 0 where there are no values."""


def matrices(panels: Sequence[Panel], waiting: Mapping[tuple[str, str], Mapping[str, str]] | None = None
             ) -> list[Matrix]:  # fmt: skip
    """Panels of trained networks with two regimes, and two levels of blur, or more.

    Networks that were measured as they came (epochs 0) stand in the matrices of the same dataset, model and conditions.
    waiting: by dataset and model, regimes that have no done run, each with what is to be said of it.
    """
    found = []
    for panel in panels:
        if panel.epochs == 0:
            continue
        untrained = [curve for other in panels if other.epochs == 0 and _same(panel, other) for curve in other.curves]
        curves = [*untrained, *panel.curves]
        columns = _columns(curves)
        if len(curves) < 2 or len(columns) < 2:
            continue
        have = {curve.regime for other in panels for curve in other.curves
                if (other.dataset, other.model) == (panel.dataset, panel.model)}  # fmt: skip
        gaps = {regime: why for regime, why in (waiting or {}).get((panel.dataset, panel.model), {}).items()
                if regime not in have}  # fmt: skip
        shown = curves[:MOST_ROWS]
        cells = [tuple(_cell(curve, *level) for level in columns) for curve in shown]
        cells += [(why,) * len(columns) for why in gaps.values()]
        rows = [*(curve.regime for curve in shown), *gaps]
        seeds = [*(len(curve.seeds) for curve in shown), *(0 for _ in gaps)]
        found.append(Matrix(panel, tuple(rows), tuple(columns), tuple(cells), tuple(seeds)))
    return found


def _same(panel: Panel, other: Panel) -> bool:
    """Whether all but the training of two panels is the same."""
    names = {*panel.alike, *other.alike} - {"epoch"}
    return all(repr(panel.alike.get(name)) == repr(other.alike.get(name))
               for name in names if not name.startswith(_OF_TRAINING))  # fmt: skip


def _columns(curves: Sequence[Curve]) -> list[tuple[float, str]]:
    sigmas = sorted({sigma for curve in curves for sigma in curve.points})
    labels = sorted(
        {label for curve in curves for label in curve.others}, key=lambda label: level_order(math.nan, label)
    )
    most = max(2, MOST_COLUMNS - len(labels))
    if len(sigmas) > most:
        usual = [sigma for sigma in sigmas if sigma in _USUAL]
        sigmas = usual if 1 < len(usual) <= most else sigmas[:: math.ceil(len(sigmas) / most)]
    return [*((sigma, f"{sigma:.3g}") for sigma in sigmas), *((math.nan, label) for label in labels)][
        : 2 * MOST_COLUMNS
    ]


def _cell(curve: Curve, sigma: float, label: str) -> Estimate | str:
    point = curve.others.get(label) if math.isnan(sigma) else curve.points.get(sigma)
    return "not measured" if point is None or math.isnan(point.value) else point


def matrix_figure(matrix: Matrix) -> Figure:
    """Rows: what the network was trained on; columns: blurs of the test images; numbers: top-1 in percent."""
    rows, columns = len(matrix.rows), len(matrix.columns)
    width = PAGE if columns > 5 else COLUMN + 0.6
    panel = matrix.panel
    counts = f"n = {panel.n:,} images, {seeds_text(seeds for seeds in matrix.seeds if seeds)}; {panel.model}"
    heading = [*wrapped(panel.detail, round(width * 19)), one_line(counts)]
    values = [100 * cell.value for row in matrix.cells for cell in row if not isinstance(cell, str)]
    norm = Normalize(min(values, default=0), max(max(values, default=1), min(values, default=0) + 1))
    colours = matplotlib.colormaps[COLOURS]
    with matplotlib.rc_context({**STYLE, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure, ((axes,),) = grid(1, 1, width, 0.95 + 0.24 * rows + 0.11 * len(heading))
        shown = np.full((rows, columns), math.nan)
        for r, row in enumerate(matrix.cells):
            if all(isinstance(cell, str) for cell in row):
                _gap(axes, r, 0, columns, str(row[0]))
                continue
            for c, cell in enumerate(row):
                if isinstance(cell, str):
                    _gap(axes, r, c, 1, "–")
                    continue
                shown[r, c] = 100 * cell.value
                partial = f"\n{seeds_text([cell.seeds])}" if cell.seeds != matrix.seeds[r] else ""
                axes.text(c, r, f"{100 * cell.value:.1f}{partial}", ha="center", va="center", fontsize=SMALL,
                          linespacing=0.9, color=ink_on(colours(norm(100 * cell.value))))  # fmt: skip
        picture = axes.imshow(shown, cmap=colours, norm=norm, aspect="auto", interpolation="none")
        axes.set_yticks(range(rows), [_row(matrix, r) for r in range(rows)])
        axes.set_xticks(range(columns), [_head(label) for _, label in matrix.columns])
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1)
        axes.tick_params(which="minor", length=0)
        axes.set(xlabel="blur of the test images (numbers: sigma in pixels at 224 px)", ylabel="trained on")
        entitle(axes, panel.dataset, heading)
        bar = figure.colorbar(picture, ax=axes, pad=0.01, fraction=0.03)
        bar.set_label("top-1 (%)")
        bar.outline.set_visible(False)
        if any(cell == "not measured" for row in matrix.cells for cell in row):
            figure.text(0.01, 0.005, "–: not measured", fontsize=SMALL)
    return figure


def _gap(axes: Axes, row: int, column: int, columns: int, why: str) -> None:
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), columns, 1, facecolor="#f4f4f4", edgecolor="#b5b5b5",
                             hatch="////", linewidth=0))  # fmt: skip
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.text(column + (columns - 1) / 2, row, one_line(why), ha="center", va="center", fontsize=SMALL, bbox=box)


def _row(matrix: Matrix, row: int) -> str:
    uneven = len({seeds for seeds in matrix.seeds if seeds}) > 1 and matrix.seeds[row]
    name = one_line(matrix.rows[row])
    name = name if len(name) <= 28 else f"{name[:27]}…"
    return f"{name} ({seeds_text([matrix.seeds[row]])})" if uneven else name


def _head(label: str) -> str:
    """Long labels break before the side that they are defined at."""
    name = one_line(label)
    return name.replace("@", "\n@") if len(name) > 7 else name
