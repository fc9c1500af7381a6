"""A node's check of itself before a run is started on it: `python -m jobs.node GPUS RUNS`, once on each node of a job.

Prints a line for whatever makes the node unfit; the job then goes elsewhere, and for a day the node is named in
<runs>/.slurm/nodes/ and excluded from new jobs, unless its file is removed. What is wrong with the folder of runs
itself would be so on any node: that is printed with another mark, and counts as a failure of the run.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from blurtrain.files import read_json, write_json

NODE, FOLDER = "unfit node", "unfit folder"
FREE_BYTES, LOCAL_FREE_BYTES = 2**30, 2**26
"""Bytes that must be free in the folder of runs, and in the node's own one for temporary files."""
CLOCK_SECONDS = 300.0
"""Clocks that differ by more break certificates, SLURM's credentials, and the reading of logs."""
TRUSTED_AGAIN_SECONDS = 24 * 3600.0


def problems(gpus: int, runs: Path) -> list[tuple[str, str]]:
    """What is wrong here for a run that wants so many GPUs on this node: NODE or FOLDER, and what it is."""
    found = [(NODE, _missing_gpus(gpus)), (NODE, _full(Path(tempfile.gettempdir()), LOCAL_FREE_BYTES))]
    try:
        found.append((FOLDER, _full(runs, FREE_BYTES)))
        found.append((NODE, _wrong_clock(runs)))
    except OSError as error:
        whose = FOLDER if error.errno in (errno.ENOSPC, errno.EDQUOT) else NODE
        found.append((whose, f"{runs} cannot be written: {error.strerror}"))
    return [(whose, problem) for whose, problem in found if problem]


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


def _full(folder: Path, wanted: int) -> str:
    system = os.statvfs(folder)
    free = system.f_bavail * system.f_frsize
    return f"{free / 2**20:.0f} MiB are free in {folder}" if free < wanted else ""


def _wrong_clock(runs: Path) -> str:
    with tempfile.NamedTemporaryFile(dir=runs / ".slurm", prefix=".now-") as file:
        file.write(b"now")
        file.flush()
        os.fsync(file.fileno())
        off = time.time() - os.fstat(file.fileno()).st_mtime
    return f"its clock and that of {runs} differ by {off:.0f} s" if abs(off) > CLOCK_SECONDS else ""


def read_report(printed: str) -> tuple[dict[str, str], list[str]]:
    """The unfit nodes and why, and what is wrong with the folder of runs, from what these processes printed."""
    nodes, folder = dict[str, str](), list[str]()
    for line in printed.splitlines():
        mark, _, rest = line.partition("\t")
        name, _, problem = rest.partition("\t")
        if mark == NODE:
            nodes[name] = problem
        elif mark == FOLDER:
            folder.append(problem)
    return nodes, folder


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
    for whose, problem in problems(int(sys.argv[1]), Path(sys.argv[2])):
        print(whose, name, problem, sep="\t", flush=True)
