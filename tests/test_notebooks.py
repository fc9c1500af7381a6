"""The quick start does what it shows. (Notebooks that read runs: `tests/analysis/test_notebooks_of_runs.py`.)"""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

QUICK_START = Path(__file__).parents[1] / "docs" / "notebooks" / "quick-start.ipynb"


@pytest.mark.long
def test_the_quick_start_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = nbformat.read(QUICK_START, as_version=4)
    shown = results(notebook)
    where = {"metadata": {"path": tmp_path}}
    client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    client.execute()  # raises where a cell does
    assert results(notebook) == shown, "as it lies there"


def results(notebook: nbformat.NotebookNode) -> list[list[list[str]]]:
    """The kinds of what each cell shows (text, tables, figures), without what it logs."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [[sorted(output["data"]) for output in of_cell if "data" in output] for of_cell in outputs]
