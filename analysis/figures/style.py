"""How all figures look, and how they become files: fonts, widths, colours, and PNG, SVG and PDF without dates.

Figures are made without pyplot, so there is no global state and no display. The same figure gives the same bytes.
"""

import io
import itertools
import logging
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.literature import BLURRY, BLURRY_TO_CLEAR, CLEAR, DATASETS, REGIMES, study_order

COLUMN, PAGE = 3.4, 7.0
"""Widths in inches at which figures are printed: one column, two columns."""
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so a figure is the same everywhere
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 7,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.5,
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.hashsalt": "blurtrain",
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,  # TrueType, as publishers ask for
}
MOST_LINES = 8
"""Of one axis that an eye can follow, where each has its own colour."""
SMALL = 6
"""Size in points of what explains."""
GREY = "#6b6b6b"
GRID = "#e8e8e8"

# Okabe & Ito's colours (2008), safe for the colour-blind; line and marker tell the regimes apart in grey print too.
LOOKS: dict[str, dict[str, Any]] = {
    CLEAR: {"color": "#0072B2", "linestyle": (0, (5, 1.5)), "marker": "o"},
    BLURRY: {"color": "#009E73", "linestyle": (0, (5, 1.5, 1, 1.5)), "marker": "s"},
    BLURRY_TO_CLEAR: {"color": "#D55E00", "linestyle": "-", "marker": "^"},
}
_COLOURS_OF_DATASETS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#000000")
_LINES_OF_DATASETS = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (9, 2)), (0, (7, 1.5, 1, 1, 1, 1.5)))
_OTHER_COLOURS = ("#CC79A7", "#000000", "#56B4E9", "#E69F00")
_OTHER_LINES = ((0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)), (0, (6, 1, 1, 1, 1, 1, 1, 1)))
_OTHER_MARKERS = ("D", "v", "P", "X", "p", "<", ">")


@dataclass(frozen=True)
class Picture:
    """A figure as a report shows it."""

    name: str
    """Of its files, without an ending."""
    title: str
    alt: str
    """For who does not see it."""
    caption: str
    figure: Figure

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return _saved(self.figure, "png", 110)


def looks(regimes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each regime is drawn: the study's always alike, the others by alphabet."""
    return _looks(sorted(set(regimes), key=study_order(REGIMES)), LOOKS)


def dataset_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each line is drawn where lines are datasets: the study's always alike, the others in their order."""
    known = zip(DATASETS, _COLOURS_OF_DATASETS, _LINES_OF_DATASETS, ("o", "s", "^", "D", "v"), strict=True)
    return _looks(
        list(dict.fromkeys(names)), {name: {"color": c, "linestyle": line, "marker": m} for name, c, line, m in known}
    )


def _looks(ordered: Sequence[str], known: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    others = zip(
        (name for name in ordered if name not in known),
        # Three cycles of different lengths: 140 names before a combination comes again.
        zip(itertools.cycle(_OTHER_COLOURS), itertools.cycle(_OTHER_LINES), itertools.cycle(_OTHER_MARKERS)),
        strict=False,
    )
    more = {name: dict(zip(("color", "linestyle", "marker"), look, strict=True)) for name, look in others}
    return {name: known.get(name) or more[name] for name in ordered}


def one_line(text: str) -> str:
    """A name as it may stand in a figure, whatever it holds: one line, of characters that XML allows."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def wrapped(text: str, letters: int) -> list[str]:
    """Lines that end between settings, not within one, unless it is longer than a line."""
    whole = one_line(text).replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(whole, letters, break_on_hyphens=False)]


def grid(rows: int, columns: int, width: float, height: float, **more: Any) -> tuple[Figure, Any]:
    """A figure with axes [rows, columns]; height: of a row (inches)."""
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.02, hspace=0.03)
    figure = Figure(figsize=(width, rows * height), layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def entitle(axes: Axes, title: str, below: Sequence[str]) -> None:
    """A bold title, and under it what explains it, line by line."""
    axes.set_title(one_line(title), loc="left", fontweight="bold", pad=4 + 7.6 * len(below))
    axes.annotate("\n".join(below), (0, 1), (0, 3), "axes fraction", textcoords="offset points", color=GREY,
                  fontsize=SMALL)  # fmt: skip


def legend(figure: Figure, handles: Sequence[Any], columns: int, **more: Any) -> None:
    """The legend above a figure, in at most so many columns, as many as there is width for; an entry that is longer
    than the figure is wide is wrapped."""
    width = figure.get_figwidth()
    letters = round((width - 0.8) / 0.064)
    for handle in handles:
        handle.set_label("\n".join(wrapped(handle.get_label(), letters)))
    longest = [max(map(len, handle.get_label().split("\n"))) for handle in handles]

    def fits(count: int) -> bool:
        return sum(0.062 * max(part, default=0) + 0.6 for part in np.array_split(longest, count)) < width + 0.1

    count = next((count for count in range(columns, 1, -1) if fits(count)), 1)
    figure.legend(handles=handles, loc="outside upper center", ncols=count, frameon=False, handlelength=3, **more)


def ink_on(colour: Any) -> str:
    """Black or white, whichever contrasts more with `colour`, by the relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def seeds_text(counts: Iterable[int]) -> str:
    """`1 seed`, `2 seeds` or `1–3 seeds`."""
    present = sorted(set(counts))
    if not present:
        return "no seed"
    span = str(present[0]) if len(present) == 1 else f"{present[0]}–{present[-1]}"
    return "1 seed" if present == [1] else f"{span} seeds"


def shape(items: int, most: int = 3) -> tuple[int, int]:
    """Rows and columns of so many panels."""
    columns = min(most, items)
    return math.ceil(items / columns), columns


_METADATA: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None},
                                         "pdf": {"CreationDate": None}}  # fmt: skip
KINDS = tuple(_METADATA)


def as_files(figure: Figure) -> dict[str, bytes]:
    """The figure as {"png": ..., "svg": ..., "pdf": ...}, without dates."""
    # Laid out once and not for each kind: of many charts, that takes as long as drawing them.
    with matplotlib.rc_context(STYLE):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    # A picture may have 65,535 pixels a side.
    files = {kind: _saved(figure, kind, min(300, 60000 / figure.get_figheight())) for kind in KINDS}
    # Where a browser has no DejaVu Sans, Verdana has letters of the same widths.
    files["svg"] = files["svg"].replace(b"'DejaVu Sans', sans-serif", b"'DejaVu Sans', Verdana, sans-serif")
    return files


def _saved(figure: Figure, kind: str, dpi: float) -> bytes:
    buffer, dpi_before, canvas_before = io.BytesIO(), figure.dpi, figure.canvas
    canvas = get_registered_canvas_class(kind)(figure)
    figure.dpi = dpi
    try:
        # `savefig` would draw it twice, as if it had still to be laid out.
        with matplotlib.rc_context(STYLE), _quiet("fontTools.subset"):
            getattr(canvas, f"print_{kind}")(buffer, metadata=_METADATA[kind])
    finally:
        figure.dpi = dpi_before
        figure.set_canvas(canvas_before)
    return buffer.getvalue()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without what a library logs of its ordinary work, where the program shows its own."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
