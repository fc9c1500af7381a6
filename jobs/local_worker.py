"""A worker of this machine: takes one item after the other from its queue, until none is left (see jobs.local)."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from blurtrain.files import held, read_json, write_json
from blurtrain.run import Run
from jobs.snapshot import SAFE_PATH, environment


def work(queue: Path, runs: Path, number: int, cores: Sequence[int], gpu: str | None, code: Path | None) -> None:
    """What a worker does, in a job of submitit, on `cores` and `gpu` (None: whichever torch finds)."""
    with held(queue / "workers" / str(number)):
        # Whatever torch finds its cores to be, the processes at work side by side do not get into each other's way.
        os.sched_setaffinity(0, cores)
        for item, words in (read_json(queue / "commands.json") or {}).items():
            if (queue / "taken" / item).exists() or (queue / "cancelled" / item).exists():
                continue
            # First the lock and then the mark: in between, it would seem to be neither queued nor running.
            with held(runs / ".local" / "locks" / item) as alone:
                try:
                    (queue / "taken" / item).mkdir()
                except FileExistsError:
                    continue
                if alone and Run(runs / item).result() is None:
                    _run(queue, item, words, gpu, code, alone)
        (queue / "workers" / f"{number}.done").touch()


def _run(queue: Path, item: str, words: Sequence[str], gpu: str | None, code: Path | None, lock: IO[bytes]) -> None:
    env = {**os.environ, SAFE_PATH: "1", **(environment(code) if code else {})}
    if gpu is None:
        env.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    # A process of its own: whatever one item does, the next starts afresh.
    with (queue / "logs" / f"{item}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            pass_fds=(lock.fileno(),),  # should this worker be killed, the item stays locked while its process lives
        )
        while (code_ := process.poll()) is None:
            time.sleep(0.2)
            if (queue / "cancelled" / item).exists():
                process.terminate()
    write_json(queue / "logs" / f"{item}.exit.json", {"code": code_, "pid": process.pid})
