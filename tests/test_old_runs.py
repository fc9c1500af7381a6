"""Runs from before blurs, tasks and measures were settings (fixtures/old/make.py): found, read, resumed, reported."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch

from blurtrain.cli import main
from blurtrain.run import Run

OLD = Path(__file__).parent / "fixtures" / "old"
CLEAR = "stripes-clear-timm-resnet18-s0-d882788a8b38"
BLURRY_TO_CLEAR = "stripes-blurry-to-clear-timm-resnet18-s1-22ecad3dd633"
HALF_BATCH = "stripes-half-batch-timm-resnet18-s2-ac71efe900bb"
GRID = """
axes: {regime: [clear, blurry-to-clear, half-batch]}
settings:
  dataset: stripes
  data: {resolution: 16}
  network:
    architecture: timm/resnet18
    arguments: {layers: [1, 1, 1, 1], channels: [2, 4, 4, 4], stem_width: 2}
  optimisation: {epochs: 2, batch_size: 8, warmup_epochs: 1, learning_rate: 0.01}
where:
  - match: {regime: blurry-to-clear}
    settings: {seed: 1, curriculum: {schedule: stepwise, sigmas: [32, 0], epochs_per_level: 1}}
  - match: {regime: half-batch}
    settings: {seed: 2, curriculum: {schedule: half-batch, sigma: 32}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder as it was left, with data/ and runs/ in it, to work in."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD / "runs", "runs")
    with tarfile.open(OLD / "data.tar.xz") as archive:
        archive.extractall(filter="data")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    return capsys.readouterr().out


def files(run: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path("runs", run).rglob("*") if path.is_file()}


def test_the_same_settings_still_give_their_ids(capsys: pytest.CaptureFixture[str]) -> None:
    Path("grid.yaml").write_text(GRID)
    rows = {row["run_id"]: row for row in json.loads(said(capsys, "grid", "status", "grid.yaml", "--json"))}
    assert set(rows) == {CLEAR, BLURRY_TO_CLEAR, HALF_BATCH}
    assert [rows[run]["state"] for run in (CLEAR, BLURRY_TO_CLEAR)] == ["done", "done"]
    assert rows[HALF_BATCH]["state"] == "preempted"
    assert [rows[run]["epoch"] for run in (CLEAR, HALF_BATCH)] == [2, pytest.approx(5 / 3, abs=0.01)]


def test_done_ones_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = files(CLEAR)
    assert said(capsys, "train", f"runs/{CLEAR}/settings.yaml").strip() == f"runs/{CLEAR}"
    assert files(CLEAR) == before


def test_a_stopped_one_is_resumed_to_the_weights_of_one_that_was_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "train", f"runs/{HALF_BATCH}/settings.yaml").strip() == f"runs/{HALF_BATCH}"
    run = Run(Path("runs", HALF_BATCH))
    assert [event["at"] for event in run.journal() if event["event"] == "start"] == [0, 5]
    got, whole = safetensors.torch.load_file(run.weights), safetensors.torch.load_file(OLD / "whole.safetensors")
    assert got.keys() == whole.keys()
    for name in whole:  # the bits depend on the processor
        torch.testing.assert_close(
            got[name], whole[name], rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_what_was_measured_is_not_measured_again(capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = Path("runs", CLEAR, "evaluations").iterdir()
    document: dict[str, Any] = json.loads(file.read_text())
    measured = {level["sigma"]: level["top1"] for level in document["levels"]}
    document["levels"][1]["top1"] = 5  # of 6, as if another machine had found that
    file.write_text(json.dumps(document))
    assert top1(said(capsys, "evaluate", f"runs/{CLEAR}", "--json")) == {0: measured[0], 32: 5}


def test_what_was_not_measured_is(capsys: pytest.CaptureFixture[str]) -> None:
    """On other levels, and on the known ones once their file is gone: the same counts."""
    (file,) = Path("runs", CLEAR, "evaluations").iterdir()
    known = {level["sigma"]: level["top1"] for level in json.loads(file.read_text())["levels"]}
    file.unlink()
    found = top1(said(capsys, "evaluate", f"runs/{CLEAR}", "evaluation.sigmas=[0, 8, 32]", "--json"))
    assert found == known | {8: found[8]} and 0 <= found[8] <= 6


def top1(printed: str) -> dict[float, int]:
    return {row["sigma"]: row["count"] for row in json.loads(printed)["rows"] if row["metric"] == "top1"}


def test_they_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "report", "runs", "--out", "report")
    assert Path("report", "index.html").exists()
    table = pd.read_csv("report/results.csv").set_index("run_id")
    assert set(table.index) == {CLEAR, BLURRY_TO_CLEAR}
    for run in table.index:
        (file,) = Path("runs", run, "evaluations").iterdir()
        document = json.loads(file.read_text())
        for level in document["levels"]:
            expected = 100 * level["top1"] / document["n"]
            assert table.loc[run, f"top1@{level['sigma']:g}"] == pytest.approx(expected, abs=0.01)
