"""Blocks of docs/ that are run on a small run of drawn images, and what must come of them: tables, collections,
statistics. Those of which nothing is asked but that they run are in test_docs_pages.py."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from doc_blocks import DOCS, blocks_of
from doc_pages import READ

from blurtrain.cli import main
from blurtrain.settings import Settings
from blurtrain.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def folder(tiny: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the regimes that pages speak of, in runs/, and their data in data/."""
    place = tmp_path_factory.mktemp("docs")
    for regime in ("clear", "blurry"):
        train(tiny(regime=regime, evaluation={"sigmas": [0, 4, 8], "per_image": True}), place / "runs")
    return place


@pytest.fixture
def run_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def blocks(page: str, kind: str) -> list[str]:
    found = blocks_of(DOCS / page, kind)
    assert found, f"{page} has no {kind}"
    return found


def test_tables(run_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (table,) = blocks("tables.md", "yaml")
    spec = yaml.safe_load(table)
    spec["where"]["dataset"] = "textures"
    Path("accuracy.yaml").write_text(yaml.safe_dump(spec))
    for text in blocks("tables.md", "sh"):
        for line in text.splitlines():
            if any(word in line for word in READ):
                continue
            with pytest.raises(SystemExit) as ended:
                main(shlex.split(line)[1:])
            assert not ended.value.code, f"{line}: {capfd.readouterr().err}"
    assert Path("table.tex").stat().st_size and Path("table.csv").stat().st_size


def test_collections(run_in: Path) -> None:
    import analysis

    names: dict[str, Any] = {"run_ids": analysis.load("runs", table="runs")["run_id"].tolist()}
    for code in blocks("tables-from-runs.md", "python"):
        exec(code, names)
    assert len(names["levels"]) and len(names["images"])


def test_a_table_from_python(run_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for code in blocks("tables.md", "python"):
        exec(code, {})
    assert "clear" in capfd.readouterr().out


def test_statistics() -> None:
    draws = np.random.default_rng(0)
    own, base = draws.random((3, 40)), draws.random((3, 40))
    names: dict[str, Any] = {"values": own, "own": own, "base": base, "clusters": None, "many": []}
    names |= dict(zip("abcd", draws.random((4, 3, 40)), strict=True))
    import analysis

    names["many"] = [analysis.paired(own, base, None)]
    for code in blocks("statistics.md", "python"):
        exec(code, names)
    assert 0 <= names["found"].p <= 1
