"""`blurtrain grid` as it is typed: what it says of folders that are not there, and what it keeps open."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from blurtrain.data.dataset import Dataset


@pytest.fixture
def grid(prepared: Dataset, tmp_path: Path) -> Path:
    document = {
        "settings": {"data": {"resolution": 64}, "optimisation": {"epochs": 60, "warmup_epochs": 0, "batch_size": 8},
                     "loader": {"kind": "resident"}, "evaluation": {"sigmas": [0]},
                     "logging": {"tensorboard": False}},
        "axes": {"dataset": [prepared.name], "regime": ["clear"], "seed": [0]},
    }  # fmt: skip
    (tmp_path / "g.yaml").write_text(yaml.safe_dump(document))
    return tmp_path / "g.yaml"


def called(grid: Path, prepared: Dataset, *words: str, runs: str = "runs") -> subprocess.CompletedProcess[str]:
    where = ["--runs", str(grid.parent / runs), "--data", str(prepared.folder.parent)]
    command = [sys.executable, "-m", "blurtrain", "grid", *words[:1], str(grid), *where, *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=grid.parent)


@pytest.mark.slow
def test_submit_keeps_no_pipe_open_and_what_was_cancelled_is_submitted_again(grid: Path, prepared: Dataset) -> None:
    """As in `grid submit | tee log`."""
    assert called(grid, prepared, "submit").stderr.startswith("1 of 1 runs submitted")
    (row,) = json.loads(called(grid, prepared, "status", "--json").stdout)
    assert row["state"] in ("queued", "running"), "it did not wait for the workers"
    gone = called(grid, prepared, "cancel")
    assert (gone.stdout.split(), gone.stderr) == ([row["run_id"]], "1 cancelled\n")
    assert called(grid, prepared, "submit").stderr.startswith("1 of 1 runs submitted"), "at once"
    again = called(grid, prepared, "submit")
    assert again.stderr.startswith("0 of 1 runs submitted")
    called(grid, prepared, "cancel")
    while (state := json.loads(called(grid, prepared, "status", "--json").stdout)[0]["state"]) == "running":
        pass
    assert state == "cancelled"
    retried = called(grid, prepared, "retry")
    assert "0 runs submitted again\n1 are cancelled: `blurtrain grid submit` starts these" in retried.stderr
    assert called(grid, prepared, "cancel").stderr == "nothing of it waits or runs\n"


def test_a_folder_that_is_not_there_is_named(grid: Path, prepared: Dataset) -> None:
    shown = called(grid, prepared, "status", runs="none")
    assert shown.returncode == 0 and "1 runs: 1 planned" in shown.stdout.replace("1 run:", "1 runs:")
    assert "none: no such folder yet: nothing has been submitted with it" in shown.stderr
    cancelled = called(grid, prepared, "cancel", runs="none")
    assert cancelled.returncode == 2 and "none: no such folder; --runs names the folder" in cancelled.stderr
