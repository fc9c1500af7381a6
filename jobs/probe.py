"""What `blurtrain doctor` lets run on a cluster's nodes: `python -m jobs.probe FOLDER GPUS RUNS DATA`, once a node.

Each process leaves what it found in FOLDER/<rank>.json; the doctor reads them.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from blurtrain.files import publish, publish_once, write_json
from jobs import node
from jobs.cluster import Resources
from jobs.slurm_task import srun

PACKAGES = ("blurtrain", "torch", "numpy", "submitit", "pydantic")
SHARED_SECONDS = 30.0
START_SECONDS = 120


def job(folder: Path, nodes: int, gpus: int, runs: Path, data: Path) -> None:
    """What submitit calls: the processes on the nodes, and their exit code."""
    resources = Resources(nodes=nodes, gpus=gpus)
    command = ("jobs.probe", str(folder), str(gpus), str(runs), str(data))
    done = subprocess.run(srun(resources, 1, 1, START_SECONDS, *command), stdin=subprocess.DEVNULL)
    write_json(folder / "ended.json", {"code": done.returncode})


def versions() -> dict[str, str]:
    """What has to be the same on all nodes, and where jobs are submitted from."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def shared_files(folder: Path, rank: int, world: int) -> dict[str, Any]:
    """Whether the nodes see each other's files, and only one of them gets a file that all want to make."""
    won = publish_once(folder / "only-one", str(rank))
    publish(folder / f"renamed-{rank}", "old")
    publish(folder / f"renamed-{rank}", "new")
    deadline, wanted = time.monotonic() + SHARED_SECONDS, {f"renamed-{k}" for k in range(world)}
    while time.monotonic() < deadline:
        seen = {path.name for path in folder.iterdir() if path.name in wanted}
        if seen == wanted and all((folder / name).read_text() == "new" for name in wanted):
            return {"won": won, "seen": True}
        time.sleep(0.1)
    return {"won": won, "seen": False}


def all_reduce(runs: Path, world: int) -> dict[str, Any]:
    """The sum over all processes of what each knows of itself."""
    import torch

    from blurtrain.distributed import process_group

    with process_group(runs) as group:
        total = group.sum(torch.full((1,), float(group.rank + 1), device=group.device))
        right = total.item() == world * (world + 1) / 2
        backend = "nccl" if group.device.type == "cuda" else "gloo"
        return {"right": right and group.world == world, "backend": backend, "device": str(group.device)}


def main(folder: Path, gpus: int, runs: Path, data: Path) -> None:
    """What one task of a job does: looks at its node, its files and an all-reduce, and writes what it found as
    `RANK.json`."""
    rank, world = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_STEP_NUM_TASKS"])
    found: dict[str, Any] = {"node": os.environ.get("SLURMD_NODENAME", platform.node()), "versions": versions()}
    found["problems"] = [problem for _, problem in node.problems(gpus, runs)]
    found["data"] = sorted(path.parent.name for path in data.glob("*/manifest.json"))
    try:
        found["files"] = shared_files(folder, rank, world)
        found["reduce"] = all_reduce(runs, world)
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    write_json(folder / f"{rank}.json", found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
