"""Training images in a report, as networks saw them: `report --images`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset

MakeRun = Callable[..., str]


def reported(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", *words])
    assert ended.value.code == 0


@pytest.mark.slow
def test_each_dataset_and_regime_is_shown_and_what_is_not_here_is_said(
    runs: Path, make_run: MakeRun, prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "data": {"root": str(prepared.folder.parent)},
        "loader": {"kind": "resident"},
        "optimisation": {"epochs": 3, "batch_size": 8, "warmup_epochs": 0},
    }
    for regime, seed in (("clear", 1), ("clear", 0), ("blurry", 0)):
        make_run(runs, prepared.name, regime, seed, settings=settings, data=prepared.data_id, epoch=3)
    other = make_run(runs, prepared.name, "blurry-to-clear", settings=settings, data="0" * 16, epoch=3)
    absent = make_run(runs, "faces", "clear", settings=settings, epoch=3)
    out = tmp_path / "report"
    reported(str(runs), "--out", str(out), "--images", "2")
    said = capsys.readouterr().err.splitlines()
    lines = {line.split()[4].rstrip(":"): line for line in said if line.startswith("blurtrain: no images of ")}
    assert set(lines) == {other, absent}
    assert "has been prepared otherwise since" in lines[other] and "'faces' is not prepared in" in lines[absent]
    drawn = sorted(path.name.removeprefix("views-") for path in (out / "figures").glob("views-*.png"))
    assert drawn == [f"{prepared.name}-blurry.png", f"{prepared.name}-clear.png"]
    (svg,) = (out / "figures").glob("views-*-blurry.svg")
    assert "epoch 3: sigma 8<" in svg.read_text()
    assert f"Training images: {prepared.name}, blurry, 3 epochs" in (out / "index.html").read_text()

    reported(str(runs), "--out", str(out))
    assert not list((out / "figures").glob("views-*")) and "Training images" not in (out / "index.html").read_text()
