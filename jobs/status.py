"""How each run of a grid stands, from its run directory and from whoever is working on it."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blurtrain.errors import REQUEUE
from blurtrain.run import Run, read_json
from jobs.grid import Member
from jobs.local import last_words, queued, running, was_cancelled

STATES = ("planned", "queued", "running", "preempted", "stale", "failed", "cancelled", "done")


def states(members: Sequence[Member], runs: Path) -> list[dict[str, Any]]:
    """One row a run: run_id, dataset, regime, seed, state (one of STATES), epoch, epochs, job_id, message."""
    waiting = queued(runs)
    return [_row(member, runs, waiting) for member in members]


def _row(member: Member, runs: Path, waiting: dict[str, str]) -> dict[str, Any]:
    run, settings = Run(runs / member.run_id), member.settings
    state, job, message = "planned", "", ""
    attempts = run.attempts()
    beat = (read_json(attempts[-1] / "heartbeat.json") if attempts else None) or {}
    epoch = float(beat.get("epoch", 0))
    if (result := run.result()) is not None:
        state, epoch, message = "done", float(settings.optimisation.epochs), result.get("headline", "")
    elif running(runs, run.id):
        state = "running"
    elif run.id in waiting:
        state, job = "queued", waiting[run.id]
    else:
        code, line = last_words(runs, run.id)
        events = list(run.journal())
        if was_cancelled(runs, run.id):
            state = "cancelled"
        elif code == REQUEUE or (code is None and events and events[-1]["event"] == "stopped"):
            state, message = "preempted", "stopped by a signal, all saved; submit again to continue it"
        elif code:
            state, message = "failed", line
        elif events and events[-1]["event"] == "failed":
            state, message = "failed", f"{events[-1]['error']}: {events[-1]['message']}"
        elif attempts:
            state, message = "stale", "nobody is working on it; submit again to continue it"
    return {
        "run_id": run.id,
        "dataset": settings.dataset,
        "regime": settings.regime,
        "seed": settings.seed,
        "state": state,
        "epoch": round(epoch, 2),
        "epochs": settings.optimisation.epochs,
        "job_id": job,
        "message": message,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text for a terminal, with a summary below."""
    widths = {key: max([len(key), *(len(str(r[key])) for r in rows)]) for key in ("dataset", "regime", "seed", "state")}
    lines = ["  ".join(key.ljust(width) for key, width in widths.items()) + "   epoch  run"]
    for row in rows:
        cells = "  ".join(str(row[key]).ljust(width) for key, width in widths.items())
        note = f"  {row['message']}" if row["message"] else ""
        lines.append(f"{cells}  {row['epoch']:>4g}/{row['epochs']:<4} {row['run_id']}{note}")
    return "\n".join([*lines, "", summary(rows)])


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """E.g. "15 runs: 2 running, 13 done"."""
    counts = Counter(row["state"] for row in rows)
    return f"{len(rows)} runs: " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s])


def wait(members: Sequence[Member], runs: Path, report: Any) -> bool:
    """Stay until nothing of the grid is queued or running; `report` is given each change. True if all runs are done."""
    told: dict[str, str] = {}
    while True:
        rows = states(members, runs)
        for row in rows:
            if told.get(row["run_id"]) != row["state"] and row["state"] in ("running", "done", "failed", "stale"):
                told[row["run_id"]] = row["state"]
                done = sum(r["state"] == "done" for r in rows)
                report(f"[{done}/{len(rows)}] {row['state']:7} {row['run_id']}  {row['message']}".rstrip())
        if not any(row["state"] in ("queued", "running") for row in rows):
            return all(row["state"] == "done" for row in rows)
        time.sleep(1)
