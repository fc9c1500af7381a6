"""Tables by their specs: each cell a mean over seeds with its interval, the runs that it comes from, and a published
number beside it, or the reason why it is empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.collecting.collection import Collection
from analysis.collecting.runs import Collected
from analysis.tabulation.axes import Head
from analysis.tabulation.cells import Cell
from analysis.tabulation.compared import compared
from analysis.tabulation.filling import Filling, nothing_found
from analysis.tabulation.metric_facts import KNOWN, MetricFacts
from analysis.tabulation.options import spec_of
from analysis.tabulation.selection import Selection
from analysis.tabulation.source import selection
from analysis.tabulation.specs import TableSpec
from blurtrain.errors import SettingsError


@dataclass(frozen=True)
class Table:
    """A spec filled in with runs."""

    spec: TableSpec
    rows: tuple[Head, ...]
    columns: tuple[Head, ...]
    cells: tuple[tuple[Cell, ...], ...]
    """By row, then by column."""
    facts: Mapping[str, MetricFacts]
    """Of its metrics."""
    of: tuple[tuple[str, str], ...]
    """The datasets and models that its numbers are of."""
    unused: tuple[str, ...] = ()
    """Runs that `where` selects and no cell has."""

    @property
    def title(self) -> str:
        """That of the spec, with model and dataset where all numbers are of one."""
        if len(self.of) != 1:
            return self.spec.title
        dataset, model = self.of[0]
        return f"{self.spec.title}: {model} on {dataset}"

    @property
    def has_numbers(self) -> bool:
        """Whether any cell has one of ours."""
        return any(cell.estimate for row in self.cells for cell in row)


def tables(
    specs: Sequence[TableSpec], runs: Collected | Collection | str | Path, measured_only: bool = False
) -> list[Table]:
    """Each spec of which any cell has a number.

    Only runs that differ in nothing but their seed, measured under the same conditions by the weights after their last
    epoch, make up a cell; where others match it too, lines that were found become several, and a cell of lines that the
    spec names stays empty and says in what they differ. Where runs are of several datasets, models or data and no line
    says of which, rows come in groups. `measured_only`: specs of a metric that no run has, or that several measures
    have, are left out. Raises SettingsError where a spec names a setting or a metric that there is none of, RunError
    where there is no such folder of runs.
    """
    source = selection(runs, [value for spec in specs for value in spec.values])
    if measured_only:
        specs = [spec for spec in specs if all(source.knows({*KNOWN, *spec.metrics}, value) for value in spec.values)]
    return [table for table in (fill(spec, source) for spec in specs) if table.has_numbers]


def table(spec: TableSpec | Mapping[str, Any] | str | Path, runs: Collected | Collection | str | Path) -> Table:
    """One table, also where it has no number yet.

    spec: the name of one in configs/tables, a file, its content as a mapping, or options as `blurtrain table` has them:
    {"rows": "regime", "columns": "blur", "metric": "top1", "where": "regime=clear,blurry", "mark": "best"}. Raises
    SettingsError, one line, for whatever is unknown, RunError where there is no such folder of runs.
    """
    chosen = spec if isinstance(spec, TableSpec) else spec_of(spec)
    made = fill(chosen, source := selection(runs, chosen.values))
    if not made.rows or not made.columns:
        raise SettingsError(f"table {made.spec.name}: {nothing_found(made.spec, source)}")
    return made


def fill(spec: TableSpec, source: Selection) -> Table:
    """A spec with the runs that there are."""
    filling = Filling(spec, source)
    rows, columns, filled = filling.cells()
    filled = compared(filling, rows, columns, filled)
    cells = tuple(tuple(filled[r, c].cell for c in range(len(columns))) for r in range(len(rows)))
    of = dict.fromkeys(
        (str(cell.about["dataset"]), str(cell.about["model"])) for row in cells for cell in row if cell.estimate
    )
    used = {one for row in cells for cell in row for run in cell.runs for one in run.split("+")}
    unused = tuple(run for run in filling.selected if run not in used) if used else ()
    return Table(spec, tuple(rows), tuple(columns), cells, filling.facts, tuple(of), unused)
