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

    if options.inside:
        return _inside(options, Path(words[0]))
    file = read_search(Path(words[0]), parse_overrides(overrides), options.data)
    if action == "status":
        return _status(options, file)
    if action == "cancel":
        return _cancel(options, file)
    from jobs.backend import default_cluster
    from jobs.cluster import read_cluster

    cluster = read_cluster(options.cluster or default_cluster(options.runs))
    return _submit(options, file, cluster) if cluster.scheduler == "slurm" else _search(options, file)


def _submit(options: argparse.Namespace, file: Any, cluster: Any) -> int:
    from blurtrain.trials import Study
    from jobs.backend import backend_of
    from jobs.search import submission

    if options.at_a_time:
        raise SettingsError("--at-a-time is for this machine: on SLURM, a search takes what its allocation says")
    study = Study.of(file, options.runs)
    if submission.submit(file, backend_of(cluster, options.runs), cluster, options.retry):
        print(study.id)
    elif line := submission.job_line(study):
        _to_stderr(f"{line}; nothing was submitted")
    else:
        _show(options, file, study)
    return 0


def _inside(options: argparse.Namespace, path: Path) -> int:
    """In a job: on each node, and as the driver on the first."""
    from blurtrain.trials import Study
    from jobs.search.node import drive_job, is_driver, keep_node
    from jobs.search.submission import submitted

    stop = _stopped_by_signals()
    file = submitted(path, options.inside)
    study = Study.of(file, options.runs)
    study.begin(file.record)
    if not is_driver():
        return keep_node(study, [sys.executable, "-m", "blurtrain", *sys.argv[1:]])
    drive_job(file, options.runs, _to_stderr, stop)
    return _ended(options, file, study, stop)


def _search(options: argparse.Namespace, file: Any) -> int:
    from jobs.search.driver import search

    stop = _stopped_by_signals()
    study = search(file, options.runs, options.at_a_time, _to_stderr, stop, options.retry)
    return _ended(options, file, study, stop)


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _ended(options: argparse.Namespace, file: Any, study: Any, stop: threading.Event) -> int:
    _show(options, file, study)
    open_ = [trial for trial in study.trials() if not trial.ended]
    if stop.is_set() and open_:
        raise Stopped(f"{study.folder}: stopped, all saved; the same command goes on from there")
    return 1 if open_ else 0


def _show(options: argparse.Namespace, file: Any, study: Any) -> None:
    from jobs.search.outcome import publish, summary

    rows = publish(file, study)
    print(json.dumps(rows, indent=1) if options.json else summary(file, study, rows))


def _status(options: argparse.Namespace, file: Any) -> int:
    from blurtrain.terminal import redraw
    from blurtrain.trials import Study
    from jobs.search.outcome import rows, table
    from jobs.search.submission import job_line

    study = Study.of(file, options.runs)
    while True:
        found, line = rows(file, study), job_line(study)
        if not options.watch:
            break
        redraw(f"{line}\n{table(file, study, found)}")
        time.sleep(WATCH_SECONDS)
    if line:
        _to_stderr(line)
    print(json.dumps(found, indent=1) if options.json else table(file, study, found))
    return 0


def _cancel(options: argparse.Namespace, file: Any) -> int:
    from blurtrain.files import is_held
    from blurtrain.trials import Study
    from jobs.search.submission import cancel

    study = Study.of(file, options.runs)
    here = is_held(study.driver)
    if here:
        study.cancelled.touch()
    if not cancel(study) and not here:
        raise SettingsError(f"{study.folder}: no process is at this search")
    return 0


def add(commands: Any) -> None:
    """Add this command to the parser."""
    p = command(commands, "tune", _tune, "search hyperparameters: every trial is an ordinary run")
    p.usage = USAGE
    p.add_argument(
        "words",
        nargs="+",
        metavar="SEARCH",
        help="search file (YAML), or a search that comes with the project, e.g. faces; before it status or cancel, "
        "behind it key=value over it, e.g. trials=32",
    )
    p.set_defaults(overrides=[])
    runs_option(p)
    data_option(p, None)
    p.add_argument("--at-a-time", type=int, default=0, help="trials at the same time (default: as many as fit)")
    p.add_argument("--cluster", help="profile of configs/clusters, or a file of one's own (default: this machine)")
    p.add_argument("--inside", default="", help=argparse.SUPPRESS)
    p.add_argument("--retry", action="store_true", help="try trials that failed again")
    p.add_argument("--watch", action="store_true", help="status: show it again every few seconds, until Ctrl-C")
    json_option(p)
