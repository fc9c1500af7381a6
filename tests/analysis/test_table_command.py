"""`blurtrain table`: what it prints and writes, and what it answers to mistakes."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from measured_runs import images, measured

from blurtrain.cli import main

MakeRun = Callable[..., str]
OPTIONS = ("--rows", "regime", "--columns", "blur")


@pytest.fixture
def folder(runs: Path, make_run: MakeRun) -> Path:
    for regime, right in (("clear", 30), ("blurry", 40), ("d8", 35)):
        measured(runs, make_run, {"sharp": images(right), "disk-4": images(right - 9)}, regime)
    return runs


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """What the command prints; to stderr where it fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["table", *(str(word) for word in words)])
    assert (ended.value.code or 0) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_it_prints_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--runs", folder, *OPTIONS, "--where", "regime=clear,blurry")
    assert text.startswith("Top-1 by regime and blur: alexnet-sup on faces\n")
    assert [line.split()[0] for line in text.splitlines() if line[:1].isalpha()][1:4] == ["regime", "clear", "blurry"]


def test_it_prints_one_json_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (*OPTIONS, "--baseline", "regime=clear", "--mark", "best", "--metric", "top1", "--metric", "entropy")
    document = json.loads(said(capsys, "--runs", folder, *options, "--json"))
    assert len(document["cells"]) == 3 * 2 * 2
    cell = next(c for c in document["cells"] if c["row"] == "blurry" and c["value"] == "top1")
    assert (cell["estimate"], cell["difference"], cell["mark"]) == (80, pytest.approx(20), "best")


def test_a_file_is_written_in_the_format_of_its_ending(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    begins = {
        "t.md": b"**",
        "t.tex": b"%",
        "t.csv": b"table,",
        "t.html": b"<figure",
        "t.txt": b"Top-1",
        "t.parquet": b"PAR",
    }
    for name, start in begins.items():
        out = tmp_path / "new" / name
        assert said(capsys, "--runs", folder, *OPTIONS, "--out", out) == f"{out}\n"
        assert out.read_bytes().startswith(start)
    assert len(pd.read_parquet(tmp_path / "new" / "t.parquet")) == 6
    said(capsys, "--runs", folder, *OPTIONS, "--out", tmp_path / "x", "--format", "latex")
    assert (tmp_path / "x").read_bytes().startswith(b"%")


def test_a_file_of_ones_own_and_those_that_come_with_the_project(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"title": "My table", "rows": {"by": "regime"}, "columns": {"by": "sigma"}}))
    assert said(capsys, path, "--runs", folder).startswith("My table: alexnet-sup on faces\n")
    assert said(capsys, "study-accuracy", "--runs", folder).startswith("Top-1 accuracy against blur")
    listed = said(capsys, "--list")
    assert (
        "study-ratio" in listed
        and "vasiljevic-4" in listed
        and len(listed.splitlines()) == len(json.loads(said(capsys, "--list", "--json")))
    )


def test_what_cannot_be_read_is_named_and_breaks_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = said(capsys, "--runs", folder, *OPTIONS)
    (folder / "foreign\x1b[31m\n").mkdir()
    damaged = next(folder.glob("*-d8-*"))
    (damaged / "result.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        main(["table", "--runs", str(folder), *OPTIONS, "--where", "regime=clear,blurry"])
    out, err = capsys.readouterr()
    assert not ended.value.code and "d8" not in out and "clear" in out and out.splitlines()[0] == before.splitlines()[0]
    assert (
        f"not read: {damaged}" in err and "\x1b" not in err and all(x.startswith("not read:") for x in err.splitlines())
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "regim"], "nothing is called 'regim'; did you mean 'regime'?"),
        ([*OPTIONS, "--metric", "tpo1"], "no run has a metric 'tpo1'; did you mean 'top1'"),
        ([*OPTIONS, "--where", "blur=disk-5"], "nothing was measured of blur disk-5; there is: sharp, disk-4"),
        ([*OPTIONS, "--where", "blur=dsk-5"], "'dsk-5' is unknown; did you mean 'disk'?"),
        ([*OPTIONS, "--where", "optimisation.learning_rat=1"], "did you mean 'learning_rate'?"),
        (["vasiljevic-9"], "did you mean 'vasiljevic-"),
        (["vasiljevic-1", *OPTIONS], "leave out --rows"),
        ([*OPTIONS, "--format", "parquet"], "name a file by --out"),
        ([*OPTIONS, "--json", "--format", "csv"], "leave out --format"),
        ([], "say what its rows or columns are"),
    ],
)
def test_a_mistake_gives_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    line = said(capsys, "--runs", folder, *words, code=2)
    assert message in line and line.count("\n") == 1


def test_a_folder_without_runs_gives_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in said(capsys, "--runs", tmp_path / "none", *OPTIONS, code=2)
    assert "there is no run" in said(capsys, "--runs", tmp_path, *OPTIONS, code=2)
