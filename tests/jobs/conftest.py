"""A pretend SLURM: executables on the PATH that answer from files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blurtrain.data.dataset import Dataset
from blurtrain.settings import Settings, run_id
from jobs.cluster import Resources
from jobs.grid import Member

Answer = Callable[..., None]


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """`answer("squeue", "text")`: from now on that is what the command prints; its words go to squeue.called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def teach(command: str, text: str = "", code: int = 0, error: str = "") -> None:
        (folder / f"{command}.out").write_text(text)
        (folder / command).write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/{command}.called\ncat {folder}/{command}.out\n'
            f"echo '{error}' >&2\nexit {code}\n"
        )
        (folder / command).chmod(0o755)

    for command in ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo"):
        teach(command)
    return teach


@pytest.fixture(scope="module")
def member(prepared: Dataset, tiny: Callable[..., Settings]) -> Callable[..., Member]:
    """`member(seed, **resources)`: a tiny run on `prepared`."""

    def make(seed: int = 0, **resources: Any) -> Member:
        settings = tiny(seed=seed)
        return Member(run_id(settings, prepared.data_id), settings, Resources(**resources))

    return make
