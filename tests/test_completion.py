"""Completion in real shells, where they are installed, and what is offered without one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.cli import main
from blurtrain.settings import PRESETS

OLD_RUNS = Path(__file__).parent / "fixtures" / "old" / "runs"
Offered = Callable[..., list[str]]


@pytest.fixture
def offered(capsys: pytest.CaptureFixture[str]) -> Offered:
    def offered(line: str, shell: str = "fish") -> list[str]:
        with pytest.raises(SystemExit) as caught:
            main(["completion", shell, "--line", line])
        out, err = capsys.readouterr()
        assert (caught.value.code or 0, err) == (0, "")
        return out.splitlines()

    return offered


@pytest.mark.parametrize(("line", "found"), [
    ("blurtrain gri", ["grid"]),
    ("blurtrain grid sta", ["status"]),
    ("blurtrain grid status --wat", ["--watch"]),
    ("blurtrain grid plan paper-", ["paper-5-seeds", "paper-as-run"]),
    ("blurtrain grid submit paper --cluster a", ["a100", "a100-preemptible"]),
    ("blurtrain tune al", ["alexnet-sup"]),
    ("blurtrain table --mark best\\ in\\ r", ["best in row"]),
    ("blurtrain train regime=blurr", ["regime=blurry", "regime=blurry-to-clear"]),
    ("blurtrain train dataset=faces regi", ["regime="]),
    ("blurtrain train run.yaml optimisation.batch_s", ["optimisation.batch_size="]),
    (f"blurtrain show --runs {OLD_RUNS} stripes-c", ["stripes-clear-timm-resnet18-s0-d882788a8b38"]),
    ("blurtrain completion ", ["bash", "fish", "zsh"]),
    ("blurtrain train --epo", []),
    ("blurtrain data prepare photos", []),
    ("blurtrain 'gr", []),
])  # fmt: skip
def test_what_is_offered(offered: Offered, line: str, found: list[str]) -> None:
    assert offered(line) == found


def test_every_command_and_every_preset_is_offered(offered: Offered) -> None:
    assert {"train", "runs", "show", "grid", "data", "table"} <= set(offered("blurtrain "))
    assert offered("blurtrain curriculum ")[0:1] and set(offered("blurtrain curriculum ")) >= {
        path.stem for path in (PRESETS / "regimes").glob("*.yaml")
    }


def test_bash_gets_what_stands_behind_its_last_end_of_a_word(offered: Offered) -> None:
    assert offered("blurtrain train regime=blurr", "bash") == ["blurry", "blurry-to-clear"]


@pytest.mark.parametrize("line", ["blurtrain grid pl", "blurtrain train optimisation.ep"])
def test_it_answers_without_anything_heavy(line: str) -> None:
    program = (
        "import sys; from blurtrain.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([m for m in ('torch', 'numba', 'pandas', 'matplotlib') if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "completion", "bash", "--line", line]
    assert subprocess.run(command, capture_output=True, text=True).stderr == "[]\n"


TYPED = {  # prints what a shell would put in place of the word
    "bash": """
eval "$(blurtrain completion bash)"
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; read -ra COMP_WORDS <<< "$COMP_LINE"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); compopt() { :; }
_blurtrain
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
eval "$(blurtrain completion zsh)"
compadd() { while [[ $1 != -- ]] shift; shift; print -l -- $@ }
_files() { print files }
words=(${(z)1}); CURRENT=${#words}
_blurtrain
""",
    "fish": """
blurtrain completion fish | source
complete -C "$argv[1]"
""",
}


@pytest.mark.parametrize("shell", sorted(TYPED))
def test_in_the_shell_itself(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    (tmp_path / "blurtrain").write_text(f'#!/bin/sh\nexec {sys.executable} -m blurtrain "$@"\n')
    (tmp_path / "blurtrain").chmod(0o755)
    script = tmp_path / "typed"
    script.write_text(TYPED[shell])
    here = tmp_path / "here"
    here.mkdir()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}

    def typed(line: str) -> list[str]:
        words = [shell, str(script), line]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=here, timeout=60)
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert typed("blurtrain grid pla") == ["plan"]
    assert typed("blurtrain grid plan paper-") == ["paper-5-seeds", "paper-as-run"]
    names = ["blurry", "blurry-to-clear"]
    assert typed("blurtrain train regime=blurr") == (names if shell == "bash" else [f"regime={name}" for name in names])
