"""`grid submit --wait --report`: the report is there as soon as a run is done, and is written again as others end."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.cli import main
from blurtrain.commands import growing_report
from blurtrain.commands.growing_report import GrowingReport
from blurtrain.settings import Settings

OLD = Path(__file__).parent / "fixtures" / "old" / "runs"
DONE = sorted(path.parent.name for path in OLD.glob("*/result.json"))


def rows(*done: str) -> list[dict[str, str]]:
    return [{"run_id": name, "state": "done" if name in done else "running"} for name in DONE]


def shown(page: Path) -> set[str]:
    with (page.parent / "results.csv").open() as file:
        return {row["run_id"] for row in csv.DictReader(file)}


@pytest.fixture
def report(tmp_path: Path) -> tuple[GrowingReport, list[str]]:
    said: list[str] = []
    (tmp_path / "runs").mkdir()
    return GrowingReport(tmp_path / "runs", tmp_path / "report", said.append), said


def end(report: GrowingReport, name: str) -> None:
    shutil.copytree(OLD / name, report.runs / name)


def test_it_grows_with_the_runs(report: tuple[GrowingReport, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_report, "PAUSES", 0)
    growing, said = report
    growing.look(rows())
    assert not growing.page.exists(), "nothing to be seen yet"
    end(growing, DONE[0])
    for _ in range(2):
        growing.look(rows(DONE[0]))
    assert shown(growing.page) == {DONE[0]}
    assert said == [f"report of 1 of 2 runs: {growing.page}"], "written once"
    end(growing, DONE[1])
    growing.look(rows(*DONE))
    assert shown(growing.page) == set(DONE) and len(said) == 2
    growing.finish(rows(*DONE))
    assert len(said) == 2, "all is in it"


def test_it_does_not_take_the_time_of_the_runs(report: tuple[GrowingReport, list[str]]) -> None:
    growing, said = report
    end(growing, DONE[0])
    growing.look(rows(DONE[0]))
    end(growing, DONE[1])
    growing.look(rows(*DONE))
    assert shown(growing.page) == {DONE[0]}, "so soon it is not written again"
    growing.finish(rows(*DONE))
    assert shown(growing.page) == set(DONE) and len(said) == 2


def test_training_goes_on_where_it_cannot_be_written(report: tuple[GrowingReport, list[str]]) -> None:
    growing, said = report
    growing.out.write_text("a file")
    end(growing, DONE[0])
    growing.look(rows(DONE[0]))
    assert len(said) == 1 and said[0].startswith("report: ") and "cannot be written" in said[0]


@pytest.mark.slow
def test_with_a_grid(tiny: Callable[..., Settings], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    own = tiny()
    grid = tmp_path / "grid.yaml"
    short = "optimisation: {epochs: 1, warmup_epochs: 0, batch_size: 8}"
    settings = f"{{data: {{resolution: 64}}, {short}, evaluation: {{sigmas: [0, 8]}}}}"
    grid.write_text(f"axes: {{dataset: [{own.dataset}], regime: [clear, blurry]}}\nsettings: {settings}\n")
    words = ["grid", "submit", str(grid), "--data", own.data.root, "--runs", str(tmp_path / "runs")]
    words += ["--report", str(tmp_path / "report")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and "add --wait" in capfd.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([*words, "--wait"])
    err = capfd.readouterr().err
    assert not ended.value.code and err.splitlines()[-1].endswith("index.html in a browser"), err
    assert len(shown(tmp_path / "report" / "index.html")) == 2
