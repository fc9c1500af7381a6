"""How each run of a grid stands: from its run directory, from SLURM's queue and accounts, and from local workers."""

import math
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurtrain.errors import REQUEUE, JobError
from blurtrain.files import read_json
from blurtrain.run import STALE_SECONDS, Run
from blurtrain.settings.labels import differences, model_label, regime_label, shown
from jobs import local, scheduler, slurm
from jobs.grid import Member
from jobs.slurm import ArrayTask
from jobs.submissions import submissions

STATES = ("planned", "queued", "held", "running", "preempted", "stale", "failed", "cancelled", "done")
WORKING = ("RUNNING", "COMPLETING", "SIGNALING")
TOLD = ("running", "done", "failed", "stale", "held")
"""States whose beginning is told to who waits."""
SUSPENDED = ("SUSPENDED", "STOPPED")
HELD = re.compile(r"held|JobHold", re.IGNORECASE)
"""Reasons of jobs that wait until somebody lets them go: JobHeldUser, JobHeldAdmin, launch failed requeued held, ..."""
START_SECONDS = 900.0
"""A job whose run gives no sign of life for so long from its start does not begin any more."""
FINISHING_SECONDS = 120.0
"""So long a result may take to be seen here once its job has ended: file systems in a network remember what was not
there."""
ENDS = {"CANCELLED": "cancelled", "PREEMPTED": "preempted", "TIMEOUT": "preempted"}
"""What SLURM calls the end of a job that did not fail by itself."""


@dataclass(frozen=True)
class Sources:
    """All that is asked once for a whole grid."""

    runs: Path
    present: set[str]
    local_queue: dict[str, str]
    """Runs that wait for a worker of this machine, with the name of its queue."""
    local_queues: dict[str, str]
    """The newest queue that a run was ever in."""
    locks: set[str]
    """Runs that a worker of this machine has ever been at."""
    places: Mapping[str, Sequence[ArrayTask]] = field(default_factory=dict)
    jobs: Mapping[str, scheduler.Job] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0
    """By the clock of the file system that the runs lie on."""
    trouble: str = ""
    """Why SLURM could not be asked."""

    @classmethod
    def of(cls, members: Sequence[Member], runs: Path) -> "Sources":
        """One look at each source; SLURM first, so that what ends in between has left its result."""
        open_ = [m.run_id for m in members]
        here = slurm.existing(runs)
        workers = local.queued(runs), local.newest_queues(runs), slurm.existing(runs / ".local" / "locks")
        if ".slurm" not in here:
            return cls(runs, here, *workers)
        open_ = [r for r in open_ if r not in here or not (runs / r / "result.json").exists()]
        places = {r: found for r, found in slurm.places(submissions(runs), open_).items() if found}
        jobs: dict[str, scheduler.Job] = {}
        ended: dict[str, str] = {}
        trouble = ""
        try:
            jobs = slurm.in_queue(places)
            gone = {p[-1].job.split("_")[0] for r, p in places.items() if r not in jobs}
            ended = scheduler.history(sorted(gone - {""}))
        except JobError as error:
            trouble = str(error)
        return cls(runs, slurm.existing(runs), *workers, places, jobs, ended, _clock(runs / ".slurm"), trouble)


def _clock(folder: Path) -> float:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as now:
            return os.fstat(now.fileno()).st_mtime
    except OSError:  # somebody else's runs, that we may only read
        return time.time()


def states(members: Sequence[Member], runs: Path, must_know: bool = False) -> list[dict[str, Any]]:
    """One row a run: run_id, dataset, regime, seed, state (one of STATES), epoch, epochs, job_id, message, submitted
    (whether a job or a worker has it, so that submitting leaves it alone), model; a column by its dotted name for each
    setting in which runs on one dataset differ beyond what regime and model say; and, of runs at work, sigma,
    images_per_second, remaining_seconds where they are known.

    `must_know`: raises JobError where SLURM does not answer, instead of telling it of each run.
    """
    sources = Sources.of(members, runs)
    if must_know and sources.trouble:
        raise JobError(sources.trouble)
    swept = differences([member.settings for member in members])
    settings = [{name: values[k] for name, values in swept.items()} for k in range(len(members))]
    return [_row(member, own, sources) for member, own in zip(members, settings, strict=True)]


def _row(member: Member, swept: Mapping[str, Any], sources: Sources) -> dict[str, Any]:
    settings, epochs = member.settings, member.settings.optimisation.epochs
    row = {
        "run_id": member.run_id,
        "dataset": settings.dataset,
        "regime": regime_label(settings),
        "seed": settings.seed,
        "state": "planned",
        "epoch": 0.0,
        "epochs": epochs,
        "job_id": "",
        "message": "",
        "submitted": False,
        "model": model_label(settings),
        **swept,
    }
    run = Run(sources.runs / member.run_id)
    begun = member.run_id in sources.present
    if begun and (result := run.result()) is not None:
        return {**row, "state": "done", "epoch": float(epochs), "message": result.get("headline", "")}
    attempts = run.attempts() if begun else []
    beat = (read_json(attempts[-1] / "heartbeat.json") if attempts else None) or {}
    row["epoch"] = round(float(beat.get("epoch", 0)), 2)
    row["submitted"] = True
    if job := sources.jobs.get(run.id):
        return {**row, "job_id": job.id, **_of_a_job(job, run, attempts, beat, sources)}
    if sources.trouble and sources.places.get(run.id):
        alive = run.beats()
        news = {"state": "running" if alive else "queued", **_speed(beat if alive else {}), "message": sources.trouble}
        return {**row, **news}
    if begun and not slurm.ours(run, sources.places.get(run.id, ())) and local.running(sources.runs, run.id):
        return {**row, "state": "running", **_speed(beat)}
    if not begun and run.id in sources.locks and local.is_locked(sources.runs, run.id):
        return {**row, "state": "running"}
    if run.id in sources.local_queue:
        return {**row, "state": "queued", "job_id": sources.local_queue[run.id]}
    return {**row, "submitted": False, **_idle_row(run, attempts, sources)}


def _of_a_job(
    job: scheduler.Job, run: Run, attempts: Sequence[Path], beat: Mapping[str, Any], sources: Sources
) -> dict[str, Any]:
    """A run that has a job in SLURM's queue."""
    place = sources.places[run.id][-1]
    if job.state in SUSPENDED:
        return {"state": "preempted", "message": f"SLURM has suspended it on {job.nodes}"}
    if job.state not in WORKING:
        if job.state in ("REQUEUE_HOLD", "SPECIAL_EXIT") or HELD.search(job.reason):
            anew = f"`scontrol release {job.id}` lets it go, grid retry starts it anew"
            what = anew if place.submission.released else "submit again"
            return {"state": "held", "message": f"held in the queue: {job.reason}; {what}"}
        reason = f"waits in the queue: {job.reason}"
        if slurm.ours(run, [place]):
            return {"state": "preempted", "message": f"{reason}; it goes on from its checkpoint"}
        return {"state": "queued", "message": reason}
    age = _silence(attempts, sources)
    if beat.get("ended") and len(place.array.tasks[place.task]) > 1 and (error := _error(_last_event(run))):
        return {"state": "failed", "message": error}  # it shares its job with others, which go on
    if age < job.seconds and beat.get("ended"):
        return {"state": "running", "message": f"ending on {job.nodes}"}
    if STALE_SECONDS < age < job.seconds:
        return {"state": "stale", "message": f"no sign of life from {job.nodes} for {age:.0f} s"}
    if age > STALE_SECONDS or beat.get("ended"):
        if job.seconds > START_SECONDS:
            return {"state": "stale", "message": f"has not begun on {job.nodes} within {duration(job.seconds)}"}
        return {"state": "running", "message": f"starting on {job.nodes}"}
    unmoved = max(age, float(beat.get("unmoved_seconds", 0)))
    slow = f"; has not moved for {unmoved:.0f} s" if unmoved > STALE_SECONDS else ""
    return {"state": "running", "message": f"{beat.get('doing', 'running')} on {job.nodes}{slow}", **_speed(beat)}


def _silence(attempts: Sequence[Path], sources: Sources) -> float:
    """Seconds since the newest attempt's last heartbeat."""
    try:
        return sources.now - (attempts[-1] / "heartbeat.json").stat().st_mtime
    except (IndexError, OSError):
        return math.inf


NO_EVENT: Mapping[str, Any] = {"event": ""}


def _last_event(run: Run) -> Mapping[str, Any]:
    return [NO_EVENT, *run.journal()][-1]


def _error(last: Mapping[str, Any]) -> str:
    """What an attempt failed of whose last event this is; empty where it did not fail."""
    return f"{last['error']}: {last['message']}" if last["event"] == "failed" else ""


def _speed(beat: Mapping[str, Any]) -> dict[str, Any]:
    return {k: beat[k] for k in ("sigma", "images_per_second", "remaining_seconds") if k in beat}


def _idle_row(run: Run, attempts: Sequence[Path], sources: Sources) -> dict[str, Any]:
    """A run that nobody is at: not done, and neither waiting nor running."""
    last = _last_event(run) if attempts else NO_EVENT
    told = _error(last)
    places = sources.places.get(run.id)
    if places and places[-1].submission.folder.name > sources.local_queues.get(run.id, ""):
        place = places[-1]
        job, state = place.job, sources.ended.get(place.job, "")
        row: dict[str, Any] = {"job_id": job}
        if run.id in place.submission.cancelled or state == "CANCELLED":
            return {**row, "state": "cancelled"}
        if not job:
            return {"state": "stale" if attempts else "planned", "message": "its submission was cut short"}
        if state == "COMPLETED" and _silence(attempts, sources) < FINISHING_SECONDS:
            return {**row, "state": "running", "message": "finishing", "submitted": True}
        if state in ENDS or (last["event"] == "stopped" and state not in ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY")):
            return {
                **row,
                "state": "preempted",
                "message": f"ended by {state or 'a signal'}; submit again to continue it",
            }
        if state in ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE") or told:
            message = told or _last_output(place, run.id) or f"its job ended as {state}"
            return {**row, "state": "failed", "message": message}
        return {**row, "state": "stale", "message": "its job is gone; submit again to continue it"}
    code, line = local.last_exit(sources.runs, run.id)
    if local.was_cancelled(sources.runs, run.id):
        return {"state": "cancelled"}
    if code == REQUEUE or (code is None and last["event"] == "stopped"):
        return {"state": "preempted", "message": "stopped by a signal, all saved; submit again to continue it"}
    if code or told:
        return {"state": "failed", "message": line if code else told}
    if attempts:
        return {"state": "stale", "message": "nobody is working on it; submit again to continue it"}
    return {}


def _last_output(place: ArrayTask, run_id: str) -> str:
    """The last line of what the run, or else its job, has printed."""
    for path in outputs(place, run_id):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            if line := scheduler.last_line(file.read().decode(errors="replace")):
                return line
    return ""


def outputs(place: ArrayTask, run_id: str) -> list[Path]:
    """Where the run and its job print to, as far as it is there: the run's own output first."""
    folder = place.submission.folder
    job = [folder / place.array.name / f"{place.job}_0_log.{kind}" for kind in ("err", "out")]
    return [path for path in (folder / "logs" / f"{run_id}.log", *job) if path.exists()]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text for a terminal, with a summary below."""
    models = ["model"] if len({row["model"] for row in rows}) > 1 else []
    columns = ["dataset", "regime", *models, *(key for key in rows[0] if "." in key), "seed", "state"]
    widths = {key: max([len(key), *(len(shown(r[key])) for r in rows)]) for key in columns}
    lines = ["  ".join(key.ljust(width) for key, width in widths.items()) + "   epoch  run"]
    for row in rows:
        cells = "  ".join(shown(row[key]).ljust(width) for key, width in widths.items())
        job = f"job {row['job_id']}" if row["job_id"] else ""
        notes = "; ".join(part for part in (row["message"], _pace(row), job) if part)
        lines.append(f"{cells}  {row['epoch']:>4g}/{row['epochs']:<4} {row['run_id']}  {notes}".rstrip())
    return "\n".join([*lines, "", summary(rows)])


def differing(row: Mapping[str, Any]) -> str:
    """What tells a run from the others of its grid, beyond what its id says: `optimisation.learning_rate=0.001`."""
    labels = [key for key in ("regime", "model") if f"-{row[key]}-" not in row["run_id"]]
    return "  ".join(f"{key}={shown(row[key])}" for key in [*labels, *(key for key in row if "." in key)])


def _pace(row: Mapping[str, Any]) -> str:
    said = []
    if "sigma" in row:
        said.append(f"sigma {row['sigma']:.3g}")
    if "images_per_second" in row:
        said.append(f"{row['images_per_second']:.0f} images/s")
    if "remaining_seconds" in row:
        said.append(f"{duration(row['remaining_seconds'])} to go")
    return ", ".join(said)


def duration(seconds: float) -> str:
    """E.g. "45 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """E.g. "15 runs: 2 running, 13 done"."""
    counts = Counter(row["state"] for row in rows)
    return f"{len(rows)} runs: " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s])


def on_its_way(row: Mapping[str, Any]) -> bool:
    """Whether a job or a worker has the run, and will go on with it by itself."""
    return bool(row["submitted"]) and row["state"] != "held"


INTENTS = {"planned": "start", "failed": "try again"} | dict.fromkeys(("stale", "cancelled", "preempted"), "continue")
"""What submitting does about a run in each state, unless it is submitted already."""


def intent(row: Mapping[str, Any]) -> str:
    """What submitting would do about this run."""
    return "leave alone" if row["submitted"] else INTENTS.get(row["state"], "leave alone")


def undeclared(members: Sequence[Member], runs: Path) -> list[str]:
    """Runs in this folder that are not of these members."""
    return sorted({path.parent.name for path in runs.glob("*/settings.yaml")} - {m.run_id for m in members})


def pause(runs: Path) -> None:
    """Between two looks: longer where SLURM is asked, whose database others use as well."""
    time.sleep(10 if (runs / ".slurm").exists() else 1)


def wait(members: Sequence[Member], runs: Path, report: Callable[[str], Any]) -> bool:
    """Stay until nothing of the grid is on its way; `report` is given each change. True if all runs are done."""
    told: dict[str, str] = {}
    while True:
        rows = states(members, runs)
        for row in rows:
            if told.get(row["run_id"]) != row["state"] and row["state"] in TOLD:
                told[row["run_id"]] = row["state"]
                done = sum(r["state"] == "done" for r in rows)
                report(f"[{done}/{len(rows)}] {row['state']:7} {row['run_id']}  {row['message']}".rstrip())
        if not any(on_its_way(row) for row in rows):
            return all(row["state"] == "done" for row in rows)
        pause(runs)
