"""The blocks of code that stand in the pages of docs/."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks_of(page: Path, kind: str) -> list[str]:
    """Of a kind: `sh`, `yaml`, `python`, or "" where none is said."""
    return [text for name, text in _BLOCK.findall(page.read_text()) if name == kind]


def all_blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and text of each, in the page's order; of kind "" where none is said."""
    return _BLOCK.findall(page.read_text())
