"""The notebooks that remake figures and tables from a folder of runs, executed: what there is is shown, with its n, and
what is missing is named."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from measured_runs import images, measured, of_ready_tables
from stage_files import add_journal, add_stage, add_weights, looked, trained

import analysis

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

MakeRun = Callable[..., str]
FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
DEMO = Path(__file__).parents[2] / "configs" / "grids" / "demo.yaml"
STUDY, VASILJEVIC = "the-study", "vasiljevic-tables"


class Shown:
    """What an executed notebook shows."""

    def __init__(self, notebook: Any):
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        data = [output["data"] for output in outputs if "data" in output]
        self.printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
        self.figures = [str(one["text/plain"]) for one in data if "image/png" in one]
        self.html = [one["text/html"] for one in data if "text/html" in one]
        self.tables = [one for one in self.html if one.startswith("<figure")]

    def kinds(self) -> set[str]:
        """Of its figures, by what their names begin with."""
        return {re.split(r"-(?!ratio)", re.findall(r"name='([^']+)'", one)[0])[0] for one in self.figures}


def executed(name: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.setenv("RUNS", str(runs))
    monkeypatch.setenv("PYTHONPATH", f"{FOLDER.parents[1]}:{os.environ.get('PYTHONPATH', '')}")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": runs.parent}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    return Shown(notebook)


@pytest.fixture
def of_study(runs: Path, make_run: MakeRun) -> Path:
    """Three of the study's datasets: of two all regimes with a stage, a journal and weights, of one a run to come."""
    for regime, right in (("clear", 30), ("blurry", 20), ("blurry-to-clear", 28)):
        for dataset in ("faces", "toybox-category"):
            run = runs / make_run(runs, dataset, regime, counts={0.0: right, 4.0: right - 5, 8.0: right - 9})
            add_stage(run, 20, {0.0: right - 9, 8.0: right - 12})
            add_journal(run, [trained(1, 2.0, 20.0), looked(1, 2.1, 18.0), trained(2, 1.5, 40.0)])
            for epoch in (20, None):
                add_weights(run, {"features.0.weight": np.ones((4, 3, 5, 5), np.float32)}, epoch)
    make_run(runs, "imagenet-12", "clear", done=False)
    return runs


@pytest.mark.long
def test_the_study_shows_every_figure_and_says_what_is_missing(of_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = executed(STUDY, of_study, monkeypatch)
    every = {"accuracy", "ratio", "datasets", "stages", "stage-ratio", "learning", "matrix", "filters"}
    assert shown.kinds() == every and "No figure" not in shown.printed
    standing, seeds = shown.html[:2]
    assert "1 waiting" in standing and standing.count("no run") == 8 and standing.count("1 done") == 6
    assert re.findall(r"<td>86</td>", seeds)
    accuracy, ratio = shown.tables
    assert accuracy.count("n 86") == 18 and ratio.count("n 86") == 12 and "<em>" in accuracy


@pytest.mark.slow
def test_of_other_runs_the_study_says_that_its_own_are_missing(
    runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(runs, make_run, {"sharp": images(30), "disk-4": images(20)}, dataset="pets")
    shown = executed(STUDY, runs, monkeypatch)
    assert not shown.tables and shown.html[0].count("no run") == 15
    for why in ("nothing was measured of dataset", "needs a run of the clear regime", "no stage was measured",
                "weights that were kept at several epochs", "nothing was logged"):  # fmt: skip
        assert why in shown.printed


@pytest.mark.slow
def test_the_tables_of_vasiljevic_are_filled_as_far_as_there_are_runs(
    runs: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_ready_tables(runs, make_run)
    shown = executed(VASILJEVIC, runs, monkeypatch)
    of_paper, own = shown.tables[:5], shown.tables[5:]
    assert len(own) == 3
    for name, table in zip(("1", "2", "3", "4", "a"), of_paper, strict=True):
        numbers = analysis.published(f"vasiljevic_table{'A_resnet' if name == 'a' else name}")
        assert (
            "n 50" in table
            and table.count("<em>") == numbers.select_dtypes("number").drop(columns="scale", errors="ignore").size
        )
        known = analysis.table(f"vasiljevic-{name}", runs)
        assert table == analysis.as_html(known)
        missing = [cell.missing.split(",")[0] for row in known.cells for cell in row if not cell.estimate]
        for why in set(missing):
            assert f"{missing.count(why)} of {sum(map(len, known.cells))} cells: {why}\n" in shown.printed


@pytest.fixture(scope="module")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `make demo`, with five epochs each, measured after two, too."""
    import blurtrain
    import jobs
    from blurtrain.cli import main

    folder = tmp_path_factory.mktemp("demo")
    short = "{optimisation: {epochs: 5}, checkpoints: {keep_epochs: [2]}}"
    (folder / "demo.yaml").write_text(f"extends: {DEMO}\nwhere:\n  - {{match: {{}}, settings: {short}}}\n")
    with pytest.raises(SystemExit) as ended:
        main(["data", "prepare", "--grid", str(folder / "demo.yaml"), "--data", str(folder / "data")])
    assert not ended.value.code
    for run_id in jobs.submit(folder / "demo.yaml", runs=folder / "runs", data=folder / "data", wait=True):
        blurtrain.evaluate(folder / "runs" / run_id, epoch=2, blurs=[0, 8])
    return folder / "runs"


@pytest.mark.long
def test_the_runs_of_the_demo_in_all_notebooks(demo_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = executed(STUDY, demo_runs, monkeypatch)
    every = {"accuracy", "ratio", "datasets", "stages", "stage-ratio", "learning", "matrix", "filters"}
    assert study.kinds() == every and "No " not in study.printed
    assert study.html[0].count("1 done") == 15 and len(study.tables) == 2
    assert all(f"n {n}" in study.tables[0] for n in (160, 288, 360, 216, 600))
    theirs = executed(VASILJEVIC, demo_runs, monkeypatch)
    assert "48 of 48 cells: no such run" in theirs.printed and len(theirs.tables) == 8
    assert all("n 160" in table for table in theirs.tables[5:])


def test_pictures_come_with_their_n(of_study: Path) -> None:
    found = {picture.name: picture for picture in analysis.pictures(of_study)}
    assert {"accuracy", "ratio", "datasets", "stage-ratio", "stages-faces", "learning-faces"} <= set(found)
    for name in ("accuracy", "ratio", "datasets", "stage-ratio", "stages-faces"):
        words = [text.get_text() for text in found[name].figure.findobj(Text)]
        assert any("n = 86" in text or "86 images" in text for text in words), (name, words)
        assert found[name]._repr_png_().startswith(b"\x89PNG")


def test_no_runs_of_anybody_are_shown() -> None:
    for name in (STUDY, VASILJEVIC):
        cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
        assert not any(cell.get("outputs") for cell in cells), "outputs are of somebody's runs"
