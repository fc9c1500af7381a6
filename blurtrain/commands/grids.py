"""`blurtrain grid ...`, and `doctor`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command, data_option, group, json_option, runs_option
from blurtrain.errors import SettingsError


def _members(options: argparse.Namespace) -> Any:
    from jobs.grid import as_begun, expand, read_grid

    return as_begun(expand(read_grid(options.grid), str(options.grid), options.data), options.runs)


def _warn(members: Any) -> None:
    from jobs.grid import shortfalls

    for line in shortfalls(members):
        print(f"warning: {line}", file=sys.stderr)


def _plan(options: argparse.Namespace) -> int:
    from jobs.costs import cost
    from jobs.status import INTENTS, differing, intent, states, undeclared

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
        print(f"{cost(chosen, options.runs, options.images_per_second)}")
    if others := undeclared(members, options.runs):
        print(f"{len(others)} runs of this folder are not (or no longer) declared by this grid: {', '.join(others[:3])}"
              f"{', ...' * (len(others) > 3)}")  # fmt: skip
    return 0


def _status(options: argparse.Namespace) -> int:
    from jobs.status import pause, states, table

    members = _members(options)
    while True:
        rows = states(members, options.runs)
        if not options.watch:
            break
        print(f"\x1b[H\x1b[2J{table(rows)}", flush=True)
        pause(options.runs)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0


def _cluster(options: argparse.Namespace) -> Any:
    """The profile that --cluster names, with --at-a-time; raises SettingsError before anything is done."""
    from jobs.cluster import read_cluster
    from jobs.submissions import submissions

    if options.at_a_time < 0:
        raise SettingsError(f"--at-a-time {options.at_a_time}: must be 1 or more, or 0 for the profile's")
    if options.cluster is None and submissions(options.runs):
        raise SettingsError(f"{options.runs}: was submitted to SLURM before; say --cluster PROFILE, or --cluster local")
    cluster = read_cluster(options.cluster or "local")
    return cluster.model_copy(update={"at_a_time": options.at_a_time}) if options.at_a_time else cluster


def _start(cluster: Any, members: Any, runs: Path) -> Any:
    """Submit these runs to this cluster; those that were."""
    from jobs import local, scheduler, slurm

    if cluster.scheduler == "slurm":
        return slurm.submit(members, runs, cluster)
    if scheduler.installed():  # what waits or runs there is not to be trained here as well
        members = slurm.missing(members, runs)
    return local.submit(members, runs, cluster.at_a_time)


def _submit(options: argparse.Namespace) -> int:
    from jobs.status import wait

    members, cluster = _members(options), _cluster(options)
    _warn(members)
    submitted = _start(cluster, members, options.runs)
    print(f"{len(submitted)} of {len(members)} runs submitted; the others are done or on their way", file=sys.stderr)
    if options.wait:
        return 0 if wait(members, options.runs, lambda line: print(line, file=sys.stderr)) else 1
    return 0


def _retry(options: argparse.Namespace) -> int:
    from jobs.slurm import cancel
    from jobs.status import states

    members, cluster = _members(options), _cluster(options)
    rows = {row["run_id"]: row for row in states(members, options.runs, must_know=True)}
    again = set()
    if options.failed or not options.stale:
        again |= {run_id for run_id, row in rows.items() if row["state"] == "failed" and not row["submitted"]}
    if options.stale or not options.failed:
        again |= {run_id for run_id, row in rows.items() if row["state"] in ("stale", "held")}
    stuck = {rows[run_id]["job_id"] for run_id in again if rows[run_id]["submitted"]}
    if stuck:
        # What shares a GPU with a run that hangs is cancelled with it, and goes on with it.
        again |= {run_id for run_id, row in rows.items() if row["submitted"] and row["job_id"] in stuck}
        cancel([m for m in members if rows[m.run_id]["job_id"] in stuck], options.runs, wait=True)
    submitted = _start(cluster, [m for m in members if m.run_id in again], options.runs) if again else []
    for member in submitted:
        print(member.run_id)
    print(f"{len(submitted)} runs submitted again", file=sys.stderr)
    return 0


def _logs(options: argparse.Namespace) -> int:
    from jobs.logs import find, follow, read

    run_id = find(options.runs, options.run)
    shown = None
    for log, part in follow(options.runs, run_id) if options.follow else [read(options.runs, run_id)]:
        if log != shown:
            print(f"==> {log} <==", file=sys.stderr, flush=True)
            shown = log
        print(part, end="", flush=True)
    return 0


def _cancel(options: argparse.Namespace) -> int:
    from jobs import local, slurm

    members = _members(options) if options.grid else None
    for run_id in [*local.cancel(options.runs, members), *slurm.cancel(members, options.runs)]:
        print(run_id)
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
    """Tell the parser of these commands."""
    grid = group(commands, "grid", "many runs: plan, submit, watch")
    for name, function, text in (
        ("plan", _plan, "show what submitting would do"),
        ("status", _status, "show how each run of the grid stands"),
        ("submit", _submit, "start what is missing, and return"),
        ("retry", _retry, "start again what failed, or has given no sign of life"),
    ):
        p = command(grid, name, function, text)
        p.add_argument("grid", type=Path, help="grid file (YAML)")
        runs_option(p)
        data_option(p, None)
        if name in ("submit", "retry"):
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
        if name == "submit":
            p.add_argument(
                "--wait", action="store_true", help="stay, show progress, and exit with 0 if all runs are done"
            )
        if name == "retry":
            p.add_argument("--failed", action="store_true", help="those that failed only")
            p.add_argument("--stale", action="store_true", help="those without a sign of life, or on hold, only")
        if name in ("plan", "status"):
            json_option(p)
        if name == "plan":
            p.add_argument("--images-per-second", type=float, help="of one GPU, for the estimate of costs")
        if name == "status":
            p.add_argument("--watch", action="store_true", help="show it again every few seconds, until Ctrl-C")

    p = command(grid, "logs", _logs, "show what a run, or the job that is to run it, has printed")
    p.add_argument("run", help="run id, or the beginning of one")
    p.add_argument("-f", "--follow", action="store_true", help="go on as more comes, until the run ends or Ctrl-C")
    runs_option(p)

    p = command(grid, "cancel", _cancel, "stop what runs or waits; it can be continued")
    p.add_argument("grid", nargs="?", type=Path, help="grid file (default: all in this folder of runs)")
    runs_option(p)
    data_option(p, None)

    p = command(commands, "doctor", _doctor, "find out by a small job whether a cluster is fit for grids")
    p.add_argument("--cluster", required=True, help="profile in configs/clusters, or your own file")
    p.add_argument("--seconds", type=float, default=300, help="how long to wait for the job (300)")
    runs_option(p)
    data_option(p, Path("data"))
    json_option(p)
