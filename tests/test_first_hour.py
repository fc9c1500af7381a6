"""docs/first-hour.md, block by block in its order, on generated images: each command does what it is there for."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from blurtrain.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "first-hour.md").read_text()
BLOCKS = re.findall(r"```(sh|yaml)\n(.*?)```", PAGE, re.S)
pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_from_images_to_a_table(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tree, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    shown: dict[str, str] = {}
    for kind, text in BLOCKS:
        if kind == "yaml":
            Path("birds.yaml").write_text(text)
            continue
        for line in text.splitlines():
            with pytest.raises(SystemExit) as ended:
                main(shlex.split(line)[1:])
            out, err = capfd.readouterr()
            assert not ended.value.code, f"{line}: {err}"
            shown[line] = out
    by_name = {line.split(" ", 1)[1]: out for line, out in shown.items()}
    plan = by_name["grid plan birds.yaml"]
    assert "submitting would take up 3 of 4 runs" in plan, "the one that was trained before is of this grid"
    assert "4 runs: 4 done" in by_name["grid status birds.yaml"]
    assert by_name["runs"].count(" done ") == 4
    table = by_name["table --rows regime --columns blur --baseline regime=clear"]
    assert "clear" in table and "blurry-to-clear" in table
    assert "gaussian-8" in Path("table.tex").read_text() or "disk-4" in Path("table.tex").read_text()
    assert Path("curriculum.png").stat().st_size and Path("report/index.html").stat().st_size
