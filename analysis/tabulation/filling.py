"""From a spec and a selection to cells, before any is compared with another."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.tabulation.axes import CONTEXT, Axis, Head, explicit, found, subdivided
from analysis.tabulation.cells import Cell, Rows, differing, standing, why_empty
from analysis.tabulation.codes import Bools, Ints, natural, split
from analysis.tabulation.measured_as_one import measured_as_one
from analysis.tabulation.metric_facts import KNOWN, MetricFacts, OwnFacts, facts
from analysis.tabulation.pairs import estimate
from analysis.tabulation.selection import SERIES, ImageValues, Selection
from analysis.tabulation.specs import OF_A_LEVEL, OF_TRIALS, Found, Line, TableSpec, sigma_of
from blurtrain.settings.labels import shown

Grid = dict[tuple[int, int], Ints]
"""Measurements by the places of their row and column."""
_OF_A_CELL = ("dataset", "model", "regime", "blur", "sigma", "split")
"""What is known of every cell that has a number, whether or not a line says it."""
NOT_AS_ONE = "not measured as one, by `blurtrain evaluate --ensemble --out RUNS/ensembles`, at one seed"


@dataclass(frozen=True)
class Filled:
    """A cell, and what is behind it."""

    cell: Cell
    rows: Rows | None
    match: Mapping[str, Any]
    """All that row, column and `where` say."""


class Filling:
    """One spec while it is filled in."""

    def __init__(self, spec: TableSpec, source: Selection):
        self.spec, self.source = spec, source
        source.check(sorted({*spec.where, *spec.names, *spec.baseline}), spec.name)
        self.metric = {value: source.metric(value, spec.name, {*KNOWN, *spec.metrics}) for value in spec.values}
        """By what a spec calls it: its number among those that are measured, and its own name."""
        lines = [set[str]().union(*(line.match for line in axis)) if not isinstance(axis, Found) else set[str]()
                 for axis in spec.axes]  # fmt: skip
        defaults = set(spec.where) & (lines[0] | lines[1])  # which lines may say otherwise
        self.shared = defaults | (lines[0] & lines[1])
        """Names that are decided cell by cell."""
        self.fixed = {name: wanted for name, wanted in spec.where.items() if name not in defaults}
        of_any_epoch = "epoch" in {*spec.where, *spec.names}
        wanted = np.unique([number for number, _ in self.metric.values()])
        everything = np.flatnonzero(np.isin(source.metrics, wanted))
        self.everything = (
            everything if of_any_epoch or "epoch" in spec.baseline else everything[source.final[everything]]
        )
        """All measurements of these metrics, whatever `where` says."""
        places = self.everything if of_any_epoch else self.everything[source.final[self.everything]]
        self.places = places[source.fits(self.fixed, places)]
        self.by = {name for lines in spec.axes if isinstance(lines, Found) for name in lines.by}
        if "sigma" in self.by:
            self.places = self.places[~np.isnan(source.column("sigma")[self.places])]
        for name in self.by.intersection(OF_TRIALS):
            self.places = self.places[~source.of_measured(name).fits(None, self.places)]
        self.in_trials = bool(self.by.intersection(OF_TRIALS))
        self._fitting: dict[str, Bools] = {}

    @cached_property
    def known(self) -> dict[str, MetricFacts]:
        """Of its values, by what a spec calls a metric."""
        return {value: facts(name, number in self.source.counted, self._own_facts(value, number))
                for value, (number, name) in self.metric.items()}  # fmt: skip

    @cached_property
    def facts(self) -> dict[str, MetricFacts]:
        """Of what is shown: values, or ratios of them."""
        return {value: one.as_ratio() for value, one in self.known.items()} if self.spec.show == "ratio" else self.known

    def _own_facts(self, value: str, number: int) -> OwnFacts | None:
        """What the spec says of a metric, or else the measure that it is of."""
        if value in self.spec.metrics or number < 0:
            return self.spec.metrics.get(value)
        return self.source.own_facts(number)

    def images(self, rows: Rows) -> ImageValues | None:
        """None where some seed has no records."""
        return self.source.images(rows.runs, rows.about)

    @cached_property
    def selected(self) -> list[str]:
        """The runs of which anything is measured that `where` selects."""
        runs = np.unique(self.source.run[self.places])
        return [str(run) for run in self.source.column("run_id", of_runs=True)[runs]]

    def cells(self) -> tuple[list[Head], list[Head], dict[tuple[int, int], Filled]]:
        """Rows, columns, and what is in them."""
        rows, columns = self._rows(), self._columns()
        grid = {(r, c): places
                for r, of_row in enumerate(rows.split(self.source, self.places, self.shared))
                for c, places in enumerate(columns.split(self.source, of_row, self.shared))}  # fmt: skip
        heads = [list(rows.heads), list(columns.heads)]
        grid = {(r, c): self._of_cell(heads[0][r], heads[1][c], places) for (r, c), places in grid.items()}
        way = next((way for way, lines in enumerate(self.spec.axes) if isinstance(lines, Found)), None)
        while way is not None and (mixed := self._mixed(grid, way)):
            heads[way], grid = self._separated(heads[way], grid, way, mixed)
        filled = {(r, c): self._cell(row, column, grid.get((r, c), self.places[:0]))
                  for r, row in enumerate(heads[0]) for c, column in enumerate(heads[1])}  # fmt: skip
        shown = self._shown(heads[0], len(heads[1]), filled)
        return ([heads[0][r] for r in shown], heads[1],
                {(k, c): filled[r, c] for k, r in enumerate(shown) for c in range(len(heads[1]))})  # fmt: skip

    def match(self, row: Head, column: Head) -> dict[str, Any]:
        """All that is said of a cell."""
        return {**self.spec.where, **row.match, **column.match}

    # --- lines --------------------------------------------------------------------------------------------------------

    @cached_property
    def _context_names(self) -> list[str]:
        names = [name for name in CONTEXT if name not in self.spec.names]
        return [name for name in names if name != "data_id" or "dataset" in names]

    @cached_property
    def _runs(self) -> Ints:
        """Places of the runs that `where` selects, done or not."""
        fits = self.source.fits_runs(self.fixed)
        return np.flatnonzero(fits & ~self.source.of_runs("trial").fits(None) if self.in_trials else fits)

    def _rows(self) -> Axis:
        names, source = self._context_names, self.source
        if isinstance(self.spec.rows, Found):
            return found(self.spec.rows, names, source, self.places, self._runs, self.spec)
        runs = np.unique(source.run[self.places])
        contexts = {tuple(source.of_runs(name).value(int(run)) for name in names) for run in runs}
        if not contexts:
            names = [name for name in names if name != "data_id"]
            contexts = {tuple(source.of_runs(name).value(int(run)) for name in names) for run in self._runs}
        in_order = sorted(contexts, key=lambda values: [natural(*pair) for pair in zip(names, values, strict=True)])
        return explicit(self.spec.rows, [dict(zip(names, values, strict=True)) for values in in_order] or [{}])

    def _columns(self) -> Axis:
        if isinstance(self.spec.columns, Found):
            return found(self.spec.columns, [], self.source, self.places, self._runs, self.spec)
        return explicit(self.spec.columns, [{}])

    def _of_cell(self, row: Head, column: Head, places: Ints) -> Ints:
        """Of the measurements that are of both lines, those that are of the cell."""
        if len(self.metric) > 1:
            number, _ = self.metric[self.spec.value_of(row.line, column.line)]
            places = places[self.source.metrics[places] == number]
        if self.shared:
            match = self.match(row, column)
            places = places[self.source.fits({n: w for n, w in match.items() if n in self.shared}, places)]
        return places

    def _mixed(self, grid: Grid, way: int) -> dict[int, list[str]]:
        """By line, the names in which measurements of a cell differ."""
        mixed: dict[int, list[str]] = {}
        for line_and_other, places in grid.items():
            if names := differing(self.source, places):
                before = mixed.setdefault(line_and_other[way], [])
                before += [name for name in names if name not in before]
        return mixed

    def _separated(
        self, heads: Sequence[Head], grid: Grid, way: int, mixed: Mapping[int, Sequence[str]]
    ) -> tuple[list[Head], Grid]:
        """Lines whose cells hold what may not be averaged, as several."""
        made: list[Head] = []
        parts: Grid = {}
        for k, head in enumerate(heads):
            own = {at[1 - way]: places for at, places in grid.items() if at[way] == k}
            if k not in mixed:
                parts |= {_at(len(made), other, way): places for other, places in own.items()}
                made.append(head)
                continue
            key, several = subdivided(head, self.source, np.concatenate([*own.values()]), mixed[k])
            numbers = {code: len(made) + place for place, code in enumerate(several)}
            for other, places in own.items():
                parts |= {_at(numbers[code], other, way): part for code, part in split(places, key).items()}
            made += several.values()
        return made, parts

    def _shown(self, rows: Sequence[Head], columns: int, filled: Mapping[tuple[int, int], Filled]) -> list[int]:
        """Rows of contexts in which there is a number, or one is awaited; all, where there is none at all."""

        def context(row: Head) -> tuple[Any, ...]:
            return tuple(row.match.get(name) for name in CONTEXT)

        cells = {r: [filled[r, c].cell for c in range(columns)] for r in range(len(rows))}
        alive = {context(rows[r]) for r, of_row in cells.items() if any(x.estimate or x.runs for x in of_row)}
        return [r for r, row in enumerate(rows) if context(row) in alive or not alive]

    # --- a cell -------------------------------------------------------------------------------------------------------

    def beside(self, match: Mapping[str, Any], value: str, of: Callable[[int], bool] | None = None) -> Filled:
        """A cell that need not be in the table; `of` says of which runs it may be, by their settings (`kind`)."""
        places = self.everything[self.source.metrics[self.everything] == self.metric[value][0]]
        for name, wanted in match.items():  # from name to name there are fewer
            places = places[self.source.fits({name: wanted}, places)]
        if of is not None:
            kinds = self.source.column("kind", of_runs=True)[self.source.run[places]]
            places = places[np.isin(kinds, [kind for kind in np.unique(kinds) if of(int(kind))])]
        return self._filled(match, value, places, None, Line(label=""))

    def _cell(self, row: Head, column: Head, places: Ints) -> Filled:
        value, match = self.spec.value_of(row.line, column.line), self.match(row, column)
        beside = self.spec.published_value(row.line, column.line)
        line = row.line if row.line.none or row.line.ensemble else column.line
        return self._filled(match, value, places, beside, line)

    def _filled(self, match: Mapping[str, Any], value: str, places: Ints, beside: float | None, line: Line) -> Filled:
        about = self._about(match, places)
        if beside is None and self.spec.published is not None:
            beside = self.spec.published.beside(about, self.metric[value][1])

        def empty(why: str, runs: Sequence[str] = ()) -> Filled:
            return Filled(Cell(value, runs=tuple(runs), published=beside, missing=why, about=about), None, match)

        if line.none:
            return empty(line.none)
        if line.ensemble:
            return self._as_one(line.ensemble, match, value, empty, about)
        fits = self.fitting(match)
        if not len(places):
            said = {*self.spec.where, *self.spec.names}
            return empty(*why_empty(self.source, match, fits, said, self.by))
        if names := differing(self.source, places):
            return empty(f"several runs match, which differ in {', '.join(names)}: say which, in `where` or `match`")
        return self._of_rows(Rows.of(self.source, places), value, match, about, empty, self._pending(places, fits))

    def _of_rows(
        self, rows: Rows, value: str, match: Mapping[str, Any], about: Mapping[str, Any], empty: Any, pending: str = ""
    ) -> Filled:
        made = self.known[value].within(estimate(rows, self.images))
        if math.isnan(made.value):
            return empty("not recorded, by an older version, or not finite")
        beside = empty("").cell.published
        objects = len(rows.object_n) if rows.object_n is not None else 0
        cell = Cell(value, made, rows.n, objects, rows.seeds, rows.runs, beside, pending=pending, about=about)
        return Filled(cell, rows, match)

    def _as_one(
        self, members: Sequence[Mapping[str, Any]], match: Mapping[str, Any], value: str, empty: Any, about: Any
    ) -> Filled:
        of_run = {name: wanted for name, wanted in match.items() if name not in OF_A_LEVEL}
        chosen = []
        for member in members:
            wanted = {**of_run, **{name: x for name, x in member.items() if name != "protocol"}}
            fits = self.fitting(wanted)
            if not (fits & self.source.done).any():
                return empty(*why_empty(self.source, wanted, fits, set()))
            chosen.append(fits & self.source.done)
        rows = measured_as_one(members, chosen, self.source, self.metric[value][1])
        if rows.empty:
            return empty(NOT_AS_ONE)
        names = {name: wanted for name, wanted in match.items() if name in OF_A_LEVEL}
        for name, wanted in names.items():
            rows = rows[rows[name].map(lambda x, name=name, wanted=wanted: self.source.is_wanted(name, x, wanted))]
        if rows.empty:
            words = why_empty(self.source, match, self.source.done, {*self.spec.where, *self.spec.names})
            return empty(*words)
        differ = [name for name in (*SERIES, "settings_id") if rows[name].nunique(dropna=False) > 1]
        if differ:
            return empty(f"several runs match, which differ in {', '.join(differ)}: say which, in `where` or `match`")
        made = Rows.measured_as_one(rows)
        return self._of_rows(made, value, match, {**about, **{name: made.about[name] for name in _OF_A_CELL}}, empty)

    def fitting(self, match: Mapping[str, Any]) -> Bools:
        """Which runs are what a cell wants; of those that are not done, it need not be known what data they are of."""
        wanted = {name: value for name, value in match.items() if name not in (*OF_A_LEVEL, "data_id")}
        key = repr(sorted(wanted.items())) + repr(match.get("data_id"))
        if key not in self._fitting:
            fits = self.source.fits_runs(wanted)
            if "data_id" in match:
                fits &= ~self.source.done | self.source.of_runs("data_id").fits(match["data_id"])
            self._fitting[key] = fits
        return self._fitting[key]

    def _pending(self, places: Ints, fits: Bools) -> str:
        """How runs stand that will be of this cell, too."""
        first, dataset = int(self.source.run[places[0]]), self.source.of_runs("dataset").codes
        awaited = self.source.awaited
        awaited = awaited[fits[awaited] & (dataset[awaited] == dataset[first])]
        return standing(self.source, [run for run in awaited if self.source.alike(int(run), first)])

    def _about(self, match: Mapping[str, Any], places: Ints) -> dict[str, Any]:
        """What a cell is of, as single values."""
        about = {name: wanted for name, wanted in match.items() if not isinstance(wanted, list)}
        if len(places):
            about |= {name: self.source.of_measured(name).value(int(places[0])) for name in _OF_A_CELL}
        elif "blur" in about and "sigma" not in about:
            with contextlib.suppress(ValueError):
                about["sigma"] = sigma_of(about["blur"])
        return about


def _at(line: int, other: int, way: int) -> tuple[int, int]:
    return (other, line) if way else (line, other)


def nothing_found(spec: TableSpec, source: Selection) -> str:
    """Why lines that are found among the runs are none."""
    if not len(source.run):
        runs = standing(source, range(len(source.runs)))
        return (
            f"nothing of this was measured of any run: {runs}" if runs else "there is no run; --runs names their folder"
        )
    for name, wanted in spec.where.items():
        codes = source.of_measured(name)
        if not codes.fits(source.canonical(name, wanted)).any():
            present = sorted({int(code) for code in codes.codes}, key=lambda code: natural(name, codes.values[code]))
            words = ", ".join(shown(codes.values[code]) for code in present[:12])
            more = ", ..." * (len(present) > 12)
            return f"nothing was measured of {name} {shown(wanted)}; there is: {words or 'nothing'}{more}"
    return "no run has all that `where` says, or was measured so"
