"""What a run's directory says of it, read once for all that show how the run stands."""

import functools
import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurtrain.files import read_json
from blurtrain.run import PRUNED, Run

Row = dict[str, Any]
"""Some columns of a row of `grid status`: state, message, job_id, ..."""
STOPPED = "stopped by a signal, all saved; submit again to continue it"


@dataclass(frozen=True)
class Record:
    """A run that is not done: its attempts, and the newest one's heartbeat."""

    run: Run
    attempts: tuple[Path, ...] = ()
    beat: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, begun: bool = True) -> "Record":
        """`begun` False: the run has no directory, which need not be looked for."""
        attempts = tuple(run.attempts()) if begun else ()
        return cls(run, attempts, (read_json(attempts[-1] / "heartbeat.json") if attempts else None) or {})

    @functools.cached_property
    def job(self) -> str:
        """The SLURM job that made the newest attempt; empty where there was none."""
        origin = (read_json(self.attempts[-1] / "origin.json") if self.attempts else None) or {}
        return str(origin.get("job") or "")

    @functools.cached_property
    def last_event(self) -> Mapping[str, Any]:
        return [{"event": ""}, *(self.run.journal() if self.attempts else ())][-1]

    @property
    def error(self) -> str:
        """What the newest attempt failed of; empty where it did not fail."""
        last = self.last_event
        return f"{last['error']}: {last['message']}" if last["event"] == "failed" else ""

    @functools.cached_property
    def left(self) -> Row:
        """How it stands where its newest attempt was ended on purpose: pruned by a search, or paused; empty else."""
        mark = (read_json(self.attempts[-1] / PRUNED) if self.attempts else None) or {}
        if mark:
            return {"state": "pruned", "message": str(mark["message"])}
        if self.last_event["event"] != "paused":
            return {}
        place = f"{self.last_event['epoch']} of {self.beat.get('epochs', '?')}"
        return {"state": "preempted", "message": f"paused after epoch {place}; submit again to continue it"}

    @property
    def speed(self) -> Row:
        """What the heartbeat says of the pace."""
        return {k: self.beat[k] for k in ("sigma", "blurs", "images_per_second", "remaining_seconds") if k in self.beat}

    def ended(self) -> Row:
        """How a run stands that nothing works on, by its own files."""
        if self.left:
            return self.left
        if self.last_event["event"] == "stopped":
            return {"state": "preempted", "message": STOPPED}
        if self.error:
            return {"state": "failed", "message": self.error}
        return (
            {"state": "stale", "message": "no process works on it; submit again to continue it"}
            if self.attempts
            else {}
        )

    def silence(self, now: float) -> float:
        """Seconds since the newest heartbeat, `now` by the clock of the file system that it lies on (see `clock`)."""
        try:
            return now - (self.attempts[-1] / "heartbeat.json").stat().st_mtime
        except (IndexError, OSError):
            return math.inf


def clock(folder: Path) -> float:
    """The time by the clock of the file system that a folder lies on."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as now:
            return os.fstat(now.fileno()).st_mtime
    except OSError:  # another user's runs, which may only be read
        return time.time()


def last_line(path: Path) -> str:
    """The last line of a file that is not empty; nothing where there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].strip() if lines else ""


def duration(seconds: float) -> str:
    """E.g. "45 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
