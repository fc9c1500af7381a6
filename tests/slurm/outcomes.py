"""What must come out of a grid, whatever happened to it on the way: what comes out where nothing happens."""

import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grids import SmallGrid, explain
from simulated import wait

from blurtrain.run import Run
from blurtrain.settings import dump
from jobs.grid import Member, expand, read_grid

RACE_SECONDS = 0.5
"""A write that an attempt had begun when the next one began may end after that."""
LAUNCH_FAILED = "launch failed requeued held"
"""SLURM's reason for holding what a node did not start."""


def members(grid: SmallGrid) -> list[Member]:
    path = grid.folder / "grid.yaml"
    return expand(read_grid(path), str(path))


@dataclass(frozen=True)
class Outcome:
    """What must not depend on what happened on the way: hashes of weights and evaluation, and the loss of each step."""

    weights: str
    evaluation: str
    losses: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, run: Run) -> "Outcome":
        result = run.result()
        assert result is not None, run.path
        files = run.weights, run.evaluations / result["accuracy"]
        weights, evaluation = (hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
        return cls(weights, evaluation, tuple((e["at"], e["loss"]) for e in run.journal() if e["event"] == "step"))


@dataclass(frozen=True)
class Undisturbed:
    """What becomes of runs without SLURM: the same numbers of processes and threads, on this machine; each run once."""

    runs: Path
    known: dict[str, Outcome] = field(default_factory=dict)

    def __call__(self, grid: SmallGrid) -> dict[str, Outcome]:
        wanted = members(grid)
        for nodes in (1, 2):
            new = [m for m in wanted if m.resources.nodes == nodes and m.run_id not in self.known]
            processes = [process for member in new for process in _train(member, self.runs)]
            assert [process.wait(timeout=300) for process in processes] == [0] * len(processes)
            self.known.update({member.run_id: Outcome.of(Run(self.runs / member.run_id)) for member in new})
        return {member.run_id: self.known[member.run_id] for member in wanted}


def _train(member: Member, runs: Path) -> Iterator[subprocess.Popen[bytes]]:
    file = runs / f"{member.run_id}.yaml"
    file.write_text(dump(member.settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for rank in range(member.resources.nodes):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(member.resources.nodes)}
        yield subprocess.Popen(
            [sys.executable, "-m", "blurtrain", "train", str(file), "--runs", str(runs)],
            env={**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        )


def events(attempt: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in (attempt / "journal.jsonl").read_text().splitlines(keepends=True)]
    except FileNotFoundError:
        return []


def retry_unlaunched(grid: SmallGrid) -> list[str]:
    """Do what `grid status` says of the runs that SLURM holds since it could not launch their jobs; which those were.

    After a fault SLURM may start a job anew on a node that is still ending what it knows as the same job: the node
    refuses it ("Job credential revoked"), and SLURM puts it on hold until someone releases or cancels it.
    """
    if LAUNCH_FAILED not in grid.cluster.run("squeue", "--noheader", "--format=%r"):
        return []  # without the start of a command of ours
    cured = f"held in the queue: {LAUNCH_FAILED}; `scontrol release "
    held = [row for row in grid.rows() if row["message"].startswith(cured) and "`grid retry`" in row["message"]]
    retried = grid.call("retry", "--stale").stdout.split() if held else []
    assert {row["run_id"] for row in held} <= set(retried)
    return retried


def check_end(grid: SmallGrid, undisturbed: Undisturbed, seconds: float = 300, unlaunched: bool = False) -> None:
    """All runs end done, once, with the bits that they have undisturbed, and nothing is left of their jobs.

    unlaunched: whether SLURM may fail to launch a job (see `retry_unlaunched`), which is then retried.
    """
    runs = {member.run_id: Run(grid.runs / member.run_id) for member in members(grid)}

    def all_results() -> bool:
        if unlaunched:
            retry_unlaunched(grid)
        return all((run.path / "result.json").exists() for run in runs.values())

    try:
        wait("all results", all_results, seconds, every=1)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{explain(grid.rows(), grid.runs)}") from None
    wait("no job to be left", lambda: not grid.jobs(), 60)
    assert set(grid.states()) == {"done"}
    for run in runs.values():
        attempts = [events(attempt) for attempt in run.attempts()]
        assert [e["event"] for journal in attempts for e in journal].count("done") == 1
        assert attempts[-1][-1]["event"] == "done"
        assert_fenced(run)
    assert {run_id: Outcome.of(run) for run_id, run in runs.items()} == undisturbed(grid)
    assert grid.submit() == 0


def assert_fenced(run: Run) -> None:
    """No attempt has logged or saved anything after the next one began; by the one clock of the file system."""
    for older, newer in itertools.pairwise(run.attempts()):
        began = (newer / "settings.yaml").stat().st_mtime + RACE_SECONDS
        for file in ("journal.jsonl", "heartbeat.json"):
            if (older / file).exists():
                assert (older / file).stat().st_mtime <= began, older / file
        # What the newer one goes on from was there when it began: it starts no later than the older one had come.
        reached = [e["at"] for e in events(older) if "at" in e]
        assert not events(newer) or events(newer)[0]["at"] <= max([*reached, 0]) + 1
