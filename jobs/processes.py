"""The processes of one run on this host, as children that end with their parent."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from blurtrain.run import RENDEZVOUS
from jobs import leash
from jobs.snapshot import SAFE_PATH

PEERS_SECONDS = 300
"""Once a process of a run has ended, its peers have so long to save, or to notice that it was lost."""
_SLURM_KEPT = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")
"""What says which job a run is of. The others may say that a process is a task of a step, which these are not."""
_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", RENDEZVOUS)


@dataclass
class RunProcesses:
    """The processes of one run, by rank. For one thread: the one that started them."""

    processes: Sequence[subprocess.Popen[bytes]]
    _codes: dict[int, int] = field(default_factory=dict)
    """By rank, in the order in which they were seen to have ended."""
    _deadline: float | None = None
    """When peers of one that has ended are killed, on the clock of time.monotonic."""

    @property
    def pids(self) -> list[int]:
        """Their process ids, by rank."""
        return [process.pid for process in self.processes]

    def poll(self) -> int | None:
        """None while any lives; else the exit code to report, as a shell would (128 + n for signal n).

        That is the first that is not zero: of the process that ended first, since its peers fail of having lost it.
        They are killed if they go on for more than PEERS_SECONDS without it.
        """
        for rank, process in enumerate(self.processes):
            if rank not in self._codes and (code := process.poll()) is not None:
                self._codes[rank] = code if code >= 0 else 128 - code
        if len(self._codes) == len(self.processes):
            return next((code for code in self._codes.values() if code), 0)
        if self._codes:
            self._deadline = self._deadline or time.monotonic() + PEERS_SECONDS
            if time.monotonic() > self._deadline:
                self._kill()
        return None

    def stop(self, patience: float) -> int:
        """Ask all to save and end, wait for that, and kill those that still live after `patience` seconds; returns the
        exit code to report: REQUEUE where all was saved, 143 where there was nothing to save yet."""
        for process in self.processes:
            process.terminate()  # nothing is sent to one that has ended
        deadline = time.monotonic() + patience
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self._kill()
            time.sleep(0.02)
        return code

    def _kill(self) -> None:
        for process in self.processes:
            process.kill()


def leashed(arguments: Sequence[str], cores: Sequence[int]) -> list[str]:
    """The command that runs Python with these arguments on these cores, as a child that ends with us (see `leash`)."""
    held = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), ",".join(map(str, cores))]
    return [*held, sys.executable, *arguments]


def start(
    words: Sequence[str],
    *,
    cores: Sequence[int],
    gpus: Sequence[str] | None,
    world: int,
    log: Path,
    lock: IO[Any] | None = None,
    env: Mapping[str, str],
) -> RunProcesses:
    """Start `python -m WORDS` as `world` processes of one run, which all print into `log` (appended).

    They end with the thread that calls this: should it end before them, or its whole process be killed, each gets
    SIGTERM, upon which a training saves and stops. cores: those that the processes share. gpus: those that they may
    use, as in CUDA_VISIBLE_DEVICES, one a process; None: whichever torch finds. lock: a file whose flock they hold as
    long as any of them lives. env: their variables, but for those of launchers (SLURM's steps, torchrun), which this
    sets itself. They find each other by a word, not by a port, so starts never collide.
    """
    common = {k: v for k, v in env.items() if k not in _LAUNCHERS and (k in _SLURM_KEPT or not k.startswith("SLURM_"))}
    common.pop("CUDA_VISIBLE_DEVICES", None)
    common[SAFE_PATH] = "1"
    if gpus is not None:
        common["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if world > 1:
        common |= {"WORLD_SIZE": str(world), RENDEZVOUS: uuid.uuid4().hex}
    started: list[subprocess.Popen[bytes]] = []
    with log.open("ab") as output, contextlib.ExitStack() as failure:
        failure.callback(lambda: RunProcesses(started).stop(0))
        for rank in range(world):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {}
            started.append(
                subprocess.Popen(
                    leashed(["-m", *words], cores),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**common, **place},
                    pass_fds=() if lock is None else (lock.fileno(),),
                )
            )
        failure.pop_all()
    return RunProcesses(started)
