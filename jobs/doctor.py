"""Is this cluster fit for grids? A small job on two nodes finds out; the answer is a list of checks."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurtrain.errors import JobError
from blurtrain.files import read_json
from jobs import probe, scheduler
from jobs.cluster import Cluster, Resources
from jobs.sbatch import parameters, refusals_in_one_line
from jobs.snapshot import own_packages, snapshot


@dataclass(frozen=True)
class Check:
    """One line of the answer. `good` None: could not be looked at, because of what is said above it."""

    what: str
    good: bool | None
    detail: str = ""


def examine(cluster: Cluster, runs: Path, data: Path, seconds: float) -> Iterator[Check]:
    """Look at everything that grids rely on, one check after the other; waits `seconds` for the job at most."""
    runs, data = runs.resolve(), data.resolve()
    try:
        version = scheduler.ask("sbatch", "--version").strip()
        scheduler.ask("scontrol", "ping", seconds=20)
        scheduler.check_partitions([cluster.partition])
    except JobError as error:
        yield Check("SLURM", False, str(error))
        return
    yield Check("SLURM", True, f"{version}, partition {cluster.partition or 'by default'}")
    try:
        scheduler.ask("sacct", "--allocations", "--noheader", "--starttime=now-1minutes", seconds=30)
        yield Check("accounting", True, "sacct answers: failed and cancelled jobs can be distinguished")
    except JobError as error:
        yield Check("accounting", False, f"{error}; status knows only what runs wrote themselves")
    try:
        (runs / ".slurm").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=runs / ".slurm"))
    except OSError as error:
        yield Check("folder of runs", False, f"{runs}: {error.strerror}; choose another --runs")
        return
    nodes = 2 if _how_many_nodes(cluster) > 1 else 1
    wanted = cluster.complete(Resources(nodes=nodes, gpus=min(1, cluster.gpus_per_node), minutes=5))
    try:
        job = _submit(folder, wanted, runs, data, cluster)
    except JobError as error:
        yield Check("probe job", False, str(error))
        return
    try:
        found, ended = _await(folder, job, nodes, seconds)
    except BaseException:
        scheduler.cancel([job])
        raise
    yield ended
    if found:
        yield from _judge(found, nodes, data)
    if ended.good:
        shutil.rmtree(folder, ignore_errors=True)


def _how_many_nodes(cluster: Cluster) -> int:
    where = [f"--partition={cluster.partition}"] if cluster.partition else []
    return sum(int(n) for n in scheduler.ask("sinfo", "--noheader", "--format=%D", *where).split())


def _submit(folder: Path, wanted: Resources, runs: Path, data: Path, cluster: Cluster) -> str:
    from submitit import SlurmExecutor

    files = folder / "job"
    executor = SlurmExecutor(files)
    code = snapshot(runs / ".slurm" / "code", own_packages())
    executor.update_parameters(**parameters(f"blurtrain{folder.name}", files, wanted, 1, runs, cluster, code))
    with refusals_in_one_line(cluster):
        return str(executor.submit(probe.job, folder, wanted.nodes, wanted.gpus, runs, data).job_id)


def _await(folder: Path, job: str, nodes: int, seconds: float) -> tuple[list[Any], Check]:
    """What the processes found, once they all have, or the job or our patience has ended."""
    began, left = time.monotonic(), seconds
    facts = {"JobState": "PENDING"}
    while left > 0 and not (folder / "ended.json").exists():
        time.sleep(0.5)
        facts = scheduler.show(job) or {"JobState": "gone"}
        if facts.get("JobState") not in (*scheduler.LIVING, None):
            time.sleep(2)  # its last file may still be on its way here
            break
        left = began + seconds - time.monotonic()
    state = facts["JobState"]
    found: list[Any] = [read_json(path) for k in range(nodes) if (path := folder / f"{k}.json").exists()]
    if len(found) == nodes:
        return found, Check("probe job", True, f"job {job} ran on {', '.join(f['node'] for f in found)}")
    if left <= 0:
        scheduler.cancel([job])
        reason = f" ({facts.get('Reason')})" if state == "PENDING" else ""
        return found, Check("probe job", False, f"job {job} was {state}{reason} after {seconds:g} s; cancelled it")
    return found, Check("probe job", False, f"job {job} ended as {state}; see {folder / 'job'}")


def _judge(found: list[Any], nodes: int, data: Path) -> Iterator[Check]:
    problems = [f"{f['node']}: {p}" for f in found for p in f["problems"]]
    yield Check("nodes (GPUs, free space, clock)", not problems, "; ".join(problems))
    errors = [f"{f['node']}: {f['error']}" for f in found if "error" in f]
    files = [f["files"] for f in found if "files" in f]
    alike = len(files) == nodes and all(f["seen"] for f in files)
    yield Check("files seen by all nodes", alike, "" if alike else f"not within {probe.SHARED_SECONDS:g} s")
    winners = sum(f["won"] for f in files)
    yield Check("exclusive files", winners == 1, f"{winners} of {len(files)} nodes made the same file")
    sums = [f["reduce"] for f in found if "reduce" in f]
    backend = f"{sums[0]['backend']} over {nodes} nodes" if sums else "; ".join(errors)
    yield Check("all-reduce", len(sums) == nodes and all(s["right"] for s in sums), backend)
    names = [set(f["data"]) for f in found]
    same = all(n == names[0] for n in names) and bool(names[0])
    yield Check("data", same, f"{data}: {', '.join(sorted(names[0])) or 'no prepared dataset seen there'}")
    here = probe.versions()
    others = {f["node"]: {k: v for k, v in f["versions"].items() if v != here[k]} for f in found}
    wrong = [f"{n} has {k} {v}, not {here[k]}" for n, diff in others.items() for k, v in diff.items()]
    yield Check("versions", not wrong, "; ".join(wrong) or ", ".join(f"{k} {v}" for k, v in here.items()))
