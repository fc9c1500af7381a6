"""The simulated SLURM cluster as tests see it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIMULATOR = Path(__file__).parents[2] / "slurm" / "simulator" / "simulator"
PREFIX = "blurtrain-slurm-"


def simulator(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """What one command of the simulator did; its exit status is the caller's to judge."""
    return subprocess.run([sys.executable, SIMULATOR, *arguments], capture_output=True, text=True, timeout=timeout)


def new_directory() -> Path:
    """A fresh directory for a cluster, named after this process; `take_down` removes it."""
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")).resolve()


def take_down(directory: Path) -> None:
    """Whatever is up in `directory`, and the directory."""
    done = simulator("down", "--dir", str(directory))
    assert done.returncode == 0, done.stderr
    if directory.exists():
        directory.rmdir()


def wait(what: str, ready: Callable[[], Any], seconds: float = 60, every: float = 0.1) -> Any:
    """Poll until `ready()` is true, and return what it returned. `every`: seconds between two looks, more where a look
    takes the processor from what it waits for."""
    deadline = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(every)
    return value


@dataclass(frozen=True)
class Cluster:
    """The simulator that is up. `env`: the environment in which SLURM's commands and submitit find it."""

    directory: Path
    env: dict[str, str]
    network: bool

    def run(self, *command: str | Path, timeout: float = 60) -> str:
        """What a command prints, stripped; CalledProcessError (with its stderr) where it fails."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=True)
        return done.stdout.strip()

    def fault(self, name: str, *arguments: str) -> str:
        """One of the simulator's faults or repairs: `fault("node-kill", "node2")`."""
        done = simulator(name, "--dir", str(self.directory), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, *options: str, script: str, output: Path = Path("/dev/null")) -> str:
        """sbatch a bash script; its job id."""
        text = f"#!/bin/bash\n#SBATCH --output={output}\n{script}\n"
        done = subprocess.run(
            ["sbatch", "--parsable", *options], input=text, env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, job_id: str) -> dict[str, str]:
        """What `scontrol show job` says: JobState, Reason, NodeList, Restarts, ..."""
        words = self.run("scontrol", "--oneliner", "show", "job", job_id).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def await_state(self, job_id: str, *states: str, seconds: float = 60) -> dict[str, str]:
        """Wait for a job to be in one of `states`; what `job` says then."""
        wait(f"job {job_id} to be {states}", lambda: self.job(job_id)["JobState"] in states, seconds)
        return self.job(job_id)

    def set_nodes(self, state: str, names: str = "node[1-4]") -> None:
        """DRAIN: no job starts there until they are RESUMEd."""
        self.run("scontrol", "update", f"NodeName={names}", f"State={state}", "Reason=a test")

    def node_state(self, name: str) -> str:
        """idle, allocated, mixed, down*, ..."""
        return self.run("sinfo", "--noheader", "--Node", "--partition=gpu", f"--nodes={name}", "--format=%T")
