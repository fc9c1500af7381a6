"""All runs of a folder, of whatever grid: filtered and sorted by what they are and by any of their settings."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from blurtrain.documents import parse_yaml
from blurtrain.errors import BlurtrainError, SettingsError, nearest
from blurtrain.run import Run, find
from blurtrain.settings import Settings, load_resolved
from blurtrain.settings.labels import shown
from jobs.grid import Member
from jobs.record import Row
from jobs.states import states

TRAINED = ("loss", "top1")
"""What the last epoch of a run logged, while it was trained."""


@dataclass(frozen=True)
class Listing:
    """Rows as `jobs.states.states` has them, with the columns asked for; and which folders could not be read."""

    rows: list[Row]
    columns: list[str]
    """Dotted names of the settings in which they differ, then those asked for."""
    not_read: list[str]


def listing(
    runs: Path, where: Sequence[str] = (), columns: Sequence[str] = (), sort: str | None = None, reverse: bool = False
) -> Listing:
    """The runs below `runs` for which all of `where` hold, each as name=value or name=one,other.

    A name is a column of `states`, loss or top1 of the last epoch in training, or a setting by its dotted name or the
    end of it (learning_rate). Runs without the setting that they are sorted by come last. Raises RunError without such
    a folder, SettingsError for an unknown name.
    """
    members, not_read = _members(runs)
    rows = states(members, runs) if members else []
    table = _Table(members, rows, runs)
    for condition in where:
        name, equals, text = condition.partition("=")
        if not equals or not name:
            raise SettingsError(f"runs: {condition!r}: must be name=value, e.g. regime=clear,blurry")
        values = parse_yaml(f"[{text}]", f"runs: {condition}")
        table.keep(name, {shown(value) for value in values} | {text})
    if sort:
        table.sort(sort, reverse)
    asked = [table.add(name) for name in columns]
    differing = [name for name in (rows[0] if rows else ()) if "." in name]
    return Listing(table.rows, list(dict.fromkeys([*differing, *asked])), not_read)


def _members(runs: Path) -> tuple[list[Member], list[str]]:
    members, not_read = [], []
    for run in find(runs):
        try:
            members.append(Member(run.id, load_resolved(run.path / "settings.yaml")))
        except BlurtrainError as error:
            not_read.append(str(error))
    return members, not_read


class _Table:
    """Rows that come to have more columns as these are asked for."""

    def __init__(self, members: Sequence[Member], rows: Sequence[Row], runs: Path):
        self.rows = list(rows)
        self._runs = runs
        self._settings = {member.run_id: flat(member.settings) for member in members}

    def add(self, name: str) -> str:
        """The column of this name, whose values all rows have from now on."""
        column = self._column(name)
        for row in self.rows:
            if column not in row:
                row[column] = self._value(row, column)
        return column

    def keep(self, name: str, values: set[str]) -> None:
        column = self.add(name)
        self.rows = [row for row in self.rows if shown(row[column]) in values]

    def sort(self, name: str, reverse: bool) -> None:
        column = self.add(name)
        known = [row for row in self.rows if row[column] is not None]
        missing = [row for row in self.rows if row[column] is None]
        self.rows = sorted(known, key=lambda row: _order(row[column]), reverse=reverse) + missing

    def _column(self, name: str) -> str:
        own = {column for row in self.rows[:1] for column in row} | {*TRAINED}
        settings = dict.fromkeys(name for of_run in self._settings.values() for name in of_run)
        if name in own or name in settings or not self.rows:
            return name
        ends = [setting for setting in settings if setting.endswith(f".{name}")]
        if len(ends) != 1:
            what = f"several settings end so: {', '.join(ends)}" if ends else nearest(name, own | {*settings})
            raise SettingsError(f"runs: {name!r} is no column and no setting of these runs; {what}")
        return ends[0]

    def _value(self, row: Row, column: str) -> Any:
        if column in TRAINED:
            return self._last_epoch(row["run_id"]).get(column)
        return self._settings[row["run_id"]].get(column)

    @functools.cache  # noqa: B019  (as long as the table lives)
    def _last_epoch(self, run_id: str) -> Mapping[str, Any]:
        return next((e for e in reversed(list(Run(self._runs / run_id).journal(False))) if e["event"] == "epoch"), {})


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, before words."""
    number = isinstance(value, int | float)
    return not number, float(value) if number else 0.0, shown(value)


def flat(settings: BaseModel | Settings, within: str = "") -> dict[str, Any]:
    """All settings by their dotted names, with their values; sections in lists as they are."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        values |= flat(value, f"{within}{name}.") if isinstance(value, BaseModel) else {within + name: value}
    return values
