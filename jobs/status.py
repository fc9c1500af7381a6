"""How each run of a grid stands: from its run directory, from SLURM's queue and accounts, and from local workers."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurtrain.errors import REQUEUE, JobError
from blurtrain.run import STALE_SECONDS, Run, read_json
from jobs import local, scheduler, slurm
from jobs.grid import Member
from jobs.slurm import Place
from jobs.submissions import submissions

STATES = ("planned", "queued", "running", "preempted", "stale", "failed", "cancelled", "done")
ENDS = {"CANCELLED": "cancelled", "PREEMPTED": "preempted", "TIMEOUT": "preempted"}
"""What SLURM calls the end of a job that did not fail by itself."""


@dataclass(frozen=True)
class Sources:
    """All that is asked once for a whole grid."""

    runs: Path
    present: set[str]
    local_queue: dict[str, str]
    places: Mapping[str, Sequence[Place]] = field(default_factory=dict)
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
        if ".slurm" not in here:
            return cls(runs, here, local.queued(runs))
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
        return cls(
            runs, slurm.existing(runs), local.queued(runs), places, jobs, ended, _clock(runs / ".slurm"), trouble
        )


def _clock(folder: Path) -> float:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as now:
            return os.fstat(now.fileno()).st_mtime
    except OSError:  # somebody else's runs, that we may only read
        return time.time()


def states(members: Sequence[Member], runs: Path) -> list[dict[str, Any]]:
    """One row a run: run_id, dataset, regime, seed, state (one of STATES), epoch, epochs, job_id, message; and, of runs
    at work, sigma, images_per_second, remaining_seconds where they are known."""
    sources = Sources.of(members, runs)
    return [_row(member, sources) for member in members]


def _row(member: Member, sources: Sources) -> dict[str, Any]:
    settings, epochs = member.settings, member.settings.optimisation.epochs
    row = {
        "run_id": member.run_id,
        "dataset": settings.dataset,
        "regime": settings.regime,
        "seed": settings.seed,
        "state": "planned",
        "epoch": 0.0,
        "epochs": epochs,
        "job_id": "",
        "message": "",
    }
    run = Run(sources.runs / member.run_id)
    begun = member.run_id in sources.present
    if begun and (result := run.result()) is not None:
        return {**row, "state": "done", "epoch": float(epochs), "message": result.get("headline", "")}
    attempts = run.attempts() if begun else []
    beat = (read_json(attempts[-1] / "heartbeat.json") if attempts else None) or {}
    row["epoch"] = round(float(beat.get("epoch", 0)), 2)
    if job := sources.jobs.get(run.id):
        news = _of_a_job(job, run, attempts, beat, sources)
    elif sources.trouble and sources.places.get(run.id):
        alive = run.beats()
        news = {"state": "running" if alive else "queued", **_speed(beat if alive else {}), "message": sources.trouble}
    elif begun and not slurm.ours(run, sources.places.get(run.id, ())) and local.running(sources.runs, run.id):
        news = {"state": "running", **_speed(beat)}
    elif not begun and local.is_locked(sources.runs, run.id):
        news = {"state": "running"}
    elif run.id in sources.local_queue:
        news = {"state": "queued", "job_id": sources.local_queue[run.id]}
    else:
        news = _of_nobody(run, attempts, sources)
    return {**row, **news}


def _of_a_job(
    job: scheduler.Job, run: Run, attempts: Sequence[Path], beat: Mapping[str, Any], sources: Sources
) -> dict[str, Any]:
    """A run that has a job in SLURM's queue."""
    if job.state not in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"):
        reason = f"waits in the queue: {job.reason}"
        if attempts:
            return {"state": "preempted", "job_id": job.id, "message": f"{reason}; it goes on from its checkpoint"}
        return {"state": "queued", "job_id": job.id, "message": reason}
    row: dict[str, Any] = {"state": "running", "job_id": job.id, "message": f"on {job.nodes}"}
    if not attempts or beat.get("ended") or not beat:
        return {**row, "message": f"starting on {job.nodes}"}
    try:
        age = sources.now - (attempts[-1] / "heartbeat.json").stat().st_mtime
    except OSError:
        age = 0.0
    unmoved = max(age, float(beat.get("unmoved_seconds", 0)))
    if age > STALE_SECONDS and age < job.seconds:
        return {**row, "state": "stale", "message": f"no sign of life from {job.nodes} for {age:.0f} s"}
    if age > STALE_SECONDS:
        return {**row, "message": f"starting on {job.nodes}"}
    slow = f"; has not moved for {unmoved:.0f} s" if unmoved > STALE_SECONDS else ""
    return {**row, "message": f"{beat.get('doing', 'running')} on {job.nodes}{slow}", **_speed(beat)}


def _speed(beat: Mapping[str, Any]) -> dict[str, Any]:
    return {k: beat[k] for k in ("sigma", "images_per_second", "remaining_seconds") if k in beat}


def _of_nobody(run: Run, attempts: Sequence[Path], sources: Sources) -> dict[str, Any]:
    """A run that nobody is at: not done, and neither waiting nor running."""
    events = list(run.journal()) if attempts else []
    last = events[-1] if events else {"event": ""}
    told = f"{last['error']}: {last['message']}" if last["event"] == "failed" else ""
    places = sources.places.get(run.id)
    if places and places[-1].submission.folder.name > local.newest_queue(sources.runs, run.id):
        place = places[-1]
        job, state = place.job, sources.ended.get(place.job, "")
        row = {"job_id": job, "message": told or _last_output(place, run.id)}
        if (place.submission.folder / "cancelled" / run.id).exists() or state == "CANCELLED":
            return {**row, "state": "cancelled", "message": ""}
        if not job:
            return {"state": "stale" if attempts else "planned", "message": "its submission was cut short"}
        if state in ENDS or (last["event"] == "stopped" and state not in ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY")):
            return {
                **row,
                "state": "preempted",
                "message": f"ended by {state or 'a signal'}; submit again to continue it",
            }
        if state in ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE") or told:
            return {**row, "state": "failed", "message": row["message"] or f"its job ended as {state}"}
        return {**row, "state": "stale", "message": "its job is gone; submit again to continue it"}
    code, line = local.last_words(sources.runs, run.id)
    if local.was_cancelled(sources.runs, run.id):
        return {"state": "cancelled"}
    if code == REQUEUE or (code is None and last["event"] == "stopped"):
        return {"state": "preempted", "message": "stopped by a signal, all saved; submit again to continue it"}
    if code or told:
        return {"state": "failed", "message": line if code else told}
    if attempts:
        return {"state": "stale", "message": "nobody is working on it; submit again to continue it"}
    return {}


def _last_output(place: Place, run_id: str) -> str:
    """The last line of what the run, or else its job, has printed."""
    for path in outputs(place, run_id):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            if line := scheduler.last_line(file.read().decode(errors="replace")):
                return line
    return ""


def outputs(place: Place, run_id: str) -> list[Path]:
    """Where the run and its job print to, as far as it is there: the run's own output first."""
    folder = place.submission.folder
    job = [folder / place.array.name / f"{place.job}_0_log.{kind}" for kind in ("err", "out")]
    return [path for path in (folder / "logs" / f"{run_id}.log", *job) if path.exists()]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text for a terminal, with a summary below."""
    widths = {key: max([len(key), *(len(str(r[key])) for r in rows)]) for key in ("dataset", "regime", "seed", "state")}
    lines = ["  ".join(key.ljust(width) for key, width in widths.items()) + "   epoch  run"]
    for row in rows:
        cells = "  ".join(str(row[key]).ljust(width) for key, width in widths.items())
        job = f"job {row['job_id']}" if row["job_id"] else ""
        notes = "; ".join(part for part in (row["message"], _pace(row), job) if part)
        lines.append(f"{cells}  {row['epoch']:>4g}/{row['epochs']:<4} {row['run_id']}  {notes}".rstrip())
    return "\n".join([*lines, "", summary(rows)])


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
    """Whether the run is being seen to: submitting the grid leaves it alone."""
    return row["state"] in ("queued", "running") or (
        row["state"] in ("preempted", "stale") and row.get("message", "").startswith(("waits", "no sign"))
    )


INTENTS = {"planned": "start", "failed": "try again"} | dict.fromkeys(("stale", "cancelled", "preempted"), "continue")
"""What submitting does about a run in each state, unless it is on its way."""


def intent(row: Mapping[str, Any]) -> str:
    """What submitting would do about this run."""
    return "leave alone" if on_its_way(row) else INTENTS.get(row["state"], "leave alone")


def undeclared(members: Sequence[Member], runs: Path) -> list[str]:
    """Runs in this folder that are not of these members."""
    return sorted({path.parent.name for path in runs.glob("*/settings.yaml")} - {m.run_id for m in members})


def wait(members: Sequence[Member], runs: Path, report: Callable[[str], Any], every: float = 1.0) -> bool:
    """Stay until nothing of the grid is on its way; `report` is given each change. True if all runs are done."""
    told: dict[str, str] = {}
    while True:
        rows = states(members, runs)
        for row in rows:
            if told.get(row["run_id"]) != row["state"] and row["state"] in ("running", "done", "failed", "stale"):
                told[row["run_id"]] = row["state"]
                done = sum(r["state"] == "done" for r in rows)
                report(f"[{done}/{len(rows)}] {row['state']:7} {row['run_id']}  {row['message']}".rstrip())
        if not any(on_its_way(row) for row in rows):
            return all(row["state"] == "done" for row in rows)
        time.sleep(every)
