"""A pretend SLURM: executables on the PATH that answer from files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
