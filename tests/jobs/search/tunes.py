"""A search on tiny images by a network of the user's own, started as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurtrain.files import is_held
from blurtrain.run import Run

ROOT = Path(__file__).parents[3]
NETWORK = '''
"""Learns within seconds; raises, or is killed, or takes its time, as it is asked to."""
import os, signal, time
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, how=""):
        super().__init__()
        self.how, self.conv, self.fc = how, nn.Conv2d(3, 8, 5, 4), nn.Linear(8, classes)

    def forward(self, images):
        if self.training and len(images) == 8:  # a batch, and no look at whether it fits
            if self.how == "raise":
                raise ArithmeticError("this network never learns")
            if self.how == "kill" and "NO_KILL" not in os.environ:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.4 if self.how == "slow" else 0)
        return self.fc(self.conv(images).pow(3).mean((2, 3)))
'''
RATE = {"optimisation.learning_rate": {"log_uniform": [1e-4, 1e-1]}}


@dataclass
class Tune:
    """`blurtrain tune` on one search file, in a folder of runs, with a home of its own."""

    folder: Path
    runs: Path
    file: Path
    before: frozenset[Path] = field(default_factory=lambda: frozenset(_abandoned()))
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """`blurtrain WORDS`; all that it starts carries the token in its environment."""
        self.home.mkdir(exist_ok=True)
        own = {
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "BT_TOKEN": self.token,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "blurtrain", *words], env={**os.environ, **own, **env}, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def tune(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return self.start("tune", *words, str(self.file), "--runs", str(self.runs), **env)

    def rows(self, *words: str, code: int = 0, **env: str) -> list[dict[str, Any]]:
        """What `tune --json` prints, once it has ended with this code."""
        process = self.tune("--json", *words, **env)
        out, error = process.communicate(timeout=240)
        assert process.returncode == code, error
        rows: list[dict[str, Any]] = json.loads(out)["trials"] if out.startswith("{") else json.loads(out)
        return rows

    @property
    def study(self) -> Path:
        (folder,) = (self.runs / ".searches").iterdir()
        return folder

    def trials(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.study / "trials").glob("[0-9]*.json"))]

    def ids(self) -> list[str]:
        return sorted(path.parent.name for path in self.runs.glob("*/settings.yaml"))

    def attempts(self) -> dict[str, int]:
        return {run_id: len(Run(self.runs / run_id).attempts()) for run_id in self.ids()}

    def weights(self) -> dict[str, bytes]:
        return {run_id: Run(self.runs / run_id).weights.read_bytes() for run_id in self.ids()}

    def at_work(self) -> list[str]:
        """As `processes`, but for the agents of Ray's that end only a minute after a driver that was killed."""
        return [
            line for line in self.processes() if not line.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent"))
        ]

    def processes(self) -> list[str]:
        """The command lines of what carries the token, but for zombies."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self.token.encode() in (path / "environ").read_bytes():
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120])
            except OSError:
                continue
        return found

    def wait_until(self, what: Callable[[], Any], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.processes()
            time.sleep(0.05)

    def leaves_nothing(self) -> None:
        """No process, no temporary folder of its own, nothing in the home directory."""
        self.wait_until(lambda: not self.processes(), 30)
        assert not list(self.home.rglob("*"))
        self.wait_until(lambda: not {path for path in _abandoned() if path not in self.before}, 10)

    def end(self) -> None:
        """Whatever has gone wrong."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if self.token.encode() in (path / "environ").read_bytes():
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:
                continue


def _abandoned() -> list[Path]:
    """Folders of a Ray whose owner has ended."""
    return [path for path in Path("/tmp").glob("bt-*") if not is_held(path / "owner")]


Searched = Callable[..., Tune]
