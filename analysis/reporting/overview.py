"""What the runs of a folder differ in, whatever that is, and a row for each combination."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.panels import SAID_BY, Curve, Panel
from blurtrain.settings.labels import short_names, shown

LINES = 8
"""Of one chart."""
_OF_DATA = ("data_id", "n", "classes", "largest_class")
_NAMED = ("dataset", "regime", "model")


@dataclass(frozen=True)
class Axis:
    """Something that the runs differ in."""

    name: str
    """dataset, regime, model, a setting by its dotted name, or a condition of measuring."""
    title: str
    """Its name, as short as it is clear."""
    values: tuple[str, ...]
    """In the order in which they come."""


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone."""

    values: tuple[str, ...]
    """One an axis."""
    panel: Panel
    curve: Curve


@dataclass(frozen=True)
class Overview:
    """All combinations of axes that were measured."""

    axes: tuple[Axis, ...]
    """Dataset and regime always, others where there are several values."""
    rows: tuple[Row, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of any row, in order."""
        return tuple(sorted({seed for row in self.rows for seed in row.curve.seeds}))

    @property
    def varying(self) -> tuple[Axis, ...]:
        """The axes that have several values."""
        return tuple(axis for axis in self.axes if len(axis.values) > 1)


def overview(panels: Sequence[Panel]) -> Overview:
    """All combinations that were measured."""
    if not panels:  # runs of other tasks than classification
        return Overview((), ())
    names = varying(panels)
    values = [
        (panel.dataset, curve.regime, *(_word(panel.alike[name]) for name in names))
        for panel in panels for curve in panel.curves
    ]  # fmt: skip
    titles = short_names(names)
    titles |= {name: name.replace("_", " ") for name in names if "." not in name}
    axes = [Axis(name, titles.get(name, name), tuple(dict.fromkeys(column)))
            for name, column in zip(("dataset", "regime", *names), zip(*values, strict=True), strict=True)]  # fmt: skip
    curves = [(panel, curve) for panel in panels for curve in panel.curves]
    return Overview(tuple(axes), tuple(Row(own, *of) for own, of in zip(values, curves, strict=True)))


def varying(panels: Sequence[Panel]) -> list[str]:
    """What panels differ in beyond their dataset, by the names of `Panel.alike`; what follows from others is not among
    them."""
    if not panels:
        return []
    found = [name for name in panels[0].alike if name != "dataset" and _count(panels, name) > 1]
    brief = [name for name in found if not set(SAID_BY.get(name, ())) & set(found)]
    kinds = {(panel.dataset, *(_word(panel.alike[name]) for name in brief)) for panel in panels}
    brief = brief if len(kinds) == len(panels) else found  # as of stages, if runs were trained for so many epochs too
    return [name for name in brief if not (name in _OF_DATA and _follows_from_dataset(panels, name))]


def _count(panels: Sequence[Panel], name: str) -> int:
    return len({_word(panel.alike[name]) for panel in panels})


def _follows_from_dataset(panels: Sequence[Panel], name: str) -> bool:
    return len({(panel.dataset, _word(panel.alike[name])) for panel in panels}) == len({p.dataset for p in panels})


def _word(value: Any) -> str:
    return shown(value.item() if hasattr(value, "item") else value)


def gathered(panels: Sequence[Panel]) -> list[Panel]:
    """For charts: panels with one and the same regime alone, on the same test images, as one panel with a line each,
    called by what sets them apart; others as they are.

    Where that were more than LINES lines, those with the same value in some of their settings share a panel.
    """
    groups: dict[Any, list[Panel]] = {}
    for panel in panels:
        kind = tuple(_word(panel.alike[name]) for name in _OF_DATA if name in panel.alike)
        groups.setdefault((panel.dataset, panel.conditions["split"], panel.objects, *kind), []).append(panel)
    made: list[Panel] = []
    for group in groups.values():
        regimes = {curve.regime for panel in group for curve in panel.curves}
        made += _together(group) if len(group) > 1 and len(regimes) == 1 else group
    return made


def _together(group: Sequence[Panel]) -> list[Panel]:
    names = sorted(varying(group), key=lambda name: _count(group, name))
    if not names:
        return list(group)
    apart: list[str] = []
    while _most(group, apart) > LINES and len(apart) < len(names) - 1:
        apart.append(names[len(apart)])
    if _most(group, apart) > LINES:
        return list(group)
    titles = short_names(names)
    within = [name for name in names if name not in apart]
    by: dict[tuple[str, ...], list[Panel]] = {}
    for panel in group:
        by.setdefault(tuple(_word(panel.alike[name]) for name in apart), []).append(panel)
    return [
        replace(
            own[0],
            detail=", ".join(_named(own[0].alike, name, titles) for name in apart),
            curves=tuple(
                replace(curve, regime=", ".join(_named(panel.alike, name, titles) for name in within))
                for panel in own for curve in panel.curves
            ),
            ratios=(),
        )
        for own in by.values()
    ]  # fmt: skip


def _most(group: Sequence[Panel], apart: Sequence[str]) -> int:
    counts: dict[tuple[str, ...], int] = {}
    for panel in group:
        key = tuple(_word(panel.alike[name]) for name in apart)
        counts[key] = counts.get(key, 0) + len(panel.curves)
    return max(counts.values())


def _named(alike: Mapping[str, Any], name: str, titles: Mapping[str, str]) -> str:
    return _word(alike[name]) if name in _NAMED else f"{titles[name]} {_word(alike[name])}"
