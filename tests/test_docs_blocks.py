"""The blocks of code in docs/: commands parse, settings compose, names that are imported are there. What is run
by which test is in doc_pages.py."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from doc_blocks import DOCS, blocks_of

from analysis.tabulation.options import spec_of
from blurtrain.cli import command_line
from blurtrain.data.dataset import Dataset
from blurtrain.documents import merge
from blurtrain.settings import compose
from jobs.grid import read_grid
from jobs.search.file import read_search

PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "reference"]
PARTS = ("dataset", "network", "optimisation", "curriculum")
"""Of a block that is settings, or some of them."""


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for k, text in enumerate(blocks_of(page, kind)):
            yield f"{page.relative_to(DOCS)}-{kind}-{k}", text


def commands() -> Iterator[tuple[str, str]]:
    for kind in ("sh", "", "text"):
        for name, text in blocks(kind):
            outside = re.sub(r"<<(\w+)\n.*?^\1$", "", text, flags=re.M | re.S)
            for line in outside.replace("\\\n", " ").splitlines():
                if line.startswith("blurtrain "):
                    yield f"{name}: {line}", line


def cases(found: Iterator[tuple[str, str]]) -> list[object]:
    return [pytest.param(text, id=name) for name, text in found]


@pytest.mark.parametrize("line", cases(commands()))
def test_commands_are_as_the_command_line_has_them(line: str) -> None:
    try:
        options, rest = command_line().parse_known_args(shlex.split(line, comments=True)[1:])
    except SystemExit:
        pytest.fail(f"not understood: {line}")
    assert callable(options.command)
    assert not rest or (hasattr(options, "overrides") and all(re.match(r"[\w.]+=", word) for word in rest)), rest


@pytest.mark.parametrize("text", cases(blocks("yaml")))
def test_settings_and_files_are_understood(text: str, tmp_path: Path, prepared: Dataset) -> None:
    (tmp_path / "own.yaml").write_text(text)
    if text.startswith("groups:"):  # alternatives, a line each
        for line in text.splitlines():
            compose(merge({"dataset": "any", "regime": "clear"}, {"optimisation": yaml.safe_load(line)}), "docs")
        return
    document = yaml.safe_load(text)
    if "axes" in document:
        assert read_grid(tmp_path / "own.yaml").grids
    elif "space" in document:
        document["base"]["dataset"] = prepared.name
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        assert read_search(tmp_path / "own.yaml", {}, prepared.folder.parent)
    elif "rows" in document:
        assert spec_of(tmp_path / "own.yaml").names
    else:
        assert any(part in document for part in PARTS), "of a kind that this test knows"
        compose(merge({"dataset": "any", "regime": "clear"}, document), "docs")


@pytest.mark.parametrize("text", cases(blocks("python")))
def test_imported_names_are_there(text: str) -> None:
    modules = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("blurtrain", "analysis"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):  # a module of a package
                    importlib.import_module(f"{node.module}.{alias.name}")
                modules[alias.asname or alias.name] = getattr(module, alias.name)
        elif isinstance(node, ast.Import):
            modules |= {alias.name: importlib.import_module(alias.name) for alias in node.names}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), ast.unparse(node)
