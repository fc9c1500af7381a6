"""`blurtrain bench grid`: how long a large grid takes to plan, submit, watch and cancel on a cluster, as a user waits
for it: each row is one command, the start of its interpreter included. The jobs are real ones; what they run is `true`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blurtrain.errors import JobError
from jobs.backend import submit
from jobs.cluster import read_cluster
from jobs.grid import declared
from jobs.item import training
from jobs.scheduler import last_line, queue
from jobs.slurm import Slurm
from jobs.submissions import submissions

SUBMIT = "import sys; from jobs.bench import submit_true; submit_true(*sys.argv[1:])"


def bench_grid(cluster: str, runs: Path, count: int, max_array: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Rows of {what, seconds (median), times, n (runs), found}, one after another, in a folder of its own below `runs`.

    `max_array`: tasks of one array, 0: as many as the cluster takes. Leaves neither jobs nor files. Raises JobError.
    """
    read_cluster(cluster)  # a mistake is reported before anything is written
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=runs.resolve()) as name:
        folder = Path(name)
        grid = _write_grid(folder, count)
        where = ("--runs", str(folder / "runs"))
        profile = str(Path(cluster).resolve()) if Path(cluster).suffix else cluster

        def called(*words: str) -> str:
            return _call(sys.executable, "-m", "blurtrain", "grid", *words, str(grid), *where)

        def states() -> str:
            counts = Counter(row["state"] for row in json.loads(called("status", "--json")))
            return ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))

        def submitted() -> str:
            return _call(sys.executable, "-c", SUBMIT, str(grid), where[1], profile, str(max_array))

        try:
            yield {"n": count, **_timed("plan", repeats, lambda: called("plan").splitlines()[-2])}
            yield {"n": count, **_timed("submit", 1, submitted)}
            yield {"n": count, **_timed("status, while they run", repeats, states)}
        finally:
            cancelled = _timed("cancel", 1, lambda: f"{len(called('cancel').split())} jobs cancelled")
            names = [array.name for s in submissions(folder / "runs") for array in s.arrays]
            while queue(names):  # they may still write into the folder
                time.sleep(0.5)
        yield {"n": count, **cancelled}
        yield {"n": count, **_timed("status, once all have ended", repeats, states)}


def _write_grid(folder: Path, count: int) -> Path:
    """A grid of so many runs on a dataset that is no more than a name: nothing will be trained."""
    (folder / "data" / "none").mkdir(parents=True)
    (folder / "data" / "none" / "manifest.json").write_text(
        json.dumps({"schema": 1, "data_id": "none", "counts": {"train": 0}})
    )
    grid = {
        "settings": {"data": {"root": str(folder / "data")}},
        "axes": {"dataset": ["none"], "regime": ["clear"], "seed": list(range(count))},
    }
    (folder / "grid.yaml").write_text(json.dumps(grid))  # JSON is YAML
    return folder / "grid.yaml"


def submit_true(grid: str, runs: str, cluster: str, max_array: str) -> None:
    """Submit all runs of a grid, with `true` in the place of Python; prints how many jobs, in how many arrays."""
    profile = read_cluster(cluster)
    profile = profile.model_copy(update={"max_array": int(max_array) or profile.max_array})
    slurm = Slurm(Path(runs), python="true")
    items = submit([training(m, slurm.runs) for m in declared(Path(grid), slurm.runs)], slurm, profile)
    (jobs,) = Path(runs).glob(".slurm/*/jobs.json")
    print(f"{len(items)} jobs in {len(json.loads(jobs.read_text()))} arrays")


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise JobError(f"bench: {last_line(done.stderr).removeprefix('blurtrain: ').split('JobError: ')[-1]}")
    return done.stdout


def _timed(what: str, repeats: int, call: Callable[[], str]) -> dict[str, Any]:
    times, found = list[float](), ""
    for _ in range(repeats):
        began = time.perf_counter()
        found = call().strip()
        times.append(time.perf_counter() - began)
    return {"what": what, "seconds": statistics.median(times), "times": len(times), "found": found}
