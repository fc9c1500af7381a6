"""The notebooks that train do what they show. (Those that read runs: `tests/analysis/test_notebooks_of_runs.py`.)"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
QUICK_START = NOTEBOOKS / "quick-start.ipynb"


@pytest.mark.long
def test_the_quick_start_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = nbformat.read(QUICK_START, as_version=4)
    shown = results(notebook)
    where = {"metadata": {"path": tmp_path}}
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    client.execute()  # raises where a cell does
    assert results(notebook) == shown, "as it lies there"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", NOTEBOOKS / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_one_of_each_dataset_of_the_study_as_it_would_be_written(make: ModuleType) -> None:
    study = yaml.safe_load((NOTEBOOKS.parents[1] / "configs" / "grids" / "paper.yaml").read_text())
    assert list(make.DATASETS) == study["axes"]["dataset"]
    of_runs = {"the-study", "vasiljevic-tables"}
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {QUICK_START.stem, *of_runs, *make.DATASETS}
    for name in make.DATASETS:
        assert (NOTEBOOKS / f"{name}.ipynb").read_text() == make.notebook(name), "stale: run `make reference`"


@pytest.mark.parametrize("name", ["faces", "toybox-category", "imagenet-12"])
@pytest.mark.long
def test_three_models_of_a_dataset_are_trained(make: ModuleType, name: str, tmp_path: Path) -> None:
    text, epochs = make.notebook(name), make.optimisation(name)["epochs"]
    notebook = nbformat.reads(text.replace(f"EPOCHS = {epochs} ", "EPOCHS = 2 "), as_version=4)
    where = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    assert [len(outputs) for outputs in results(notebook) if outputs] == [1, 1, 1, 1]
    shown = [o["data"]["text/plain"] for cell in notebook.cells for o in cell.get("outputs", []) if "data" in o]
    (table,) = (text for text in shown if "sigma" in text)
    assert all(regime in table for regime in ("clear", "blurry", "blurry-to-clear"))
    assert len(list((tmp_path / "runs").glob(f"{name}-*/result.json"))) == 3


def results(notebook: nbformat.NotebookNode) -> list[list[list[str]]]:
    """The kinds of what each cell shows (text, tables, figures), without what it logs."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [[sorted(output["data"]) for output in of_cell if "data" in output] for of_cell in outputs]
