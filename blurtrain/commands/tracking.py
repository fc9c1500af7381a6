"""`blurtrain track`: runs in Weights & Biases or MLflow, from their journals."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurtrain.commands.options import command, json_option, next_step
from blurtrain.errors import BlurtrainError, some_of

if TYPE_CHECKING:
    from analysis.trackers.tracked_run import TrackedRun
    from analysis.trackers.tracker import Written

MOST_LINES = 3
"""Of one run, on stderr, of numbers that are not as they should be."""


def _track(options: argparse.Namespace) -> int:
    from analysis.trackers.track import track
    from blurtrain.run import runs_at

    folders = list(dict.fromkeys(folder for name in options.runs_named for folder in runs_at(name)))
    rows, failed = list[dict[str, Any]](), 0
    for path, found in track(folders, options.to, options.out, options.project):
        if isinstance(found, BlurtrainError):
            failed += 1
            rows.append({"run": str(path), "error": str(found)})
            print(f"blurtrain: {found}", file=sys.stderr, flush=True)
            continue
        run, written = found
        _warn(path, run, written)
        rows.append({"run": str(path), "id": written.id, "epochs": written.epochs, "results": written.results,
                     "omitted": run.omitted, "differing": written.differing})  # fmt: skip
        if not options.json:
            print(f"{path}: new epochs: {written.epochs}, new results: {written.results}", flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    if options.to == "wandb" and failed < len(rows):
        next_step(f"wandb sync {options.out}/wandb")
    return 1 if failed else 0


def _warn(path: Path, run: "TrackedRun", written: "Written") -> None:
    for numbers, what in (
        (run.omitted, "not finite, and not written"),
        (written.differing, "other than what the tracker has, and kept as there: remove the run there to replace it"),
    ):
        if numbers:
            print(f"{path}: {some_of(numbers, MOST_LINES)}: {what}", file=sys.stderr, flush=True)


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Add this command to the parser."""
    p = command(commands, "track", _track, "write runs to Weights & Biases or MLflow: settings, epochs, results")
    p.add_argument("runs_named", nargs="+", type=Path, metavar="RUNS", help="run directories, or folders of them")
    p.add_argument(
        "--to", choices=("wandb", "mlflow"), required=True, help="pip install 'blurtrain[wandb]', or [mlflow]"
    )
    where = "folder to write to; of MLflow also an address, such as http://127.0.0.1:5000"
    p.add_argument("--out", required=True, metavar="WHERE", help=where)
    p.add_argument("--project", default="blurtrain", metavar="NAME", help="project, or experiment (default: blurtrain)")
    json_option(p)
