"""Evaluations as jobs: `blurtrain evaluate` for the done runs of a grid, many runs a job.

<runs>/.evaluations/<item>.json      the runs and options of each job
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from blurtrain.documents import parse_overrides
from blurtrain.errors import JobError
from blurtrain.files import read_json, write_json
from blurtrain.parts import parts_named
from blurtrain.run import Run
from blurtrain.settings import part_names
from jobs.backend import Backend, backends
from jobs.backend import submit as submit_items
from jobs.cluster import Cluster, Resources
from jobs.grid import Member
from jobs.item import Item
from jobs.record import killed_by
from jobs.states import pause

RUNS_A_JOB = 16
"""Starting a process takes longer than measuring a small run."""


def submit(
    members: Sequence[Member],
    backend: Backend,
    cluster: Cluster,
    overrides: Sequence[str] = (),
    measures: Sequence[str] = (),
    data: Path | None = None,
    stages: bool = False,
) -> list[str]:
    """Start what evaluates those members that are done; returns the ids of all jobs that do, also of those that were on
    their way before. Raises JobError where no run is done, SettingsError for what is no override."""
    runs = backend.runs
    done = [m for m in members if Run(runs / m.run_id).result() is not None]
    if not done:
        raise JobError(f"{runs}: none of these {len(members)} runs is done, so none can be evaluated")
    options = [] if data is None else [f"data.root={json.dumps(str(data.resolve()))}"]
    options = [*options, *overrides, *(word for name in measures for word in ("--measure", name))]
    options += ["--stages"] if stages else []
    before = {item: found["runs"] for item, found in under_way(runs).items() if found["options"] == options}
    taken = {run_id for ids in before.values() for run_id in ids}
    parts = set(parts_named([*measures, parse_overrides(overrides)]))
    items = []
    for resources, some in _groups([m for m in done if m.run_id not in taken], backend.jobs_at_a_time(cluster)):
        command = ("evaluate", *(str(runs.resolve() / m.run_id) for m in some), *options)
        digest = hashlib.sha256("\0".join(command).encode()).hexdigest()[:12]
        names = parts.union(*(part_names(m.settings) for m in some))
        items.append(Item(f"evaluate-{digest}", command, resources, parts=tuple(sorted(names))))
        (runs / ".evaluations").mkdir(exist_ok=True)
        content = {"runs": [m.run_id for m in some], "options": options}
        write_json(runs / ".evaluations" / f"{items[-1].id}.json", content)
    submit_items(items, backend, cluster)
    return [*before, *(item.id for item in items)]


def _groups(members: Sequence[Member], jobs: int) -> Iterator[tuple[Resources, list[Member]]]:
    """Members that ask for the same, up to RUNS_A_JOB together; fewer, so that `jobs` jobs have something to do."""
    alike: dict[Resources, list[Member]] = {}
    for member in members:
        w = member.resources
        one = Resources(gpus=min(w.gpus, 1), minutes=w.minutes, partition=w.partition, cpus_per_gpu=w.cpus_per_gpu)
        alike.setdefault(one, []).append(member)
    size = min(RUNS_A_JOB, -(-len(members) // jobs)) if jobs else RUNS_A_JOB
    for resources, group in alike.items():
        for k in range(0, len(group), size):
            yield resources, group[k : k + size]


def under_way(runs: Path) -> dict[str, dict[str, Any]]:
    """The evaluations that wait or run, by their items' ids: {"runs": [...], "options": [...]}."""
    files = {path.stem: path for path in sorted((runs / ".evaluations").glob("*.json"))}
    looks = [backend.look(list(files)) for backend in backends(runs)] if files else []
    found = {}
    for item, path in files.items():
        if any(look.holds(item) for look in looks):
            found[item] = read_json(path) or {"runs": [], "options": []}
    return found


def wait(items: Sequence[str], runs: Path, report: Callable[[str], Any]) -> dict[str, list[str]]:
    """Stay until none of these jobs is on its way; those that failed, each with what it said of which runs.

    `report` is called as each job ends.
    """
    left, failed = list(items), dict[str, list[str]]()
    while left:
        looks = [(backend, backend.look(left)) for backend in backends(runs)]
        ended = [item for item in left if not any(look.holds(item) for _, look in looks)]
        for item in ended:
            left.remove(item)
            newest, _ = max(looks, key=lambda pair: pair[1].submitted(item))
            if problems := _problems(item, newest):
                failed[item] = problems
            done = len(items) - len(left)
            report(f"[{done}/{len(items)}] {item} {'failed: ' + problems[0] if problems else 'done'}")
        if left and not ended:
            pause(runs)
    return failed


def _problems(item: str, backend: Backend) -> list[str]:
    """What a job that has ended said of the runs that it could not evaluate; empty where it evaluated all."""
    for _ in range(20):  # its last file may still be on its way here
        if (code := backend.exit_code(item)) is not None:
            break
        time.sleep(0.1)
    if code == 0:
        return []
    logs = backend.outputs(item)
    printed = logs[0].read_text(errors="replace").splitlines() if logs else []
    lines = [line.removeprefix("blurtrain: ") for line in printed if line.startswith("blurtrain: ")]
    ids = (read_json(backend.runs / ".evaluations" / f"{item}.json") or {}).get("runs", [])
    if not lines:
        last = printed[-1] if printed else "no output"
        how = "was cancelled, or lost" if code is None else killed_by(code) or f"ended with {code}: {last}"
        lines = [f"{', '.join(ids)}: {how}"]
    elif len(ids) == 1:
        lines = [line if ids[0] in line else f"{ids[0]}: {line}" for line in lines]
    return list(dict.fromkeys(lines))
