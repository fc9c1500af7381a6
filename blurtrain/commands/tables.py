"""`blurtrain table`: runs as a table, by a file or by options."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, json_option, runs_option
from blurtrain.errors import RunError, SettingsError

FORMATS = ("text", "markdown", "latex", "csv", "html", "parquet")
MOST_LINES = 10
"""On stderr, of what is odd among the runs; `blurtrain report` shows all."""
BY_OPTIONS = ("rows", "columns", "metric", "where", "baseline", "show", "mark", "correction", "title")


def _table(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in BY_OPTIONS if getattr(options, name)}
    if options.list:
        return _list(options)
    if options.json and (options.format or options.out):
        raise SettingsError("table: --json prints a document of its own; leave out --format and --out")
    if options.spec is not None and given:
        raise SettingsError(f"table: {options.spec} says it all; leave out --{next(iter(given))}, or the file")
    from analysis.tabulation.options import spec_of

    spec = spec_of(options.spec if options.spec is not None else given)  # a mistake is answered before runs are read
    import analysis
    from analysis.tabulation.rendering import FORMATS as RENDERERS
    from analysis.tabulation.rendering import as_json, as_text
    from analysis.tabulation.rendering.words import clean

    collection = analysis.collect(options.runs)
    table = analysis.table(spec, collection)
    for line in [*collection.notes, *(f"not read: {path}: {why}" for path, why in collection.not_read)][:MOST_LINES]:
        print(clean(line), file=sys.stderr)
    if options.json:
        print(json.dumps(as_json(table), indent=1))
        return 0
    kind = options.format or _format_of(options.out)
    if kind == "text" and options.out is None:
        content: str | bytes = as_text(table, max(60, shutil.get_terminal_size((120, 24)).columns))
    else:
        content = RENDERERS[kind](table)
    return _write(content, kind, options.out)


def _list(options: argparse.Namespace) -> int:
    from analysis.tabulation.specs import table_specs

    specs = table_specs()
    if options.json:
        print(json.dumps([{"name": spec.name, "title": spec.title} for spec in specs], indent=1))
        return 0
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        print(f"{spec.name:{width}}  {spec.title}")
    return 0


def _format_of(out: Path | None) -> str:
    ends = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html", ".parquet": "parquet"}
    return ends.get(out.suffix, "text") if out else "text"


def _write(content: str | bytes, kind: str, out: Path | None) -> int:
    if out is None and isinstance(content, bytes):
        raise SettingsError(f"table: {kind} is no text; name a file by --out")
    if out is None:
        sys.stdout.write(str(content))
        return 0
    from blurtrain.files import publish

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        publish(out, content)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {error.strerror}; choose another --out") from None
    print(out)
    return 0


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Add this command to the parser."""
    p = command(commands, "table", _table, "show runs as a table: any rows and columns, with intervals and comparisons")
    p.add_argument("spec", nargs="?", metavar="TABLE", help="file (YAML), or a table that comes with the project")
    runs_option(p)
    p.add_argument("--list", action="store_true", help="the tables that come with the project")
    p.add_argument("--rows", metavar="NAMES", help="what rows are, e.g. regime or dataset,optimisation.learning_rate")
    p.add_argument("--columns", metavar="NAMES", help="what columns are, e.g. blur")
    p.add_argument(
        "--metric", action="append", metavar="NAME", help="top1 (default), entropy, ...; several: columns each"
    )
    p.add_argument("--where", action="append", metavar="NAME=VALUES", help="e.g. regime=clear,blurry")
    p.add_argument("--baseline", action="append", metavar="NAME=VALUE", help="compare with the same cell at this value")
    p.add_argument("--show", choices=("value", "difference", "ratio"), help="in place of the value (needs --baseline)")
    p.add_argument("--mark", choices=("best", "best in row", "best in column", "best in table"), help="mark the best")
    p.add_argument("--correction", choices=("holm", "bh", "none"), help="of p values (default: holm)")
    p.add_argument("--title", help="what the table shows")
    p.add_argument("--format", choices=FORMATS, help="default: by the ending of --out, else text")
    p.add_argument("--out", type=Path, metavar="FILE", help="write it there; prints the file")
    json_option(p)
