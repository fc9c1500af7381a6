"""One run directory as plain rows: what it is and how it stands, its epochs, and what was measured of it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.collecting.evaluations import accuracies, others
from analysis.collecting.read_settings import SettingsReader
from analysis.documents import CONDITIONS, Level, RowsForm
from blurtrain.errors import RunError
from blurtrain.files import read_json
from blurtrain.run import STALE_SECONDS, Run

STATES = ("done", "running", "failed", "pruned", "waiting")


@dataclass(frozen=True)
class Found:
    """What one measure found of a run under some conditions."""

    measure: str
    conditions: Mapping[str, Any]
    """CONDITIONS."""
    levels: list[Level]


@dataclass(frozen=True)
class RunRead:
    """One run directory."""

    row: dict[str, Any]
    """A value for each of RUN_COLUMNS."""
    settings: dict[str, str]
    """Each section as JSON."""
    measures: list[Found] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)


RUN_COLUMNS = {
    "run_id": str, "dataset": str, "regime": str, "model": str, "seed": int, "state": str, "message": str,
    "epoch": float, "epochs": int, "data_id": str, "settings_id": str, "version": str, "host": str, "device": str,
    "torch": str, "resumed": str, "pid": int, "beat_ns": int, "notes": list, "damaged": list,
}  # fmt: skip
"""What is known of a run beside its settings. `state` and `message` are what its files say; whether one that has not
ended is running is for `is_running` to say. resumed: with what else it went on, where it did. notes: what a reader
should know of its measures; damaged: files of it that cannot be read."""


def read_run(path: Path, reader: SettingsReader) -> RunRead:
    """Raises SettingsError or RunError, in one line, where the run cannot be read."""
    run = Run(path)
    settings = reader.read(path / "settings.yaml")
    result = run.result()
    if result is not None and not isinstance(result, dict):
        raise RunError(f"{path / 'result.json'}: is damaged: it must hold a mapping")
    attempts = run.attempts()
    events = list(run.journal(steps=False))
    origins = [_mapping(folder / "origin.json") for folder in attempts]
    known = next((d["data_id"] for d in (result or {}, *origins) if "data_id" in d), None)
    data_id = str(known) if known is not None else f"unknown, of {run.id}"
    regime, model = reader.labels(settings)
    start: dict[str, Any] = next((e for e in reversed(events) if e["event"] == "start"), {})
    origin = origins[-1] if origins else {}
    row = {
        "run_id": run.id, "dataset": settings.dataset, "regime": regime, "model": model, "seed": settings.seed,
        "epochs": settings.optimisation.epochs, "data_id": data_id,
        "settings_id": reader.settings_id(settings, data_id),
        "version": _text(origin.get("version")), "host": _text(origin.get("host")),
        "device": _text(start.get("device")), "torch": _text(start.get("torch")), "resumed": _resumed(events),
        "pid": 0, "beat_ns": 0, "notes": [], "damaged": [],
    }  # fmt: skip
    if result is None:
        row |= _standing(attempts, events, run.last_event() or {"event": ""}, origin)
        return RunRead(row, reader.texts(settings), [], list(_epochs(events)))
    found, notes = accuracies(run, result, settings.optimisation.epochs)
    measures = [Found("accuracy", dict(zip(CONDITIONS, key, strict=True)), [*levels.values()])
                for key, levels in found.items()]  # fmt: skip
    outcomes, damaged = others(run)
    measures += [
        Found(part.called, part.conditions(settings.optimisation.epochs), part.levels_measured())
        for outcome in outcomes
        for part in (outcome.by_n() if isinstance(outcome, RowsForm) else [outcome])
    ]
    row |= {"state": "done", "message": "", "epoch": _number(result.get("epochs"), settings.optimisation.epochs),
            "notes": notes, "damaged": [str(error) for error in damaged]}  # fmt: skip
    return RunRead(row, reader.texts(settings), measures, list(_epochs(events)))


def is_running(row: Mapping[str, Any], now_ns: int) -> bool:
    """Whether the newest attempt of a run that is not done has a fresh heartbeat, and its process is there, where it is
    one of this machine; `now_ns` by the clock of the runs' file system."""
    if not row["beat_ns"] or now_ns - row["beat_ns"] > STALE_SECONDS * 1e9:
        return False
    return row["host"] != os.uname().nodename or Path(f"/proc/{row['pid']}").exists()


def _standing(
    attempts: list[Path], events: list[dict[str, Any]], last: Mapping[str, Any], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """How a run stands that is not done, by its own files; `last`: what its newest attempt has logged last."""
    beat = _mapping(attempts[-1] / "heartbeat.json") if attempts else {}
    pruned = _mapping(attempts[-1] / "pruned.json") if attempts else {}
    reached = max((e["epoch"] for e in events if e["event"] == "epoch" and _is_number(e.get("epoch"))), default=0)
    beat_ns = 0
    if beat and not beat.get("ended") and not pruned:
        beat_ns = (attempts[-1] / "heartbeat.json").stat().st_mtime_ns
    if not attempts:
        state, message = "waiting", "not begun"
    elif pruned:
        state, message = "pruned", _text(pruned.get("message")) or "stopped by a search"
    elif last["event"] == "failed":
        state, message = "failed", f"{last.get('error')}: {last.get('message')}"
    else:
        state = "waiting"
        message = {
            "stopped": "stopped by a signal, all saved",
            "paused": f"paused after epoch {last.get('epoch')}",
        }.get(last["event"], "no process works on it")
    pid = origin.get("pid")
    return {"state": state, "message": message, "epoch": _number(beat.get("epoch"), reached), "beat_ns": beat_ns,
            "pid": pid if isinstance(pid, int) else 0}  # fmt: skip


def _resumed(events: list[dict[str, Any]]) -> str:
    """On how many other processes or threads, which other device or torch a run went on, and where."""
    found = []
    for event in events:
        changed = event.get("changed")
        if event["event"] == "resumed otherwise" and isinstance(changed, dict):
            each = (f"{k} {v[1]}, before {v[0]}" for k, v in changed.items() if isinstance(v, list) and len(v) == 2)
            found.append(f"from step {event.get('at')} on with {', '.join(each)}")
    return "; ".join(found)


def _epochs(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row an epoch of training, a row a look at the val split, and one a level of it; of two of one epoch, the last.
    Takes the events apart."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in events:
        if event["event"] not in ("epoch", "validation") or not isinstance(event.get("epoch"), int):
            continue
        kind, levels, epoch = event.pop("event"), event.pop("levels", ()), event["epoch"]
        if _FORMER in event:
            event["skipped"] = event.pop(_FORMER)
        split = event.setdefault("split", "train" if kind == "epoch" else "val")
        event["blur"] = None
        rows[epoch, split, None] = event
        for level in levels:
            rows[epoch, split, level["blur"]] = {name: event[name] for name in _OF_A_LOOK if name in event} | level
    return iter(rows.values())


_OF_A_LOOK = ("split", "epoch", "at", "n", "pixels", "time")
_FORMER = "left_out"
"""What journals of older versions call skipped."""


def _mapping(path: Path) -> dict[str, Any]:
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any, otherwise: float) -> float:
    return float(value) if _is_number(value) else float(otherwise)
