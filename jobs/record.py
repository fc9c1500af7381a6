"""What a run's directory says of it, read once for all that show how the run stands."""

import functools
import math
import os
import signal
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
        """Of the newest attempt; what one before it ended with says nothing of it."""
        return (self.run.last_event() if self.attempts else None) or {"event": ""}

    @functools.cached_property
    def epoch(self) -> float:
        """Reached by the newest attempt that has said so."""
        beats = (self.beat, *(read_json(folder / "heartbeat.json") or {} for folder in self.attempts[-2::-1]))
        return next((float(beat["epoch"]) for beat in beats if "epoch" in beat), 0.0)

    @functools.cached_property
    def again(self) -> str:
        """What submitting it again would do."""
        saved = self.run.saved_step() > 0
        return "submit again to continue it" if saved else "nothing was saved: submit again to begin it anew"

    @property
    def stopped(self) -> Row:
        """How it stands where it was asked to stop."""
        return {"state": "preempted", "message": f"stopped by a signal; {self.again}"}

    def attempts_of(self, pid: int | None) -> list[Path]:
        """Those that a process of this machine has made."""
        origins = {folder: read_json(folder / "origin.json") or {} for folder in self.attempts if pid is not None}
        here = (os.uname().nodename, pid)
        return [folder for folder, origin in origins.items() if (origin.get("host"), origin.get("pid")) == here]

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
            return self.stopped
        if self.error:
            return {"state": "failed", "message": self.error}
        return {"state": "stale", "message": f"no process works on it; {self.again}"} if self.attempts else {}

    def silence(self, now: float) -> float:
        """Seconds since the newest heartbeat, `now` by the clock of the file system that it lies on (see `clock`)."""
        try:
            return now - (self.attempts[-1] / "heartbeat.json").stat().st_mtime
        except (IndexError, OSError):
            return math.inf


def killed_by(code: int | None) -> str:
    """The signal that ended a process with this exit code (-n, or 128 + n as a shell says it); empty for others."""
    number = -code if code and code < 0 else code - 128 if code and code > 128 else 0
    try:
        name = signal.Signals(number).name
    except ValueError:
        return ""
    return f"killed by signal {number} ({name}{', out of memory?' * (number == signal.SIGKILL)})"


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
