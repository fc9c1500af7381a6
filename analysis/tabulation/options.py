"""Tables by options, as `blurtrain table` has them, by name, by file or by what a file would say."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.tabulation.metric_facts import KNOWN
from analysis.tabulation.specs import TableSpec, read_table_spec
from blurtrain.documents import parse_yaml
from blurtrain.errors import SettingsError, nearest
from blurtrain.schema import validate
from blurtrain.settings import preset_file
from blurtrain.settings.labels import short_names

OPTIONS = ("rows", "columns", "metric", "where", "baseline", "show", "mark", "correction", "title")
"""What a table may be given by in place of a file."""
Option = str | Sequence[str] | Mapping[str, Any]


def spec_of(given: Mapping[str, Any] | str | Path) -> TableSpec:
    """A table that comes with the project by its name, a file, its content as a mapping, or OPTIONS.

    Raises SettingsError, one line, for anything unknown.
    """
    if isinstance(given, Mapping):
        if "value" in given or any(not isinstance(given.get(name, ""), str) for name in ("rows", "columns")):
            made: TableSpec = validate({"name": "options", **given}, "table", TableSpec)
            return made
        return from_options(given)
    return read_table_spec(preset_file("tables", given))


def from_options(options: Mapping[str, Option | None]) -> TableSpec:
    """rows, columns: names, separated by commas; metric: one or several; where, baseline: NAME=VALUE, or NAME=A,B for
    any of several. Raises SettingsError, one line, for anything unknown."""
    if unknown := [name for name in options if name not in OPTIONS]:
        raise SettingsError(f"table: no option {unknown[0]!r}; {nearest(unknown[0], OPTIONS)}")
    given = {name: value for name, value in options.items() if value}
    rows, columns, metrics = (_names(given.get(name)) for name in ("rows", "columns", "metric"))
    if not rows and not columns:
        raise SettingsError(
            "table: say what its rows or columns are, e.g. --rows regime --columns blur, or name a file"
        )
    metrics = metrics or ["top1"]
    in_columns = len(metrics) > 1 or not columns
    content: dict[str, Any] = {
        "name": "options",
        "title": given.get("title") or _title(rows, columns, metrics),
        "value": metrics[0],
        "where": _match(given.get("where"), "where"),
        "baseline": _match(given.get("baseline"), "baseline"),
        # A table without names in one direction still has a line there.
        "rows": {"by": rows} if rows else {"metrics": metrics},
        "columns": {"by": columns, **({"metrics": metrics} if in_columns and rows else {})},
        **{name: given[name] for name in ("show", "mark", "correction") if name in given},
    }
    made: TableSpec = validate(content, "table", TableSpec)
    return made


def _names(option: Any) -> list[str]:
    several = [option] if isinstance(option, str) else list(option or ())
    return [name.strip() for text in several for name in text.split(",") if name.strip()]


def _title(rows: Sequence[str], columns: Sequence[str], metrics: Sequence[str]) -> str:
    short = short_names([*rows, *columns])
    called = [KNOWN[metric].label if metric in KNOWN else metric for metric in metrics]
    by = " and ".join(short[name].replace("_", " ") for name in (*rows, *columns))
    title = f"{', '.join(called)} by {by}"
    return title[:1].upper() + title[1:]


def _match(option: Any, what: str) -> dict[str, Any]:
    """NAME=VALUE, values read as YAML; A,B outside brackets are several."""
    if isinstance(option, Mapping):
        return dict(option)
    match: dict[str, Any] = {}
    for text in [option] if isinstance(option, str) else list(option or ()):
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise SettingsError(f"--{what} {text!r}: must be NAME=VALUE, e.g. regime=clear,blurry")
        # Not parsed as YAML as a whole: a value such as a label may hold a colon.
        parts = [parse_yaml(part, f"--{what} {text!r}") for part in _parts(value)]
        match[name] = parts if len(parts) > 1 else parts[0]
    return match


def _parts(text: str) -> list[str]:
    """Separated by commas, but not those in brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
