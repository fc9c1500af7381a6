"""Small grids on the simulated cluster, as a user would run them: through the command line."""

import contextlib
import hashlib
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
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class SmallGrid:
    """A grid of tiny runs in a folder of its own; `runs` is its folder of runs."""

    cluster: Cluster
    folder: Path

    @classmethod
    def write(
        cls,
        cluster: Cluster,
        folder: Path,
        dataset: Dataset,
        seeds: Sequence[int] = (0,),
        regimes: Sequence[str] = ("clear", "blurry"),
        epochs: int = 3,
        profile: dict[str, Any] | None = None,
        **more: Any,
    ) -> "SmallGrid":
        """Write grid and profile. `more`: other sections of the grid file, e.g. resources, where."""
        grid = {
            "axes": {"dataset": [dataset.name], "regime": list(regimes), "seed": list(seeds)},
            "settings": {
                "data": {"resolution": 64, "root": str(dataset.folder.parent)},
                "optimisation": {"epochs": epochs, "batch_size": 8, "warmup_epochs": 1},
                "evaluation": {"sigmas": [0, 8]},
                "loader": {"kind": "resident", "workers": 1, "threads": 1},  # two wait for each other on a busy machine
                "logging": {"tensorboard": False},
            },
            **more,
        }
        simulator = yaml.safe_load((REPOSITORY / "configs" / "clusters" / "simulator.yaml").read_text())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
        (folder / "profile.yaml").write_text(yaml.safe_dump({**simulator, "minutes": 10, **(profile or {})}))
        return cls(cluster, folder)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def command(self, *words: str) -> list[str]:
        """`blurtrain grid WORDS` on this grid."""
        where = [] if words[0] == "logs" else [str(self.folder / "grid.yaml")]
        cluster = ["--cluster", str(self.folder / "profile.yaml")] * (words[0] in ("submit", "retry", "evaluate"))
        return [
            *(sys.executable, "-m", "blurtrain", "grid", words[0], *where, *words[1:]),
            *("--runs", str(self.runs), *cluster),
        ]

    def call(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """What `blurtrain grid WORDS` did; its exit code is the caller's to judge."""
        return subprocess.run(
            self.command(*words), env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=timeout
        )

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, **self.cluster.env}

    def submit(self) -> int:
        """Submit what is missing; how many runs that was."""
        done = self.call("submit")
        assert done.returncode == 0, done.stderr
        return int(done.stderr.split(" of ")[0].splitlines()[-1])

    def rows(self) -> list[dict[str, Any]]:
        """`grid status --json`."""
        done = self.call("status", "--json")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def states(self) -> list[str]:
        return [row["state"] for row in self.rows()]

    def await_states(self, *states: str, seconds: float = 120) -> None:
        """Wait until each run is in one of `states`; fails at once where one has failed that should not."""
        try:
            wait(f"all runs to be {states}", lambda: set(self.states()) <= set(states), seconds, every=2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{explain(self.rows(), self.runs)}") from None

    def training(self, attempt: int = 1) -> int:
        """How many runs have trained an epoch in this attempt; by their files alone, as commands are slow to start."""
        journals = self.runs.glob(f"*/attempts/{attempt:04d}/journal.jsonl")
        return sum('"event": "epoch"' in journal.read_text() for journal in journals)

    def send(self, number: signal.Signals, some: str = "") -> None:
        """To all processes that train runs of this grid (those with `some` in their ids), wherever: SIGSTOP makes the
        speed of a test no matter."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_text().split("\0")
                if (
                    Path(command[0]).name.startswith("python")
                    and {"train", str(self.runs)} <= {*command}
                    and some in " ".join(command)
                ):
                    os.kill(int(process.name), number)

    def stop_in_the_middle(self, count: int, seconds: float = 180) -> None:
        """Wait until so many runs train, and stop each as soon as it has saved something: by their files alone, as a
        busy machine is not to be made busier."""
        stopped = set[str]()

        def ready() -> bool:
            for run_id in {path.parts[-3] for path in self.runs.glob("*/checkpoints/*.pt")} - stopped:
                self.send(signal.SIGSTOP, run_id)
                stopped.add(run_id)
            return len(stopped) == count

        wait("all runs to train", ready, seconds)
        assert not list(self.runs.glob("*/result.json")), "too few epochs to show anything"

    def attempts(self) -> list[int]:
        """How many attempts each run took."""
        return [len(list((self.runs / row["run_id"]).glob("attempts/[0-9]*"))) for row in self.rows()]

    def weights(self) -> dict[str, str]:
        """A hash of each run's weights: the same for the same grid, whatever happened to it."""
        return {
            path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.runs.glob("*/weights.safetensors"))
        }

    def jobs(self) -> list[str]:
        """The names of all jobs in the queue."""
        return self.cluster.run("squeue", "--noheader", "--array", "--format=%j").split()


def explain(rows: Sequence[dict[str, Any]], runs: Path) -> str:
    """What the runs and their jobs printed, for the reader of a failed test."""
    parts = [f"{row['run_id']}: {row['state']}, job {row['job_id']}: {row['message']}" for row in rows]
    for log in [*runs.glob(".slurm/*/logs/*.log"), *runs.glob(".slurm/*/*/*_log.*")]:
        parts.append(f"--- {log}\n{log.read_text(errors='replace')[-1500:]}")
    return "\n".join(parts)
