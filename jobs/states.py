"""How each run of a grid stands: from its run directory, and from what the backends have of it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blurtrain.errors import JobError
from blurtrain.run import Run, existing
from blurtrain.settings.labels import differences, model_label, regime_label
from jobs.backend import Look, backends, trained_by_hand
from jobs.grid import Member
from jobs.record import Record, Row

STATES = ("planned", "queued", "held", "running", "preempted", "pruned", "stale", "failed", "cancelled", "done")
REPORTED = ("running", "done", "failed", "stale", "held", "pruned")
"""States whose beginning `wait` reports."""


def states(members: Sequence[Member], runs: Path, must_know: bool = False) -> list[Row]:
    """One row a run: run_id, dataset, regime, seed, state (one of STATES), epoch, epochs, job_id, message, submitted
    (whether a job or a worker has it, so that submitting leaves it alone), model; a column by its dotted name for each
    setting in which runs on one dataset differ beyond what regime and model say; and, of runs at work, sigma (or blurs:
    the share of each), images_per_second, remaining_seconds where they are known.

    `must_know`: raises JobError where SLURM does not answer, instead of saying so in the message of each run.
    """
    names = existing(runs)
    undone = [m.run_id for m in members if m.run_id not in names or not (runs / m.run_id / "result.json").exists()]
    looks = [backend.look(undone) for backend in backends(runs)]
    if must_know and (trouble := next((look.trouble for look in looks if look.trouble), "")):
        raise JobError(trouble)
    names = existing(runs)  # a job that ended since has left its result
    swept = differences([member.settings for member in members])
    rows = []
    for k, member in enumerate(members):
        own = {name: values[k] for name, values in swept.items()}
        rows.append({**_declared(member), **own, **_state(member, Run(runs / member.run_id), names, looks)})
    return rows


def _declared(member: Member) -> Row:
    """What is known of a run before it has begun."""
    return {
        "run_id": member.run_id,
        "dataset": member.settings.dataset,
        "regime": regime_label(member.settings),
        "seed": member.settings.seed,
        "state": "planned",
        "epoch": 0.0,
        "epochs": member.settings.optimisation.epochs,
        "job_id": "",
        "message": "",
        "submitted": False,
        "model": model_label(member.settings),
    }


def _state(member: Member, run: Run, names: set[str], looks: Sequence[Look]) -> Row:
    """What changes while a run is queued and trained."""
    begun = run.id in names
    if begun and (result := run.result()) is not None:
        epochs = float(result.get("epochs", member.settings.optimisation.epochs))
        return {"state": "done", "epoch": epochs, "message": result.get("headline", "")}
    record = Record.of(run, begun)
    row: Row = {"epoch": round(record.epoch, 2)}
    for look in looks:
        if look.holds(run.id):
            return {**row, "submitted": True, **look.row(record)}
    if trained_by_hand(record, looks):
        return {**row, "submitted": True, "state": "running", **record.speed}
    if record.left:  # by a search, say, whatever a grid had made of it before
        return {**row, **record.left}
    submitted = [look for look in looks if look.submitted(run.id)]
    newest = max(submitted, key=lambda look: look.submitted(run.id), default=None)
    return {**row, **(newest.last_row(record) if newest else record.ended())}


def on_its_way(row: Mapping[str, Any]) -> bool:
    """Whether a job or a worker has the run, and will go on with it by itself."""
    return bool(row["submitted"]) and row["state"] != "held"


INTENTS = {"planned": "start", "failed": "try again"} | dict.fromkeys(
    ("stale", "cancelled", "preempted", "pruned"), "continue"
)
"""What submitting does about a run in each state, unless it is submitted already."""


def intent(row: Mapping[str, Any]) -> str:
    """What submitting would do about this run."""
    return "leave alone" if row["submitted"] else INTENTS.get(row["state"], "leave alone")


def undeclared(members: Sequence[Member], runs: Path) -> list[str]:
    """Runs in this folder that are not of these members."""
    return sorted({path.parent.name for path in runs.glob("*/settings.yaml")} - {m.run_id for m in members})


def summary(rows: Sequence[Row]) -> str:
    """E.g. "15 runs: 2 running, 13 done"."""
    counts = Counter(row["state"] for row in rows)
    return f"{len(rows)} runs: " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s])


def pause(runs: Path) -> None:
    """Wait between two looks at the backends."""
    time.sleep(max(backend.pause_seconds() for backend in backends(runs)))


def wait(
    members: Sequence[Member],
    runs: Path,
    report: Callable[[str], Any],
    look: Callable[[Sequence[Row]], Any] | None = None,
) -> list[Row]:
    """Stay until nothing of the grid is on its way; `report` is called with each change, `look` with all rows at each
    look. Returns the rows as they are then."""
    reported: dict[str, str] = {}
    while True:
        rows = states(members, runs)
        for row in rows:
            if reported.get(row["run_id"]) != row["state"] and row["state"] in REPORTED:
                reported[row["run_id"]] = row["state"]
                done = sum(r["state"] == "done" for r in rows)
                report(f"[{done}/{len(rows)}] {row['state']:7} {row['run_id']}  {row['message']}".rstrip())
        if look is not None:
            look(rows)
        if not any(on_its_way(row) for row in rows):
            return rows
        pause(runs)
