"""What a run has printed: the log of its newest attempt, or that of its job where it never began one."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from blurtrain.errors import JobError, nearest
from blurtrain.run import Run
from jobs.backend import backends, trained_by_hand
from jobs.record import Record

LOOK, SILENCE = 3, 10
"""So often in a row nothing new is read before a look for a newer file, and at whether anything can still come."""


def find(runs: Path, name: str) -> str:
    """The id of the run that is called so, or whose id alone begins so; raises JobError."""
    known = {path.parent.name for path in runs.glob("*/settings.yaml")}
    known |= {item for backend in backends(runs) for item in backend.submitted_items()}
    matching = [name] if name in known else sorted(run_id for run_id in known if run_id.startswith(name))
    if len(matching) != 1:
        what = f"{len(matching)} runs begin with it: {', '.join(matching[:5])}" if matching else nearest(name, known)
        raise JobError(f"{runs}: no run {name!r}; {what}")
    return matching[0]


def newest_log(runs: Path, run_id: str) -> Path | None:
    """The file with what a run has printed last; None as long as it has printed nothing."""
    logs = [attempt / "log.txt" for attempt in Run(runs / run_id).attempts()[::-1]]
    for backend in backends(runs):
        logs += backend.outputs(run_id)
    return next((log for log in logs if log.exists() and log.stat().st_size), None)


def read(runs: Path, run_id: str) -> tuple[Path, str]:
    """That file, and what is in it; raises JobError as long as there is none."""
    log = newest_log(runs, run_id)
    if log is None:
        raise JobError(f"{runs / run_id}: has printed nothing yet; -f waits until it does")
    return log, log.read_text(errors="replace")


def follow(runs: Path, run_id: str, every: float = 0.5) -> Iterator[tuple[Path, str]]:
    """What comes, part by part, with its file; attempt after attempt, until the run is done or nothing works on it."""
    log: Path | None = None
    file: TextIO | None = None
    silent = 0
    try:
        while True:
            if file and log and (part := file.read()):
                silent = 0
                yield log, part
            elif silent % LOOK == 0 and (newest := newest_log(runs, run_id)) and newest != log:
                if file:
                    file.close()
                log, file = newest, newest.open(errors="replace")
            elif silent >= SILENCE and not _may_go_on(runs, run_id):
                if file and log and (part := file.read()):  # it came while we asked
                    yield log, part
                return
            else:
                silent = silent + 1 if silent < SILENCE else 0
                time.sleep(every)
    finally:
        if file:
            file.close()


def _may_go_on(runs: Path, run_id: str) -> bool:
    if (runs / run_id / "result.json").exists():
        return False
    looks = [backend.look([run_id]) for backend in backends(runs)]
    return any(look.holds(run_id) for look in looks) or trained_by_hand(Record.of(Run(runs / run_id)), looks)
