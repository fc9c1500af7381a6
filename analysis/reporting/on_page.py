"""A figure as the page shows it: an image that needs no file, and the values drawn in it, with their places."""

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.values import values_of

SCALE = 1.35
"""The page shows figures larger than they are printed."""
MOST_POINTS = 1500
"""Of one figure; where there are more, only those that have a marker, and no more than that of all."""


@dataclass(frozen=True)
class Point:
    """One value of a line."""

    x: str
    y: str
    interval: str
    """Empty where none is drawn."""
    at: tuple[float, float]
    """Its place: shares of the figure's width and height, from the left and from the top."""


@dataclass(frozen=True)
class Line:
    """One line of one chart."""

    name: str
    """Of its chart and its own."""
    x: str
    y: str
    """What its axes are called."""
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Drawn:
    """A figure as the page shows it."""

    url: str
    """Empty where the page has no budget for it: then its files are all there is."""
    width: int
    height: int
    """Of the image on the page, in CSS pixels."""
    lines: tuple[Line, ...] = ()
    omitted: int = 0
    """Values that are drawn, but not among those of `lines`."""

    @property
    def x(self) -> str:
        """What the axes are called, where all are called alike."""
        names = {line.x for line in self.lines}
        return names.pop() if len(names) == 1 else "x"

    @property
    def y(self) -> str:
        """The same, of the other axis."""
        names = {line.y for line in self.lines}
        return names.pop() if len(names) == 1 else "y"

    def heading(self, line: Line) -> str:
        """Its name, with what its axes are called where that differs from line to line."""
        axes = [f"{axis}: {name}" for axis, name in (("x", line.x), ("y", line.y)) if getattr(self, axis) != name]
        return "; ".join([line.name, *axes])


@dataclass
class Budget:
    """What the page can still take of figures, so that it stays one that a browser opens at once."""

    letters: int = 4_000_000
    """Of images."""
    points: int = 8000

    def drawn(self, figure: Figure, svg: bytes) -> Drawn:
        """The figure, once it was written as SVG (which lays it out)."""
        url = "data:image/svg+xml;base64," + base64.b64encode(_brief(svg)).decode()
        url = url if len(url) <= self.letters else ""
        self.letters -= len(url)
        width, height = (round(SCALE * 96 * inches) for inches in figure.get_size_inches())
        lines = [line for axes in figure.axes for line in _lines(figure, axes, marked_only=False)]
        total = sum(len(line.points) for line in lines)
        most = min(MOST_POINTS, self.points)
        if total > most:
            lines = [line for axes in figure.axes for line in _lines(figure, axes, marked_only=True)]
        kept, count = [], 0
        for line in lines:
            if count + len(line.points) > most:
                break
            kept.append(line)
            count += len(line.points)
        self.points -= count
        return Drawn(url, width, height, tuple(kept), total - count)


def _brief(svg: bytes) -> bytes:
    """Places of paths to a hundredth of a point, which nobody sees; what is written stays as it is."""
    return _PATHS.sub(lambda path: _DECIMALS.sub(rb"\1", path[0]), svg)


_PATHS = re.compile(rb"<(?:path|use) [^>]*>")
_DECIMALS = re.compile(rb"(\.\d\d)\d+")


def _lines(figure: Figure, axes: Axes, marked_only: bool) -> Iterator[Line]:
    title, words = " ".join((axes.get_title(loc="left") or axes.get_title()).split()), _words(axes)
    x_label, y_label = _x_label(figure, axes), _y_label(figure, axes)
    width, height = figure.bbox.width, figure.bbox.height
    for line in axes.lines:
        shown = values_of(line)
        if shown is None:
            continue
        marked = set(every) if isinstance(every := line.get_markevery(), list) else None
        points = []
        xy = np.asarray(line.get_xydata(), float)
        for k, (x, y) in enumerate(xy.tolist()):
            if not (math.isfinite(x) and math.isfinite(y)) or (marked_only and marked is not None and k not in marked):
                continue
            left, bottom = axes.transData.transform((x, y))
            at = (float(left / width), float(1 - bottom / height))
            if 0 <= at[0] <= 1 and 0 <= at[1] <= 1:
                name = words.get(round(x), f"{x:.6g}") if words else f"{x:.6g}"
                points.append(Point(name, f"{y:.4g}", _interval(shown.spans.get(x)), at))
        if points:
            name = ": ".join(part for part in (title or shown.chart, shown.name) if part)
            yield Line(name, x_label, y_label, tuple(points))


def _interval(span: tuple[float, float] | None) -> str:
    return "" if span is None or math.isnan(span[0]) else f"{span[0]:.4g}–{span[1]:.4g}"


def _x_label(figure: Figure, axes: Axes) -> str:
    """Its own, that of other axes of its column, or that of the whole figure."""
    left = axes.get_position().x0
    column = [other.get_xlabel() for other in figure.axes if abs(other.get_position().x0 - left) < 0.01]
    return _one_line(axes.get_xlabel() or next(filter(None, column), "") or figure.get_supxlabel() or "x")


def _y_label(figure: Figure, axes: Axes) -> str:
    bottom = axes.get_position().y0
    row = [other.get_ylabel() for other in figure.axes if abs(other.get_position().y0 - bottom) < 0.01]
    return _one_line(axes.get_ylabel() or next(filter(None, row), "") or figure.get_supylabel() or "y")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _words(axes: Axes) -> dict[float, str]:
    """What stands at the ticks of an axis without a scale; empty where they are numbers."""
    found = {float(at): _one_line(label.get_text())
             for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=False)}  # fmt: skip
    return found if any(not _is_number(text) for text in found.values()) else {}


def _is_number(text: str) -> bool:
    """Also an empty one, or one with an exponent, as axes write it."""
    try:
        float(text.replace("\N{MINUS SIGN}", "-") or 0)
    except ValueError:
        return "$" in text
    return True
