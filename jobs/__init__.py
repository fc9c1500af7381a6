"""Many runs: what a grid declares, starting what is missing of it, and how each run stands. Never imports torch.

    import jobs
    jobs.submit("grid.yaml", runs="runs", cluster="mine.yaml")
    jobs.status("grid.yaml", runs="runs")
    jobs.tune("search.yaml", runs="runs", trials=32)

Paths may be str. `runs` is the folder of run directories, `data` replaces the settings' data.root; `cluster` is a
profile of configs/clusters or a file of one's own, by default this machine. A mistake raises a BlurtrainError of one
line.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from jobs.backend import Backend
    from jobs.cluster import Cluster
    from jobs.grid import Member
    from jobs.search.file import SearchFile

AnyPath = str | Path
Grid: TypeAlias = "str | Path | Sequence[Member]"
"""A grid file, or its runs as `jobs.grid.declared` gives them."""
Report = Callable[[str], Any]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def submit(
    grid: "Grid",
    *,
    runs: AnyPath = "runs",
    data: AnyPath | None = None,
    cluster: str | None = None,
    at_a_time: int = 0,
    wait: bool = False,
) -> list[str]:
    """Start the runs of a grid that are neither done nor on their way; returns their ids.

    All or none; safe to repeat. `at_a_time`: runs at the same time (on SLURM: jobs of an array), 0: the profile's.
    `wait`: stay until nothing is on its way; raises JobError where a run has not come to its end. Raises SettingsError
    or DataError for a grid or a profile that cannot be used, JobError where the cluster would not take a run.
    """
    members, (backend, profile) = _members(grid, runs, data), _backend(runs, cluster, at_a_time)
    submitted = _start(members, backend, profile)
    if wait:
        rows = _wait(members, runs, _to_stderr)
        if open_ := [row for row in rows if row["state"] != "done"]:
            from blurtrain.errors import JobError

            first = open_[0]
            raise JobError(
                f"{grid}: {len(open_)} of {len(rows)} runs are not done: {first['run_id']}: {first['state']}: "
                f"{first['message']}"
            )
    return submitted


def status(grid: "Grid", *, runs: AnyPath = "runs", data: AnyPath | None = None) -> list[dict[str, Any]]:
    """One row a run: run_id, dataset, regime, seed, state, epoch, epochs, job_id, message, ... (jobs.states.states).

    Raises SettingsError or DataError for a grid that cannot be read; so do all that take one.
    """
    from jobs.states import states

    return states(_members(grid, runs, data), Path(runs))


def wait(
    grid: "Grid",
    *,
    runs: AnyPath = "runs",
    data: AnyPath | None = None,
    report: Report = _to_stderr,
    look: Callable[[Sequence[dict[str, Any]]], Any] | None = None,
) -> list[dict[str, Any]]:
    """Stay until nothing of a grid is on its way; its rows then, as `status` has them. `report` is called with a line
    for each change, `look` with all rows at each look."""
    return _wait(_members(grid, runs, data), runs, report, look)


def retry(
    grid: "Grid",
    *,
    runs: AnyPath = "runs",
    data: AnyPath | None = None,
    cluster: str | None = None,
    at_a_time: int = 0,
    failed: bool = True,
    stale: bool = True,
) -> list[str]:
    """Start again the runs that failed, and those without a heartbeat or on hold (`stale`); returns their ids.

    Raises JobError where SLURM does not answer, or a job does not end that is to be started anew.
    """
    from jobs.backend import backends
    from jobs.states import states

    members, (backend, profile) = _members(grid, runs, data), _backend(runs, cluster, at_a_time)
    rows = {row["run_id"]: row for row in states(members, Path(runs), must_know=True)}
    again = {
        run_id
        for run_id, row in rows.items()
        if (failed and row["state"] == "failed" and not row["submitted"])
        or (stale and row["state"] in ("stale", "held"))
    }
    if stuck := {rows[run_id]["job_id"] for run_id in again if rows[run_id]["submitted"]}:
        # What shares a GPU with a run that hangs is cancelled with it, and goes on with it.
        together = {run_id for run_id, row in rows.items() if row["submitted"] and row["job_id"] in stuck}
        again |= together
        for each in backends(Path(runs)):
            each.cancel(together, wait=True)
    return _start([m for m in members if m.run_id in again], backend, profile)


def cancel(grid: "Grid | None" = None, *, runs: AnyPath = "runs", data: AnyPath | None = None) -> list[str]:
    """Stop what runs or waits of a grid, or of everything in this folder of runs; returns the ids of that.

    A run that another grid declares as well is stopped, and submitting either grid continues it; what only others
    declare goes on, even where it shares a GPU with a run that is stopped.
    """
    from jobs.backend import backends
    from jobs.evaluation import under_way

    wanted = None if grid is None else {member.run_id for member in _members(grid, runs, data)}
    if wanted:
        wanted |= {item for item, found in under_way(Path(runs)).items() if wanted.issuperset(found["runs"])}
    return [item for backend in reversed(backends(Path(runs))) for item in backend.cancel(wanted)]


def logs(run: str, *, runs: AnyPath = "runs") -> str:
    """What a run (by its id, or the beginning of one) has printed last. Raises JobError where there is no such run, or
    several, or it has printed nothing yet."""
    from jobs.output import find, read

    return read(Path(runs), find(Path(runs), run))[1]


def evaluate(
    grid: "Grid",
    overrides: Sequence[str] = (),
    *,
    measures: Sequence[str] = (),
    stages: bool = False,
    runs: AnyPath = "runs",
    data: AnyPath | None = None,
    cluster: str | None = None,
    at_a_time: int = 0,
    wait: bool = False,
) -> list[str]:
    """Start jobs that run `blurtrain evaluate` for every done run of a grid, many runs a job; returns the ids of these
    jobs. `overrides` are `key=value` of the evaluation. stages: after each epoch that was kept, and at the end.

    Safe to repeat: runs that such a job waits for or works on are left to it, and what was measured is not measured
    again. `wait`: stay until all have ended; raises JobError that names a run that could not be evaluated. Raises
    JobError, too, where no run of the grid is done, SettingsError for what is no override.
    """
    from jobs import evaluation

    members, (backend, profile) = _members(grid, runs, data), _backend(runs, cluster, at_a_time)
    items = evaluation.submit(members, backend, profile, overrides, measures, Path(data) if data else None, stages)
    if wait and (failed := evaluation.wait(items, Path(runs), _to_stderr)):
        from blurtrain.errors import JobError

        raise JobError(f"{grid}: {len(failed)} of {len(items)} evaluations failed: {next(iter(failed.values()))[0]}")
    return items


def tune(
    search: AnyPath,
    *,
    runs: AnyPath = "runs",
    data: AnyPath | None = None,
    at_a_time: int = 0,
    report: Report = _to_stderr,
    **overrides: Any,
) -> list[dict[str, Any]]:
    """Search on this machine until every trial has ended, or go on with a search; returns a row a trial (see `trials`).

    overrides: over what the file says, e.g. trials=32, scheduler={"name": "none"}. `at_a_time`: trials at the same
    time, 0: as many as fit. `report` is called with a line for each trial that ends. It runs in a process of its own;
    an interrupt stops it with all saved. Needs Ray Tune (the extra `tune`). Raises SettingsError or DataError, with
    nothing started, for what cannot be searched, JobError where the search fails.
    """
    import json

    from jobs.search import child

    _search_file(search, data, overrides)  # a mistake is answered before anything is started
    words = [str(search), *(f"{name}={json.dumps(value)}" for name, value in overrides.items())]
    words += ["--cluster", "local", "--runs", str(runs), "--at-a-time", str(at_a_time)]
    return child.run([*words, *([] if data is None else ["--data", str(data)])], report)


def trials(
    search: AnyPath, *, runs: AnyPath = "runs", data: AnyPath | None = None, **overrides: Any
) -> list[dict[str, Any]]:
    """One row a trial of a search, as it stands: trial, state, at, epoch, epochs, objective, sd, seeds, ended, message,
    best, is_base, runs, settings (jobs.search.outcome.rows). Raises SettingsError or DataError as `tune` does."""
    from blurtrain.trials import Study
    from jobs.search.outcome import rows

    file = _search_file(search, data, overrides)
    return rows(file, Study.of(file, Path(runs)))


def _search_file(search: AnyPath, data: AnyPath | None, overrides: dict[str, Any]) -> "SearchFile":
    from jobs.search.file import read_search

    return read_search(Path(search), overrides, None if data is None else Path(data))


def _members(grid: "Grid", runs: AnyPath, data: AnyPath | None) -> "Sequence[Member]":
    from jobs.grid import declared

    if not isinstance(grid, str | Path):
        return grid
    return declared(Path(grid), Path(runs), None if data is None else Path(data))


def _backend(runs: AnyPath, cluster: str | None, at_a_time: int) -> "tuple[Backend, Cluster]":
    """Raises SettingsError before anything is done."""
    from blurtrain.errors import SettingsError
    from jobs.backend import backend_of, default_cluster
    from jobs.cluster import read_cluster

    if at_a_time < 0:
        raise SettingsError(f"--at-a-time {at_a_time}: must be 1 or more, or 0 for the profile's")
    profile = read_cluster(cluster or default_cluster(Path(runs)))
    profile = profile.model_copy(update={"at_a_time": at_a_time}) if at_a_time else profile
    return backend_of(profile, Path(runs)), profile


def _start(members: "Sequence[Member]", backend: "Backend", profile: "Cluster") -> list[str]:
    from jobs.backend import submit as submit_items
    from jobs.item import training

    items = [training(member, backend.runs) for member in members]
    return [item.id for item in submit_items(items, backend, profile)] if items else []


def _wait(
    members: "Sequence[Member]",
    runs: AnyPath,
    report: Report,
    look: Callable[[Sequence[dict[str, Any]]], Any] | None = None,
) -> list[dict[str, Any]]:
    from jobs import states

    return states.wait(members, Path(runs), report, look)
