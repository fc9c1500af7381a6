"""CONTRIBUTING.md does what it shows, and what stands beside it says the same as the project."""

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from blurtrain.cli import main
from blurtrain.settings import Settings
from blurtrain.training.train import train

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "CONTRIBUTING.md").read_text().partition("## A measure in 20 lines")[2]


def test_the_measure_is_taken_and_tabled(
    tiny: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tiny(), tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len([line for line in code.splitlines() if line]) <= 20
    Path("agreement.py").write_text(code)
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    for line in block.splitlines():
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(line)[1:])
        assert not ended.value.code, capsys.readouterr().err
    assert "among" in capsys.readouterr().out
    (document,) = [d for p in run.evaluations.glob("*agreement*.json") if "rows" in (d := json.loads(p.read_text()))]
    among = {row["blur"]: row for row in document["rows"] if row["metric"] == "among"}
    assert set(among) == {"sharp", "gaussian-8"}
    assert all(row["n"] == 9 and row["count"] >= 0 for row in among.values())


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"] and citation["message"] and citation["authors"]
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)
    names = [[author["family-names"] for author in reference["authors"]] for reference in citation["references"]]
    assert ["Jenkins", "Sanyal", "Michelson", "Kunda"] in names, "the study that is reproduced"


def test_changes_begin_with_this_version() -> None:
    heads = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert heads[0] == PROJECT["version"]


def test_commits_are_looked_at_by_the_pinned_linter() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    wanted = {pin for hook in hooks for pin in hook.get("additional_dependencies", [])}
    assert len(wanted) == 1 and wanted <= set(pins)
