"""What there is already: `runs` lists run directories, `show` one of them."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, json_option, next_step, runs_option
from blurtrain.errors import SettingsError

FIRST = ("run_id", "state", "epoch")


def _runs(options: argparse.Namespace) -> int:
    words = [*options.words, *options.overrides]
    folders, where = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    if len(folders) > 1:
        raise SettingsError(f"runs: one folder of runs at a time, not {', '.join(folders)}")
    from jobs.listing import listing

    folder = Path(folders[0]) if folders else options.runs
    columns = [name for names in options.columns for name in names.split(",")]
    found = listing(folder, where, columns, options.sort, options.reverse)
    for line in found.not_read:
        print(f"not read: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps(found.rows, indent=1, default=str))
        return 0
    if found.rows:
        print(_table(found.rows, [*FIRST, *found.columns, "message"]))
        next_step(f"blurtrain show RUN --runs {folder}; blurtrain report {folder} --out report")
    else:
        print(f"{folder}: no runs{' of which all of this holds' if where else ' yet'}", file=sys.stderr)
    return 0


def _table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    from blurtrain.settings.labels import shown

    cells = [columns, *([shown(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _show(options: argparse.Namespace) -> int:
    from blurtrain.run import Run
    from jobs.output import find
    from jobs.showing import as_text, look_at

    named = Path(options.run)
    place = named if (named / "settings.yaml").exists() else options.runs / find(options.runs, options.run)
    shown = look_at(Run(place))
    if options.json:
        document = {**shown.row, "path": str(place), "own": shown.own, "curves": shown.curves, "log": shown.log}
        print(json.dumps(document, indent=1, default=str))
        return 0
    print(as_text(shown))
    next_step(_advice(shown.row, place))
    return 0


def _advice(row: dict[str, Any], place: Path) -> str:
    if row["state"] == "done":
        return f"blurtrain evaluate {place}; blurtrain predict {place} IMAGES"
    if row["submitted"] or row["state"] == "running":
        return f"blurtrain grid logs {row['run_id']} -f --runs {place.parent}"
    return f"blurtrain train {place}/settings.yaml --runs {place.parent} goes on with it"


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Add these commands to the parser."""
    p = command(commands, "runs", _runs, "list the runs of a folder, by state and by any of their settings")
    p.add_argument(
        "words", nargs="*", metavar="DIR | key=value", help="folder of runs; which, e.g. regime=clear,blurry state=done"
    )
    p.set_defaults(overrides=[])
    runs_option(p)
    columns = "settings to show, e.g. learning_rate,optimisation.epochs; or loss, top1 of the last epoch in training"
    p.add_argument("--columns", action="append", default=[], metavar="NAMES", help=columns)
    p.add_argument("--sort", metavar="NAME", help="a column or setting (default: by name)")
    p.add_argument("--reverse", action="store_true", help="the largest first")
    json_option(p)

    p = command(commands, "show", _show, "show one run: its own settings, how it learnt, what it printed last")
    p.add_argument("run", metavar="RUN", help="run directory, run id, or the beginning of one")
    runs_option(p)
    json_option(p)
