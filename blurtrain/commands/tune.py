"""`blurtrain tune SEARCH`, `tune status SEARCH`, `tune cancel SEARCH`."""

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, data_option, json_option, runs_option
from blurtrain.errors import SettingsError, Stopped

USAGE = """blurtrain tune SEARCH [key=value ...]     search, or go on with it
       blurtrain tune status SEARCH              a line a trial, and the best so far
       blurtrain tune cancel SEARCH              stop it; all is saved"""
ACTIONS = ("status", "cancel")
WATCH_SECONDS = 2.0


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _tune(options: argparse.Namespace) -> int:
    words = [word for word in options.words if "=" not in word]
    overrides = [*(word for word in options.words if "=" in word), *options.overrides]
    action = words.pop(0) if words and words[0] in ACTIONS else ""
    if len(words) != 1:
        raise SettingsError(f"tune {action}: name one search file".replace(" :", ":"))
    from blurtrain.documents import parse_overrides
    from jobs.search.file import read_search

    file = read_search(Path(words[0]), parse_overrides(overrides), options.data)
    if action == "status":
        return _status(options, file)
    if action == "cancel":
        return _cancel(options, file)
    return _search(options, file)


def _search(options: argparse.Namespace, file: Any) -> int:
    from jobs.search.driver import search
    from jobs.search.outcome import publish, summary

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.set())
    study = search(file, options.runs, options.at_a_time, _to_stderr, stop, options.retry)
    rows = publish(file, study)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(summary(file, study, rows))
    if stop.is_set() and any(not row["ended"] for row in rows):
        raise Stopped(f"{study.folder}: stopped, all saved; the same command goes on from there")
    return 0


def _status(options: argparse.Namespace, file: Any) -> int:
    from blurtrain.trials import Study
    from jobs.search.outcome import rows, table

    study = Study.of(file, options.runs)
    while True:
        found = rows(file, study)
        if not options.watch:
            break
        print(f"\x1b[H\x1b[2J{table(file, study, found)}", flush=True)
        time.sleep(WATCH_SECONDS)
    print(json.dumps(found, indent=1) if options.json else table(file, study, found))
    return 0


def _cancel(options: argparse.Namespace, file: Any) -> int:
    from blurtrain.files import is_held
    from blurtrain.trials import Study

    study = Study.of(file, options.runs)
    if not is_held(study.driver):
        raise SettingsError(f"{study.folder}: no process is at this search")
    study.cancelled.touch()
    return 0


def add(commands: Any) -> None:
    """Add this command to the parser."""
    p = command(commands, "tune", _tune, "search hyperparameters: every trial is an ordinary run")
    p.usage = USAGE
    p.add_argument(
        "words",
        nargs="+",
        metavar="SEARCH",
        help="search file (YAML), after status or cancel; then key=value over it, e.g. trials=32",
    )
    p.set_defaults(overrides=[])
    runs_option(p)
    data_option(p, None)
    p.add_argument("--at-a-time", type=int, default=0, help="trials at the same time (default: as many as fit)")
    p.add_argument("--retry", action="store_true", help="try trials that failed again")
    p.add_argument("--watch", action="store_true", help="status: show it again every few seconds, until Ctrl-C")
    json_option(p)
