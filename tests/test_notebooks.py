"""The notebooks in docs/ do what they show."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    shown = results(notebook)
    where = {"metadata": {"path": tmp_path}}
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    client.execute()  # raises where a cell does
    assert results(notebook) == shown, "as it lies there"


def results(notebook: nbformat.NotebookNode) -> list[list[list[str]]]:
    """The kinds of what each cell shows (text, tables, figures), without what it logs."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [[sorted(output["data"]) for output in of_cell if "data" in output] for of_cell in outputs]
