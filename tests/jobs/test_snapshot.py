"""Copies of the code: whole, made once, and what jobs import, whatever is edited after the submission."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.errors import JobError
from blurtrain.settings import Settings
from jobs.item import part_names
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
    monkeypatch.delenv("PYTHONPATH", raising=False)
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
    settings = tiny()
    assert part_names(settings) == ()
    network = settings.network.model_copy(update={"architecture": "mine.parts:Thing"})
    named = settings.model_copy(update={"network": network})
    assert part_names(named) == ("mine.parts:Thing",)
