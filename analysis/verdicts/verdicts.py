"""Whether what the studies claim holds for these runs, by one rule.

The rule: of every comparison that a claim is about, the 95 % interval, corrected by Holm's method for all comparisons
of all claims that have an interval, lies on the claimed side of the baseline: it holds; on the other side: it does not;
on both: not enough data, as with fewer than SEEDS seeds. The verdict of a claim is never stronger than its weakest
comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from analysis.collecting.collection import Collection
from analysis.collecting.runs import Collected
from analysis.statistics.comparisons import corrected_intervals
from analysis.statistics.two_levels import Error, apart
from analysis.tabulation.axes import Head
from analysis.tabulation.cells import Cell, Comparison
from analysis.tabulation.pairs import contrast
from analysis.tabulation.selection import Selection
from analysis.tabulation.source import selection
from analysis.tabulation.tables import Table, fill
from analysis.verdicts.claims import Claim, Contrast, claims
from blurtrain.errors import SettingsError
from blurtrain.settings.labels import shown

SEEDS = 3
"""Fewer say nothing of how seeds differ."""
NO_INTERVAL = "no interval: seeds and images all agree, or too little of single images is recorded for a corrected one"
Says = Literal["holds", "does not hold", "not enough data"]


@dataclass(frozen=True)
class Finding:
    """One comparison that a claim is about."""

    of: str
    """Row and column, in words."""
    n: int = 0
    seeds: int = 0
    centre: float = math.nan
    """Of the interval; of ratios the logarithm."""
    errors: tuple[Error, ...] = ()
    effect: float = math.nan
    """The difference, or the ratio."""
    low: float = math.nan
    high: float = math.nan
    """Corrected, in the same units."""
    says: Says = "not enough data"
    why: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What comes of a claim."""

    claim: Claim
    findings: tuple[Finding, ...] = field(default=())
    why: str = ""
    """Why there is none."""

    @property
    def says(self) -> Says:
        """The weakest: does not hold, if any comparison says so; not enough data, if any does; else holds."""
        found = {finding.says for finding in self.findings}
        if "does not hold" in found:
            return "does not hold"
        return "holds" if found == {"holds"} else "not enough data"


def verdicts(runs: Collected | Collection | str | Path, of: Sequence[Claim] | None = None) -> list[Verdict]:
    """A verdict for each claim (by default those that come with the project) on these runs; of too few runs, or of
    none, `not enough data`. Raises RunError where there is no such folder."""
    wanted = claims() if of is None else of
    source = selection(runs, [value for claim in wanted for value in claim.table.values])
    found = [_findings(claim, source) for claim in wanted]
    every = [finding for verdict in found for finding in verdict.findings]
    enough = [finding.seeds >= SEEDS and not finding.why for finding in every]
    zero = [verdict.claim.margin for verdict in found for _ in verdict.findings]
    intervals = iter(corrected_intervals(
        [finding.centre - at for finding, at, whole in zip(every, zero, enough, strict=True) if whole],
        [finding.errors for finding, whole in zip(every, enough, strict=True) if whole],
    ))  # fmt: skip
    made = []
    for verdict in found:
        judged = tuple(
            finding if finding.why or finding.seeds < SEEDS else _judged(finding, verdict.claim, *next(intervals))
            for finding in verdict.findings
        )
        made.append(replace(verdict, findings=tuple(_said(finding) for finding in judged)))
    return made


def verdict_frame(found: Sequence[Verdict]) -> pd.DataFrame:
    """A row a comparison: claim, source, verdict (of the claim), of, effect, low and high (corrected; as shares in
    0..1, nats or factors; NaN where there is none), n (images), seeds, says (of the comparison), why, runs (separated
    by blanks)."""
    columns = ["claim", "source", "verdict", "of", "effect", "low", "high", "n", "seeds", "says", "why", "runs"]
    rows = [
        (v.claim.name, v.claim.source, v.says, f.of, f.effect, f.low, f.high, f.n, f.seeds, f.says, f.why,
         " ".join(f.runs))
        for v in found for f in v.findings or (Finding("", why=v.why),)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def verdicts_csv(found: Sequence[Verdict]) -> str:
    """`verdict_frame` as CSV; effects and limits as shares, nats or factors."""
    return str(verdict_frame(found).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _judged(finding: Finding, claim: Claim, low: float, high: float) -> Finding:
    """By a corrected interval of the distance from the margin."""
    sign = 1 if claim.expected == "higher" else -1
    says: Says = "not enough data"
    why = NO_INTERVAL if math.isnan(low) else "the interval leaves both sides open"
    if low > 0 or high < 0:
        says, why = ("holds" if (low > 0) == (sign > 0) else "does not hold"), ""
    limits = [low + claim.margin, high + claim.margin]
    if claim.table.show == "ratio":
        limits = [math.exp(limit) for limit in limits]
    return replace(finding, low=limits[0], high=limits[1], says=says, why=why)


def _said(finding: Finding) -> Finding:
    if finding.why or finding.seeds >= SEEDS:
        return finding
    return replace(finding, why=f"{finding.seeds} seed{'s' * (finding.seeds != 1)}; it takes {SEEDS}")


def _findings(claim: Claim, source: Selection) -> Verdict:
    try:
        made = fill(claim.table, source)
    except SettingsError:  # no run that it could be about
        return Verdict(claim, why="no such runs")
    found = _contrasts(claim.contrast, made, source) if claim.contrast else _each(made)
    return Verdict(claim, tuple(found), "" if found else "no such runs")


def _words(row: Head, column: Head, without: str = "") -> str:
    parts = (*row.groups, row.label, *column.groups, column.label)
    return ", ".join(part for part in parts if part and part != without)


def _each(made: Table) -> list[Finding]:
    return [
        _finding(cell, _words(row, column), made.spec.show == "ratio")
        for row, cells in zip(made.rows, made.cells, strict=True)
        for column, cell in zip(made.columns, cells, strict=True)
        if cell.runs or cell.estimate
    ]


def _finding(cell: Cell, of: str, ratio: bool) -> Finding:
    if cell.estimate is None:
        return Finding(of, why=cell.missing or "no value", runs=cell.runs)
    if ratio:
        runs = (*cell.runs, *(cell.comparison.runs if cell.comparison else ()))
        value, errors = cell.estimate.value, cell.estimate.errors
        centre = math.log(value) if value > 0 else math.nan
        return Finding(of, cell.n, len(cell.seeds), centre, errors, value, runs=runs)
    assert cell.comparison is not None
    return _difference(of, cell, cell.comparison, len(cell.seeds))


def _difference(of: str, cell: Cell, found: Comparison, seeds: int) -> Finding:
    runs = tuple(dict.fromkeys((*cell.runs, *found.runs)))
    if found.difference is None:
        return Finding(of, cell.n, seeds, why=found.why_not, runs=runs)
    return Finding(of, cell.n, seeds, found.centre, found.errors, found.difference.value, runs=runs)


def _contrasts(of_what: Contrast, made: Table, source: Selection) -> list[Finding]:
    cells = [
        (cell, row, column)
        for row, line in zip(made.rows, made.cells, strict=True)
        for column, cell in zip(made.columns, line, strict=True)
    ]
    found = []
    for own, row, column in cells:
        mine = own.about.get(of_what.name)
        if mine not in of_what.of or not (own.runs or own.estimate):
            continue
        for other, *_ in cells:
            theirs = other.about.get(of_what.name)
            if theirs in of_what.against and _alike(own, other, of_what.name):
                of = f"{shown(mine)} beside {shown(theirs)}, {_words(row, column, shown(mine))}"
                apart_from = _divided if of_what.of_other_images else _subtracted
                found.append(apart_from(of, own, other, source))
    return found


def _alike(own: Cell, other: Cell, but: str) -> bool:
    names = {*own.about, *other.about} - {but, "n", "classes", "largest_class", "data_id"}
    names -= {"split"} - ({*own.about} & {*other.about})  # which of a cell without a number is not known
    names -= {"sigma"} if but == "blur" else {"blur"} if but == "sigma" else set()
    return all(own.about.get(name) == other.about.get(name) for name in names)


def _subtracted(of: str, own: Cell, other: Cell, source: Selection) -> Finding:
    """One difference minus another, of the same images."""
    if why := own.missing or other.missing:
        return Finding(of, why=why, runs=own.runs)
    assert own.comparison is not None and other.comparison is not None
    found = contrast(own.comparison, other.comparison, lambda rows: source.images(rows.runs, rows.about))
    return _difference(of, own, found, found.difference.seeds if found.difference else 0)


def _divided(of: str, own: Cell, other: Cell, source: Selection) -> Finding:
    """One ratio divided by another, of other images."""
    first, second = _finding(own, "", True), _finding(other, "", True)
    runs, n, seeds = (*first.runs, *second.runs), min(first.n, second.n), min(first.seeds, second.seeds)
    if why := first.why or second.why:
        return Finding(of, n, seeds, why=why, runs=runs)
    centre = first.centre - second.centre
    return Finding(of, n, seeds, centre, apart(first.errors, second.errors), math.exp(centre), runs=runs)
