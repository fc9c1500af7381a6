"""Every block of docs/tables.md does what it shows."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from measured_runs import images, measured

from blurtrain.cli import main

MakeRun = Callable[..., str]
PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text()
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("sh", "yaml", "python")}
COMMANDS = [line for block in BLOCKS["sh"] for line in block.splitlines()]


@pytest.fixture
def here(tmp_path: Path, runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    for dataset in ("faces", "toybox-category"):
        for regime, right in (("clear", 40), ("blurry", 30)):
            for seed in (0, 1):
                at = {"sharp": images(right), "gaussian-4": images(right - 3), "gaussian-8": images(right - 9 + seed)}
                measured(runs, make_run, at, regime, seed, dataset=dataset)
    monkeypatch.chdir(tmp_path)
    (document,) = BLOCKS["yaml"]
    Path("accuracy.yaml").write_text(document)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(here: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(command)
    assert program == "blurtrain"
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code and capsys.readouterr().out.strip()
    for out in re.findall(r"--out (\S+)", command):
        assert (here / out).stat().st_size


def test_the_python_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = BLOCKS["python"]
    exec(compile(code, "docs/tables.md", "exec"), {})
    assert "Top-1 by regime and blur" in capsys.readouterr().out


def test_the_page_has_blocks() -> None:
    assert len(COMMANDS) > 10 and len(BLOCKS["yaml"]) == len(BLOCKS["python"]) == 1
