"""Trainings in processes of their own, alone or as the ranks of one run, that may be killed at a chosen moment.

They are forked off a server that has torch imported already: real processes with real signals, within a second.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from blurtrain.settings import Settings, dump

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["blurtrain.training.train", "ffcv.loader", "processes"])


@dataclass(frozen=True)
class Training:
    """`blurtrain train` in a process; killed, or signalled, at the n-th time it gets to `point` (a key of POINTS)."""

    settings: Settings
    runs: Path
    point: str = ""
    n: int = 1
    number: int = signal.SIGKILL
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


@dataclass
class Process:
    process: BaseProcess
    log: Path

    def wait(self, seconds: float = 120) -> tuple[int, str]:
        """Exit code (minus the signal that killed it) and what it said on stderr; whoever takes longer is killed."""
        self.process.join(seconds)
        late = self.process.is_alive()
        self.process.kill()
        self.process.join()
        words = self.log.read_text()
        assert not late, f"still running after {seconds} s: {words}"
        assert self.process.exitcode is not None
        return self.process.exitcode, words


def start(*trainings: Training) -> list[Process]:
    """One process each; several are the ranks of one run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank, training in enumerate(trainings):
        environment = dict(training.environment)
        if len(trainings) > 1 and not environment:
            environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment |= {"WORLD_SIZE": str(len(trainings)), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        training.runs.parent.mkdir(parents=True, exist_ok=True)
        log = training.runs.with_name(f"{training.runs.name}-{rank}-{time.monotonic_ns()}.log")
        process = SERVER.Process(target=_train, args=(training, environment, log))
        process.start()
        started.append(Process(process, log))
    return started


def run(*trainings: Training, seconds: float = 120) -> list[tuple[int, str]]:
    """Start them, wait for them."""
    processes = start(*trainings)
    try:
        return [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            process.process.kill()


def _train(training: Training, environment: dict[str, str], log: Path) -> None:
    from blurtrain.cli import main

    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    if training.point:
        _arm(training.point, training.n, training.number)
    file = log.with_suffix(".yaml")
    file.write_text(dump(training.settings))
    with suppress(BrokenPipeError):
        main(["train", str(file), "--runs", str(training.runs), *training.options])
    sys.exit(1)


def _arm(point: str, n: int, number: int) -> None:
    """Let this process signal itself before the n-th call of what stands at `point` (at "saved": after it)."""
    from blurtrain.data.augment import Transform
    from blurtrain.run import Run
    from blurtrain.training import checkpoint
    from blurtrain.training.learner import Learner

    def die(*_: Any) -> None:
        os.kill(os.getpid(), number)

    def half_a_file(path: Path, content: memoryview) -> None:
        path.with_name(f".{path.name}.half").write_bytes(content[: len(content) // 2])
        die()

    points: dict[str, tuple[Any, str, Callable[..., None]]] = {
        "step": (Learner, "step", die),
        "save": (checkpoint, "publish", half_a_file),
        "saved": (checkpoint, "publish", die),
        "evaluation": (Transform, "resized", die),
        "result": (Run, "finish", die),
    }
    owner, name, act = points[point]
    original, calls = getattr(owner, name), [0]

    def watched(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == n and point != "saved":
            act(*arguments)
        outcome = original(*arguments, **named)
        if calls[0] == n and point == "saved":
            act(*arguments)
        return outcome

    setattr(owner, name, watched)


def codes(ended: Sequence[tuple[int, str]]) -> list[int]:
    return [code for code, _ in ended]
