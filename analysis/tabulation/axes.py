"""Rows and columns: as a spec names them, or found among the runs; and which measurements are of which line."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.tabulation.codes import Ints, combined, natural, split
from analysis.tabulation.selection import Selection
from analysis.tabulation.specs import OF_A_LEVEL, Found, Line, TableSpec
from blurtrain.settings.labels import short_names, shown

CONTEXT = ("dataset", "model", "data_id")
"""What makes groups of rows where runs differ in it and no line says it."""
PLAIN = ("dataset", "regime", "model", "blur", "protocol", "deblur", "split", "run_id")
"""Names whose values speak for themselves."""


@dataclass(frozen=True)
class Head:
    """A row or a column of a table that is filled in."""

    label: str
    groups: tuple[str, ...] = ()
    """Labels of what it has in common with its neighbours, the outermost first."""
    line: Line = field(default_factory=lambda: Line(label=""))
    match: Mapping[str, Any] = field(default_factory=dict)
    """What the line says, and for a row the context that it stands in."""
    found: tuple[str, ...] = ()
    """The names whose values were found among the runs."""


@dataclass(frozen=True)
class Axis:
    """The lines of a table in one direction, and how measurements are told apart."""

    heads: tuple[Head, ...]
    key: Ints | None
    """Of lines that were found: which values of their names each measurement has."""
    keys: tuple[int, ...] = ()
    """Those of each line."""

    def split(self, selection: Selection, places: Ints, shared: Collection[str]) -> list[Ints]:
        """Of the measurements at `places`, those of each line; names in `shared` are left to the cells."""
        if self.key is not None:
            parts = split(places, self.key)
            return [parts.get(key, places[:0]) for key in self.keys]
        return [
            places[selection.fits({n: w for n, w in head.match.items() if n not in shared}, places)]
            for head in self.heads
        ]


def word(name: str, value: Any, short: Mapping[str, str]) -> str:
    """What a line of this value is called."""
    text = shown(value)
    if name in PLAIN:
        return f"{text} split" if name == "split" else text
    if name == "data_id":
        return f"data {text}" if text else "data unknown"
    return f"{short.get(name, name)} {text}"


def explicit(lines: Sequence[Line], contexts: Sequence[Mapping[str, Any]]) -> Axis:
    """The lines of a spec, in each context: a group each, called by what contexts differ in."""
    varies = varying(contexts)
    heads = []
    for context in contexts:
        title = ", ".join(word(name, context[name], {}) for name in varies)
        heads += [Head(line.label, (title,) if title else (), line, {**context, **line.match}) for line in lines]
    return Axis(tuple(heads), None)


def varying(contexts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names that tell contexts apart; of data its id, where a dataset has several."""
    several = {name: len({repr(context.get(name)) for context in contexts}) > 1 for name in CONTEXT}
    pairs = {(repr(context.get("dataset")), repr(context.get("data_id"))) for context in contexts}
    several["data_id"] = len(pairs) > len({dataset for dataset, _ in pairs})
    return [name for name in CONTEXT if several[name]]


def found(
    lines: Found, contexts: Sequence[str], selection: Selection, places: Ints, runs: Ints, spec: TableSpec
) -> Axis:
    """A line for each combination of values that the measurements at `places`, and these runs, have.

    contexts: names that make the outermost groups of the lines, where runs differ in them.
    """
    names = [*contexts, *lines.by]
    short = short_names(name for name in names if "." in name)
    codes = [selection.of_measured(name) for name in names]
    key = combined(codes) if names else np.zeros(len(selection.run), dtype=np.int64)
    first: dict[tuple[int, ...], int] = {}
    for code, part in split(places, key).items():
        first[tuple(int(one.codes[part[0]]) for one in codes)] = code
    combinations = [
        (tuple(one.values[k] for one, k in zip(codes, ks, strict=True)), code) for ks, code in first.items()
    ]
    if names and not any(name in OF_A_LEVEL for name in names):
        combinations += _of_runs_alone(names, selection, runs, [values for values, _ in combinations])
    combinations.sort(key=lambda pair: [natural(name, value) for name, value in zip(names, pair[0], strict=True)])
    metrics = lines.metrics or (None,)
    heads, keys = [], []
    several = varying([dict(zip(contexts, values, strict=False)) for values, _ in combinations])
    for values, code in combinations:
        match = dict(zip(names, values, strict=True))
        words = [word(name, value, short) for name, value in match.items() if name not in contexts or name in several]
        outer = ", ".join(words[: len(several)])
        labels = [*([outer] if outer else []), *words[len(several) :]]
        for metric in metrics:
            known = spec.metrics.get(metric or "")
            called = metric and ((known and known.label) or selection.heading(metric))
            own = [*labels, called] if called else labels
            head = Head(
                own[-1] if own else "all", tuple(own[:-1]), Line(label="found", value=metric), match, tuple(names)
            )
            heads.append(head)
            keys.append(code)
    return Axis(tuple(heads), key, tuple(keys))


def _of_runs_alone(
    names: Sequence[str], selection: Selection, runs: Ints, known: Sequence[tuple[Any, ...]]
) -> list[tuple[tuple[Any, ...], int]]:
    """The combinations that only runs have of which nothing is measured yet."""
    codes = [selection.of_runs(name) for name in names]
    data = _data_of(names, known)
    seen = {repr(values) for values in known}
    more: dict[str, tuple[Any, ...]] = {}
    for run in runs:
        values = {name: one.values[one.codes[run]] for name, one in zip(names, codes, strict=True)}
        if not selection.done[run] and "data_id" in values:
            values["data_id"] = data.get((values.get("dataset"), values.get("model")), values["data_id"])
        if repr(key := tuple(values.values())) not in seen:
            more.setdefault(repr(key), key)
    return [(values, -1 - k) for k, values in enumerate(more.values())]


def _data_of(names: Sequence[str], known: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, Any], Any]:
    """By dataset and model, where all of it is of the same data: then runs that have not begun will be, too."""
    found: dict[tuple[Any, Any], set[Any]] = {}
    for values in (dict(zip(names, combination, strict=True)) for combination in known):
        found.setdefault((values.get("dataset"), values.get("model")), set()).add(values.get("data_id"))
    return {of: next(iter(several)) for of, several in found.items() if len(several) == 1}


def subdivided(head: Head, selection: Selection, places: Ints, names: Sequence[str]) -> tuple[Ints, dict[int, Head]]:
    """One line as several, by what its measurements differ in: by measurement which of them it belongs to, and the new
    lines by that."""
    short = short_names(name for name in names if "." in name)
    codes = [selection.of_measured(name) for name in names]
    key = combined(codes)
    heads = {}
    for code, part in split(places, key).items():
        values = {name: one.values[one.codes[part[0]]] for name, one in zip(names, codes, strict=True)}
        label = ", ".join([head.label, *(word(name, value, short) for name, value in values.items())])
        heads[code] = replace(head, label=label, match={**head.match, **values}, found=(*head.found, *names))
    in_order = sorted(heads.items(), key=lambda pair: [natural(name, pair[1].match[name]) for name in names])
    return key, dict(in_order)
