"""What the lines of a figure show, in words and numbers: a report lists them, and shows them under the pointer."""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from matplotlib.lines import Line2D


@dataclass(frozen=True)
class LineValues:
    """What there is to say of a line beside its points."""

    name: str
    spans: Mapping[float, tuple[float, float]]
    """95 % intervals by x, in the units of y."""
    chart: str
    """What the line is of where its axes have no title."""


_KNOWN: WeakKeyDictionary[Line2D, LineValues] = WeakKeyDictionary()


def show_values(
    line: Line2D, name: str, spans: Mapping[float, tuple[float, float]] | None = None, chart: str = ""
) -> None:
    """Let a report show the points of this line."""
    _KNOWN[line] = LineValues(name, spans or {}, chart)


def values_of(line: Line2D) -> LineValues | None:
    """None: it shows no values, or none that would say something."""
    return _KNOWN.get(line)
