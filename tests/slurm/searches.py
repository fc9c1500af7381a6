"""Small searches on the simulated cluster, as a user would run them: through the command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from grids import REPOSITORY
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset
from blurtrain.run import Run


@dataclass(frozen=True, eq=False)
class SmallSearch:
    """A search of tiny runs in a folder of its own; `runs` is its folder of runs."""

    cluster: Cluster
    folder: Path

    @classmethod
    def write(
        cls, cluster: Cluster, folder: Path, dataset: Dataset, epochs: int, profile: dict[str, Any], **more: Any
    ) -> "SmallSearch":
        """Write search and profile; `more` goes into the search file."""
        search = {
            "base": {
                "dataset": dataset.name,
                "regime": "clear",
                "data": {"resolution": 64, "root": str(dataset.folder.parent)},
                "optimisation": {"epochs": epochs, "batch_size": 8, "warmup_epochs": 1},
                "evaluation": {"sigmas": [0]},
                "checkpoints": {"every_minutes": 0.005},
                "loader": {"kind": "resident", "workers": 1, "threads": 1},
                "logging": {"tensorboard": False, "every_steps": 1},
            },
            "space": {"optimisation.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
            "objective": {"every_epochs": 8},
            "searcher": {"name": "random"},
            "scheduler": {"name": "none"},
            "trials": 3,
            "resources": {"gpus": 1},
            "allocation": {"nodes": 2, "gpus": 1},
            **more,
        }
        simulator = yaml.safe_load((REPOSITORY / "configs" / "clusters" / "simulator.yaml").read_text())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "home").mkdir(exist_ok=True)
        (folder / "small.yaml").write_text(yaml.safe_dump(search))
        (folder / "profile.yaml").write_text(yaml.safe_dump({**simulator, "minutes": 10, **profile}))
        return cls(cluster, folder)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def study(self) -> Path:
        (study,) = (self.runs / ".searches").iterdir()
        return study

    def call(self, *words: str, cluster: str = "", timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """What `blurtrain tune WORDS` did, with an empty home; its exit code is the caller's to judge."""
        chosen = ["--cluster", cluster] if cluster else []
        action = [word for word in words if not word.startswith("-")]
        options = [word for word in words if word.startswith("-")]
        return subprocess.run(
            [*(sys.executable, "-m", "blurtrain", "tune", *action, str(self.folder / "small.yaml"), *options), *chosen,
             "--runs", str(self.runs)],
            env={**os.environ, **self.cluster.env, "HOME": str(self.folder / "home")},
            cwd=self.folder, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    def submit(self) -> subprocess.CompletedProcess[str]:
        return self.call(cluster=str(self.folder / "profile.yaml"))

    def begin(self) -> str:
        """Submit it; its job's id."""
        done = self.submit()
        assert done.returncode == 0, done.stderr
        return sorted(self.runs.glob(".slurm/*/jobs.json"))[-1].read_text().split('"')[-2]

    def rows(self) -> list[dict[str, Any]]:
        """`tune status --json`."""
        done = self.call("status", "--json")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def all_runs(self) -> list[Run]:
        """Those there are, by id."""
        return [Run(path.parent) for path in sorted(self.runs.glob("*/settings.yaml"))]

    def hosts(self) -> set[str]:
        """The nodes that have trained."""
        return {json.loads(p.read_text())["host"] for p in self.runs.glob("*/attempts/*/origin.json")}

    def saved(self) -> list[Run]:
        """The runs that have a checkpoint."""
        return [run for run in self.all_runs() if run.saved_step()]

    def await_results(self, seconds: float = 900) -> None:
        """Until all trials have ended."""
        notes = self.study / "trials"

        def over() -> bool:
            ended = [json.loads(path.read_text())["ended"] for path in notes.glob("*.json")]
            return len(ended) == 3 and all(ended)

        try:
            wait("all trials to have ended", over, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.explain()}") from None

    def send(self, number: signal.Signals, run_id: str = "train") -> None:
        """To all processes that train runs of this search, or one of them, wherever: SIGSTOP makes the speed of a test
        no matter."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_text().split("\0")
                if {"train", run_id, str(self.runs)} <= {*command}:
                    os.kill(int(process.name), number)

    def explain(self) -> str:
        """What its jobs printed, for the reader of a failed test."""
        logs = [*self.runs.glob(".slurm/*/logs/*.log"), *self.runs.glob(".slurm/*/*/*_log.*"),
                *self.runs.glob(".searches/*/logs/*.log"), *self.runs.glob(".searches/*/trials/*.json")]  # fmt: skip
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)


def stop_in_the_middle(searches: Sequence[SmallSearch], count: int = 2, seconds: float = 480) -> None:
    """Wait until so many runs of each search train, and stop each of them once it has saved something."""
    stopped = set[Path]()

    def ready() -> bool:
        for search in searches:
            for run in search.saved():
                if run.path not in stopped:
                    search.send(signal.SIGSTOP, run.id)
                    stopped.add(run.path)
        return len(stopped) == count * len(searches)

    try:
        wait(f"{count} runs of each search to train", ready, seconds)
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *(search.explain() for search in searches)])) from None
    assert not [path for path in stopped if (path / "result.json").exists()], "too few epochs to show anything"
