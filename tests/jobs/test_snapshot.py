"""Copies of the code: whole, made once, and what jobs import, whatever is edited after the submission."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jobs
from blurtrain.data.dataset import Dataset
from blurtrain.errors import JobError
from blurtrain.settings import Settings, part_names, run_id
from jobs.grid import Member
from jobs.snapshot import environment, own_packages, snapshot, source_of


def test_the_copy_of_our_packages_is_whole_and_made_once(tmp_path: Path) -> None:
    copy = snapshot(tmp_path, own_packages())
    assert snapshot(tmp_path, own_packages()) == copy
    assert [p.name for p in tmp_path.iterdir()] == [copy.name]
    for file in ("blurtrain/cli.py", "jobs/slurm_task.py", "analysis/__init__.py", "configs/regimes/clear.yaml"):
        assert (copy / file).is_file()


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user works in: a file, and a package whose module imports another one."""
    folder = tmp_path / "study"
    (folder / "mine").mkdir(parents=True)
    (folder / "single.py").write_text("class Thing:\n    age = 'as submitted'\n")
    (folder / "mine" / "__init__.py").write_text("")
    (folder / "mine" / "other.py").write_text("AGE = 'as submitted'\n")
    (folder / "mine" / "parts.py").write_text("from mine.other import AGE\n\n\nclass Thing:\n    age = AGE\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return folder


@pytest.mark.parametrize("name", ["single.py:Thing", "mine.parts:Thing"])
def test_jobs_import_users_own_code_as_it_was_at_submission(own_code: Path, tmp_path: Path, name: str) -> None:
    copy = snapshot(tmp_path / "code", {**own_packages(), **source_of([name])})
    for file in own_code.rglob("*.py"):
        file.write_text(file.read_text().replace("as submitted", "as edited since"))
    program = f"from blurtrain.parts import import_part; print(import_part('{name}', 'thing').age)"

    def age(**env: str) -> str:
        found = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **env}, cwd=own_code, capture_output=True, text=True
        )
        return found.stdout.strip() or found.stderr

    assert age(**environment(copy)) == "as submitted"
    assert age(PYTHONPATH=str(Path(__file__).parents[2])) == "as edited since"
    for file in own_code.rglob("*.py"):
        file.unlink()
    assert age(**environment(copy)) == "as submitted"


def test_a_part_that_would_hide_ours_is_refused(own_code: Path) -> None:
    (own_code / "jobs.py").write_text("class Thing: ...\n")
    with pytest.raises(JobError, match=r"part jobs.py:Thing: .*has the name of a package of blurtrain"):
        source_of(["jobs.py:Thing"])


def test_parts_are_found_anywhere_in_settings(tiny: Callable[..., Settings]) -> None:
    assert part_names(tiny()) == ()
    named = tiny(model="mine", network={"architecture": "mine.parts:Thing"})
    assert part_names(named) == ("mine.parts:Thing",)


NETWORK = """
from torch import nn
from sizes import WIDTH


class Net(nn.Sequential):
    def __init__(self, classes: int):
        super().__init__(nn.Conv2d(3, WIDTH, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(WIDTH * 64, classes))
"""


@pytest.mark.slow
def test_runs_of_a_local_grid_train_users_own_code_as_submitted(
    own_code: Path, prepared: Dataset, tiny: Callable[..., Settings]
) -> None:
    (own_code / "sizes.py").write_text("WIDTH = 4\n")
    (own_code / "nets.py").write_text(NETWORK)
    short = {"epochs": 1, "warmup_epochs": 0.5}
    settings = [
        tiny(seed=seed, model="mine", network={"architecture": "nets.py:Net"}, optimisation=short) for seed in (0, 1)
    ]
    members = [Member(run_id(s, prepared.data_id), s) for s in settings]
    assert len(jobs.submit(members, at_a_time=1)) == 2
    (own_code / "sizes.py").write_text("raise RuntimeError('edited')\n")
    rows = jobs.wait(members, report=print)
    assert [row["state"] for row in rows] == ["done", "done"], rows
