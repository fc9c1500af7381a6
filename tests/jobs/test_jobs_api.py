"""What a notebook calls: strings for paths, errors of one line, and nothing heavy imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jobs
from blurtrain.data.dataset import Dataset
from blurtrain.errors import SettingsError
from blurtrain.run import Run
from jobs.grid import declared

GRID = "axes: {dataset: [textures], regime: [clear, blurry]}"


def test_a_grid_is_looked_at_by_strings_without_torch(prepared: Dataset, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    program = """
import json, sys
import jobs
before = [m for m in ("numpy", "pydantic", "submitit", "torch") if m in sys.modules]
rows = jobs.status("grid.yaml", runs="runs", data=sys.argv[1])
cancelled = jobs.cancel("grid.yaml", data=sys.argv[1])
print(json.dumps([before, "torch" in sys.modules, [row["state"] for row in rows], cancelled]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(prepared.folder.parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout or "null") == [[], False, ["planned", "planned"], []], done.stderr


def test_status_is_that_of_the_command_line(prepared: Dataset, tmp_path: Path) -> None:
    grid, data = tmp_path / "grid.yaml", prepared.folder.parent
    grid.write_text(GRID)
    first = declared(grid, tmp_path, data)[0]
    Run.begin(tmp_path, first.run_id, first.settings).finish({"headline": "fine"})
    rows = jobs.status(str(grid), runs=str(tmp_path), data=str(data))
    assert [(row["state"], row["message"]) for row in rows] == [("done", "fine"), ("planned", "")]
    assert rows == jobs.wait(grid, runs=tmp_path, data=data, report=print)
    assert jobs.retry(grid, runs=tmp_path, data=data) == []


def test_mistakes_are_errors_of_one_line(tmp_path: Path) -> None:
    for call in (jobs.submit, jobs.status, jobs.retry, jobs.evaluate, jobs.wait):
        with pytest.raises(SettingsError, match=r"none.yaml: cannot be read: No such file or directory$"):
            call("none.yaml", runs=str(tmp_path))
    (tmp_path / "grid.yaml").write_text(GRID)
    with pytest.raises(SettingsError, match="dataset 'textures' is not prepared in nowhere"):
        jobs.submit(tmp_path / "grid.yaml", data="nowhere")
    assert not Path("runs").exists() and not Path("nowhere").exists()
