"""What a run has printed: the log of its newest attempt, or what its job said where it never came to one."""

import time
from collections.abc import Iterator
from pathlib import Path

from blurtrain.errors import JobError, nearest
from blurtrain.run import Run
from jobs import local, slurm
from jobs.status import outputs
from jobs.submissions import submissions


def newest_log(runs: Path, name: str) -> Path:
    """The file to look at for a run, by its id or the beginning of it; raises JobError."""
    records = submissions(runs)
    known = {r for s in records for a in s.arrays for t in a.tasks for r in t}
    known |= {path.parent.name for path in runs.glob("*/settings.yaml")}
    known |= {path.stem for path in (runs / ".local" / "queues").glob("*/logs/*.log")}
    matching = [name] if name in known else sorted(run_id for run_id in known if run_id.startswith(name))
    if len(matching) != 1:
        what = f"{len(matching)} runs begin with it: {', '.join(matching[:5])}" if matching else nearest(name, known)
        raise JobError(f"{runs}: no run {name!r}; {what}")
    run_id = matching[0]
    logs = [attempt / "log.txt" for attempt in Run(runs / run_id).attempts()[::-1]]
    for place in slurm.places(records, [run_id])[run_id][::-1]:
        logs += outputs(place, run_id)
    logs += sorted((runs / ".local" / "queues").glob(f"*/logs/{run_id}.log"))[::-1]
    for log in logs:
        if log.exists() and log.stat().st_size:
            return log
    raise JobError(f"{runs / run_id}: has printed nothing yet")


def follow(runs: Path, name: str, every: float = 0.5) -> Iterator[str]:
    """What comes, part by part, attempt after attempt, until the run is done or nobody is at it."""
    shown: dict[Path, int] = {}
    quiet = 0
    while True:
        log = newest_log(runs, name)
        with log.open(errors="replace") as file:
            file.seek(shown.get(log, 0))
            part = file.read()
            shown[log] = file.tell()
        if part:
            quiet = 0
            yield part
            continue
        quiet += 1
        # Every few seconds of silence, a look at whether anything can still come.
        if quiet % 10 == 0 and not _may_go_on(runs, name):
            return
        time.sleep(every)


def _may_go_on(runs: Path, name: str) -> bool:
    run_id = next((p.name for p in runs.glob(f"{name}*") if p.is_dir()), name)
    if (runs / run_id / "result.json").exists():
        return False
    found = slurm.places(submissions(runs), [run_id])
    return bool(slurm.in_queue(found)) or local.running(runs, run_id) or run_id in local.queued(runs)
