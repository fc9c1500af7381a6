"""From a folder of images to a report, through the command line alone."""

import json
from pathlib import Path

import pandas as pd
import pytest

from blurtrain.cli import main

SETTINGS = """
dataset: textures
data: {resolution: 64}
network: {architecture: timm/resnet18, arguments: {layers: [1, 1, 1, 1], channels: [4, 8, 8, 8], stem_width: 4}}
optimisation: {epochs: 1, warmup_epochs: 0, batch_size: 8, learning_rate: 0.01}
evaluation: {sigmas: [0, 8]}
loader: {kind: resident, workers: 1}
logging: {tensorboard: false}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert not ended.value.code
    return capsys.readouterr().out


def test_images_to_report(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "data", "prepare", tree, "--name", "textures", "--resolution", 64)
    Path("train.yaml").write_text(SETTINGS)
    runs = [
        Path(said(capsys, "train", "train.yaml", f"regime={regime}", f"seed={seed}").strip())
        for regime in ("clear", "blurry")
        for seed in (0, 1)
    ]
    said(capsys, "evaluate", runs[0], "evaluation.sigmas=[0,4,8]")
    page = Path(said(capsys, "report", "runs", "--out", "report").strip()).read_text()
    table = pd.read_csv("report/results.csv").set_index("run_id")
    assert set(table.index) == {run.name for run in runs}
    for run in runs:
        headline = json.loads((run / "result.json").read_text())["headline"]
        row = table.loc[run.name]
        assert (row["dataset"], row["regime"]) == ("textures", run.name.split("-")[1])
        assert f"{row['top1@0']:.1f} %" in headline
        assert row["top1@0"] * 9 / 100 == pytest.approx(round(row["top1@0"] * 9 / 100), abs=0.01)  # of nine images
    assert table["top1@4"].notna().tolist() == [name == runs[0].name for name in table.index]
    assert all(word in page for word in ("textures", "clear", "blurry", "timm-resnet18"))
