"""`blurtrain grid ...`, and `doctor`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.growing_report import GrowingReport
from blurtrain.commands.options import command, data_option, group, json_option, next_step, runs_option
from blurtrain.errors import JobError, SettingsError

GRID = "grid file (YAML), or a grid that comes with the project, e.g. paper"


def _members(options: argparse.Namespace) -> Any:
    from jobs.grid import declared

    return declared(options.grid, options.runs, options.data)


def _warn(members: Any) -> None:
    from jobs.grid import shortfalls

    for line in shortfalls(members):
        print(f"warning: {line}", file=sys.stderr)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _plan(options: argparse.Namespace) -> int:
    from jobs.costs import cost
    from jobs.states import INTENTS, intent, states, undeclared
    from jobs.table import differing

    if options.images_per_second is not None and options.images_per_second <= 0:
        raise SettingsError("grid plan: --images-per-second must be more than 0")
    members = _members(options)
    _warn(members)
    rows = states(members, options.runs)
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        print(f"{intent(row):12} {row['state']:10} {row['run_id']}  {differing(row)}".rstrip())
    chosen = [m for m, row in zip(members, rows, strict=True) if intent(row) in INTENTS.values()]
    print(f"\nsubmitting would take up {len(chosen)} of {len(rows)} runs")
    if chosen:
        print(f"{cost(chosen, options.runs, options.images_per_second, options.measured)}")
    if others := undeclared(members, options.runs):
        print(f"{len(others)} runs of this folder are not (or no longer) declared by this grid: {', '.join(others[:3])}"
              f"{', ...' * (len(others) > 3)}")  # fmt: skip
    return 0


def _status(options: argparse.Namespace) -> int:
    from blurtrain.terminal import is_coloured, redraw
    from jobs.states import pause, states
    from jobs.watch import coloured_table, frame

    members, coloured = _members(options), is_coloured(sys.stdout)
    while True:
        rows = states(members, options.runs)
        if not options.watch:
            break
        redraw(frame(rows, coloured))
        pause(options.runs)
    print(json.dumps(rows, indent=1) if options.json else coloured_table(rows, coloured))
    if not options.runs.is_dir():
        _to_stderr(f"{options.runs}: no such folder yet: nothing has been submitted with it")
    return 0


def _submit(options: argparse.Namespace) -> int:
    import jobs

    if options.report and not options.wait:
        raise SettingsError("grid submit: --report is written while this command waits: add --wait")
    members = _members(options)
    _warn(members)
    submitted = jobs.submit(members, runs=options.runs, cluster=options.cluster, at_a_time=options.at_a_time)
    _to_stderr(f"{len(submitted)} of {len(members)} runs submitted; the others are done or on their way")
    where = f"{options.grid} --runs {options.runs}"
    if options.wait:
        written = GrowingReport(options.runs, options.report, _to_stderr) if options.report else None
        rows = jobs.wait(members, runs=options.runs, report=_to_stderr, look=written.look if written else None)
        if written:
            written.finish(rows)
        done = all(row["state"] == "done" for row in rows)
        report = f"open {written.page} in a browser" if written else f"blurtrain report {options.runs} --out report"
        next_step(report if done else f"blurtrain grid status {where}")
        return 0 if done else 1
    next_step(f"blurtrain grid status {where} --watch")
    return 0


def _retry(options: argparse.Namespace) -> int:
    import jobs

    submitted = jobs.retry(
        options.grid,
        runs=options.runs,
        data=options.data,
        cluster=options.cluster,
        at_a_time=options.at_a_time,
        failed=options.failed or not options.stale,
        stale=options.stale or not options.failed,
    )
    for run_id in submitted:
        print(run_id)
    _to_stderr(f"{len(submitted)} runs submitted again")
    if left := [row for row in jobs.status(options.grid, runs=options.runs, data=options.data)
                if row["state"] == "cancelled"]:  # fmt: skip
        _to_stderr(f"{len(left)} are cancelled: `blurtrain grid submit` starts these")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    import jobs
    from jobs import evaluation

    started = jobs.evaluate(
        options.grid,
        options.overrides,
        measures=options.measure,
        stages=options.stages,
        runs=options.runs,
        data=options.data,
        cluster=options.cluster,
        at_a_time=options.at_a_time,
    )
    for job in started:
        print(job)
    _to_stderr(f"{len(started)} jobs evaluate the done runs; `blurtrain grid logs JOB` shows what one prints")
    if not options.wait:
        return 0
    failed = evaluation.wait(started, options.runs, _to_stderr)
    for line in (line for lines in failed.values() for line in lines):
        _to_stderr(f"blurtrain: {line}")
    return 1 if failed else 0


def _logs(options: argparse.Namespace) -> int:
    from jobs.output import find, follow, read

    run_id = find(options.runs, options.run)
    shown = None
    for log, part in follow(options.runs, run_id) if options.follow else [read(options.runs, run_id)]:
        if log != shown:
            _to_stderr(f"==> {log} <==")
            shown = log
        print(part, end="", flush=True)
    return 0


def _cancel(options: argparse.Namespace) -> int:
    import jobs

    if not options.runs.is_dir():
        raise JobError(f"{options.runs}: no such folder; --runs names the folder that holds the run directories")
    cancelled = jobs.cancel(options.grid, runs=options.runs, data=options.data)
    for item in cancelled:
        print(item)
    _to_stderr(f"{len(cancelled)} cancelled" if cancelled else "nothing of it waits or runs")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from jobs.cluster import read_cluster
    from jobs.doctor import examine

    cluster = read_cluster(options.cluster)
    if cluster.scheduler != "slurm":
        raise SettingsError(f"doctor: --cluster {options.cluster} has no SLURM that could be looked at")
    checks = []
    for check in examine(cluster, options.runs, options.data, options.seconds):
        checks.append(check)
        if not options.json:
            print(f"{'ok' if check.good else 'FAILED':7} {check.what:26} {check.detail}".rstrip(), flush=True)
    if options.json:
        print(json.dumps([vars(check) for check in checks], indent=1))
    return 0 if all(check.good for check in checks) else 1


# --- options --------------------------------------------------------------------------------------------------------


def add(commands: Any) -> None:
    """Add these commands to the parser."""
    grid = group(commands, "grid", "many runs: plan, submit, watch")
    for name, function, text in (
        ("plan", _plan, "show what submitting would do"),
        ("status", _status, "show how each run of the grid stands"),
        ("submit", _submit, "start what is missing, and return"),
        ("retry", _retry, "start again what failed, or has no heartbeat"),
        ("evaluate", _evaluate, "evaluate the done runs of the grid as jobs, many runs a job; prints the jobs"),
    ):
        p = command(grid, name, function, text)
        p.add_argument("grid", type=Path, help=GRID)
        runs_option(p)
        data_option(p, None)
        if name in ("submit", "retry", "evaluate"):
            p.add_argument(
                "--cluster",
                help="profile in configs/clusters, or a file of one's own (default: local)",
            )
            p.add_argument(
                "--at-a-time",
                type=int,
                default=0,
                help="runs at the same time; on SLURM: jobs of each array (default: the profile's; local: one a core)",
            )
        if name in ("submit", "evaluate"):
            p.add_argument("--wait", action="store_true", help="stay, show progress, and exit with 0 if all went well")
        if name == "submit":
            p.add_argument(
                "--report",
                type=Path,
                metavar="DIR",
                help="with --wait: write the report there each time runs have ended, and say what is missing",
            )
        if name == "evaluate":
            p.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. evaluation.sigmas=[0,8]")
            p.add_argument("--measure", action="append", default=[], metavar="NAME", help="as `blurtrain evaluate` has")
            p.add_argument("--stages", action="store_true", help="after each epoch that was kept, and at the end")
        if name == "retry":
            p.add_argument("--failed", action="store_true", help="those that failed only")
            p.add_argument("--stale", action="store_true", help="those without a heartbeat, or on hold, only")
        if name in ("plan", "status"):
            json_option(p)
        if name == "plan":
            speed = p.add_mutually_exclusive_group()
            speed.add_argument("--images-per-second", type=float, help="of one GPU, for the estimate of costs")
            speed.add_argument(
                "--measured",
                type=Path,
                metavar="GPU.JSON",
                help="what `make gpu` measured of a card (default: past runs)",
            )
        if name == "status":
            p.add_argument("--watch", action="store_true", help="show it again every few seconds, until Ctrl-C")

    p = command(grid, "logs", _logs, "show what a run, or the job that is to run it, has printed")
    p.add_argument("run", help="run id, or the beginning of one")
    p.add_argument("-f", "--follow", action="store_true", help="go on as more comes, until the run ends or Ctrl-C")
    runs_option(p)

    p = command(grid, "cancel", _cancel, "stop what runs or waits; it can be continued")
    p.add_argument(
        "grid",
        nargs="?",
        type=Path,
        help=f"{GRID}: stops what it declares, whatever others declare (default: all in this folder of runs)",
    )
    runs_option(p)
    data_option(p, None)

    p = command(commands, "doctor", _doctor, "find out by a small job whether a cluster is fit for grids")
    p.add_argument("--cluster", required=True, help="profile in configs/clusters, or your own file")
    p.add_argument("--seconds", type=float, default=300, help="how long to wait for the job (300)")
    runs_option(p)
    data_option(p, Path("data"))
    json_option(p)
