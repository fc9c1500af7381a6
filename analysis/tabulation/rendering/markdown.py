"""Tables as Markdown (GitHub's)."""

import re

from analysis.tabulation.rendering.words import CellWords, clean, words
from analysis.tabulation.tables import Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def escaped(text: str) -> str:
    """Text that stands for itself on one line of Markdown."""
    return _SPECIAL.sub(r"\\\1", clean(text).replace("&", "&amp;"))


def as_markdown(table: Table) -> str:
    """A table with its notes: the best in bold, what cannot be distinguished from it underlined, published numbers in
    italics."""
    said = words(table)
    labels = [" / ".join(map(escaped, (*head.groups, head.label))) for head in said.columns]
    lines = [
        f"**{escaped(said.title)}**",
        "",
        _row([escaped(said.stub), *labels]),
        _row(["---", *["---:"] * len(labels)]),
    ]
    for groups, rows in said.groups():
        if groups:
            lines.append(_row([f"**{', '.join(map(escaped, groups))}**", *[""] * len(labels)]))
        lines += [_row([escaped(head.label), *map(_cell, cells)]) for head, cells in rows]
    notes = [*map(escaped, said.notes), *(f"<sup>{letter}</sup> {escaped(text)}" for letter, text in said.footnotes)]
    return "\n".join([*lines, "", "\n\n".join(notes)]) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: CellWords) -> str:
    value = {"best": f"**{cell.value}**", "tied": f"<u>{cell.value}</u>"}.get(cell.mark, cell.value)
    footnote = f"<sup>{cell.footnote}</sup>" if cell.footnote else ""
    below = [text.replace("<", "&lt;") for text in (cell.interval, cell.difference, cell.difference_interval) if text]
    beside = [f"*{cell.published}*"] if cell.published else []
    return "<br>".join([value + footnote, *below, *beside])
