"""LaTeX takes the tables as they are: needs Debian's texlive-latex-base and texlive-science (siunitx)."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from measured_runs import images, measured, of_ready_tables
from search_folder import SearchFolder

import analysis
from analysis.tabulation.rendering import as_latex
from analysis.tabulation.source import selection
from analysis.tabulation.specs import table_specs
from analysis.tabulation.tables import Table, fill

MakeRun = Callable[..., str]
NASTY = r'<b> & 50% _x_ ^{y} ~ #1 $z$ \input{a} | *b* `c` [d](e) "q" é ř ß 中 σ ± ≥ \\ % {'


def has_siunitx() -> bool:
    """Where there is LaTeX at all."""
    find = shutil.which("kpsewhich")
    return find is None or subprocess.run([find, "siunitx.sty"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: apt-get install texlive-latex-base"),
    pytest.mark.skipif(not has_siunitx(), reason="no siunitx: apt-get install texlive-science"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Path:
    """Runs of which every table that comes with the project has a number."""
    runs = tmp_path_factory.mktemp("runs")
    of_ready_tables(runs, make_run)
    search = SearchFolder(runs, make_run)
    for rate, right in ((0.01, 40), (0.002, 60)):
        search.trial([[0.5]], {"optimisation.learning_rate": rate}, counts=[{0.0: right}])
    measured(runs, make_run, {"sharp": images(30), NASTY: images(20)}, dataset="other")
    return runs


def compiled(table: Table, folder: Path) -> str:
    """What pdflatex prints of a document that is the table alone."""
    (folder / "table.tex").write_text(as_latex(table))
    document = (r"\documentclass{article}", r"\usepackage{booktabs,siunitx,graphicx}", r"\begin{document}",
                r"\input{table.tex}", r"\end{document}")  # fmt: skip
    (folder / "document.tex").write_text("\n".join(document))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


@pytest.mark.parametrize("spec", table_specs(), ids=lambda spec: spec.name)
def test_every_table_that_comes_with_the_project(
    spec: "analysis.tabulation.specs.TableSpec", folder: Path, tmp_path: Path
) -> None:
    table = fill(spec, selection(folder, spec.values))
    assert table.has_numbers
    assert "Overfull" not in compiled(table, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"rows": "dataset,regime", "columns": "sigma", "metric": ["top1", "entropy"], "where": "sigma=0,1,32"},
        {"rows": "regime", "columns": "sigma", "baseline": "regime=clear", "mark": "best", "where": "dataset=faces"},
        {"rows": "regime", "columns": "blur", "where": "dataset=other", "title": NASTY},
    ],
)
def test_tables_by_options(options: dict[str, str], folder: Path, tmp_path: Path) -> None:
    compiled(analysis.table(options, folder), tmp_path)
