"""A node's look at itself before a run is started on it: `python -m jobs.node GPUS RUNS`, once on each node of a job.

Prints a line for whatever makes the node unfit; the job then goes elsewhere, and the node is named in
<runs>/.slurm/nodes/ until somebody removes its file.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from blurtrain.run import read_json, write_json

MARK = "unfit node"
ROOM = 2**30
"""Bytes that must be free in the folder of runs."""
CLOCK_SECONDS = 300.0
"""Clocks that differ by more break certificates, SLURM's credentials, and the reading of logs."""
TRUSTED_AGAIN_SECONDS = 24 * 3600.0


def problems(gpus: int, runs: Path) -> list[str]:
    """Whatever makes this node unfit for a run that wants so many GPUs on it."""
    found = [_missing_gpus(gpus)]
    try:
        found.append(_full(runs))
        found.append(_wrong_clock(runs))
    except OSError as error:
        found.append(f"{runs} cannot be written: {error.strerror}")
    return [problem for problem in found if problem]


def _missing_gpus(gpus: int) -> str:
    given = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
    if len(given) < gpus:
        return f"SLURM gave {len(given)} of {gpus} GPUs"
    if gpus and shutil.which("nvidia-smi"):
        try:
            shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "nvidia-smi hangs"
        alive = sum(line.startswith("GPU ") for line in shown.stdout.splitlines())
        if shown.returncode or alive < gpus:
            return f"{alive} of {gpus} GPUs answer to nvidia-smi"
    return ""


def _full(runs: Path) -> str:
    system = os.statvfs(runs)
    free = system.f_bavail * system.f_frsize
    return f"{free / 2**20:.0f} MiB are free in {runs}" if free < ROOM else ""


def _wrong_clock(runs: Path) -> str:
    with tempfile.NamedTemporaryFile(dir=runs / ".slurm", prefix=".now-") as file:
        file.write(b"now")
        file.flush()
        os.fsync(file.fileno())
        off = time.time() - os.fstat(file.fileno()).st_mtime
    return f"its clock and that of {runs} differ by {off:.0f} s" if abs(off) > CLOCK_SECONDS else ""


def read_report(printed: str) -> dict[str, str]:
    """The unfit nodes, and why, from what several of these processes printed."""
    found: dict[str, str] = {}
    for line in printed.splitlines():
        mark, _, rest = line.partition("\t")
        if mark == MARK:
            name, _, problem = rest.partition("\t")
            found[name] = problem
    return found


def report(runs: Path, name: str, problem: str, job: str) -> None:
    """Write down that a node is unfit."""
    folder = runs / ".slurm" / "nodes"
    folder.mkdir(exist_ok=True)
    write_json(folder / f"{name}.json", {"problem": problem, "job": job, "at": time.time()})


def unfit(runs: Path) -> dict[str, Any]:
    """Nodes that were found unfit within a day, and why."""
    reports = {path.stem: read_json(path) for path in (runs / ".slurm" / "nodes").glob("*.json")}
    return {n: r["problem"] for n, r in reports.items() if r and time.time() - r["at"] < TRUSTED_AGAIN_SECONDS}


if __name__ == "__main__":
    name = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
    for problem in problems(int(sys.argv[1]), Path(sys.argv[2])):
        print(MARK, name, problem, sep="\t", flush=True)
