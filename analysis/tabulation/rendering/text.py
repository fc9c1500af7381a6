"""Tables for a terminal."""

import textwrap
from collections.abc import Sequence

from analysis.tabulation.axes import Head
from analysis.tabulation.rendering.words import CellWords, clean, words
from analysis.tabulation.tables import Table

WIDTH = 120
STUB = 40
"""Letters of the labels of rows on one line, at most."""
MARKS = {"best": "*", "tied": "~", "": ""}


def as_text(table: Table, width: int = WIDTH) -> str:
    """Plain text of at most `width` columns of characters, where a row fits; `*`: the best, `~`: cannot be
    distinguished from it."""
    said = words(table)
    rows = [(head, [_lines(cell) for cell in cells]) for head, cells in said.rows]
    labels = [line for head, _ in rows for line in _label(head)]
    stub = max([min(len(said.stub), STUB), *map(len, labels)], default=0)
    headings = [_wrapped(head, [cells[k] for _, cells in rows]) for k, head in enumerate(table.columns)]
    widths = [max(len(x) for x in [*heading, *(line for _, cells in rows for line in cells[k])])
              for k, heading in enumerate(headings)]  # fmt: skip
    blocks = [_block(said.stub, rows, headings, widths, columns, stub) for columns in _fitting(widths, stub, width)]
    notes = [*said.notes, *(f"[{letter}] {text}" for letter, text in said.footnotes)]
    if any(cell.mark for _, cells in said.rows for cell in cells):
        notes = [note.replace("Bold:", "*:").replace("underlined:", "~:") for note in notes]
    notes = [note.replace(" (in italics)", " (in parentheses)") for note in notes]
    return "\n\n".join([said.title, *blocks, "\n".join(notes)]) + "\n"


def _lines(cell: CellWords) -> list[str]:
    footnote = f" [{cell.footnote}]" if cell.footnote else ""
    below = [cell.interval, cell.difference, cell.difference_interval]
    return [
        f"{cell.value}{MARKS[cell.mark]}{footnote}",
        *filter(None, below),
        *([f"({cell.published})"] * bool(cell.published)),
    ]


def _label(head: Head) -> list[str]:
    """Of a row, over as many lines as it takes."""
    inside = "  " * bool(head.groups)
    return textwrap.wrap(clean(head.label), STUB, initial_indent=inside, subsequent_indent=f"{inside}  ") or [""]


def _wrapped(head: Head, cells: Sequence[Sequence[str]]) -> list[str]:
    """A heading over lines no wider than it takes."""
    widest = max((len(line) for lines in cells for line in lines), default=0)
    labels = [clean(label) for label in (*head.groups, head.label)]
    return [line for label in labels for line in textwrap.wrap(label, max(12, widest)) or [""]]


def _fitting(widths: Sequence[int], stub: int, width: int) -> list[list[int]]:
    """The columns of each block."""
    blocks: list[list[int]] = [[]]
    used = stub
    for k, own in enumerate(widths):
        if blocks[-1] and used + own + 2 > width:
            blocks.append([])
            used = stub
        blocks[-1].append(k)
        used += own + 2
    return blocks


def _block(
    title: str,
    rows: Sequence[tuple[Head, list[list[str]]]],
    headings: Sequence[Sequence[str]],
    widths: Sequence[int],
    columns: Sequence[int],
    stub: int,
) -> str:
    height = max(len(headings[k]) for k in columns)
    lines = []
    for k in range(height):
        above = [([""] * (height - len(headings[c])) + [*headings[c]])[k].rjust(widths[c]) for c in columns]
        lines.append("  ".join([(title if k == height - 1 else "").ljust(stub), *above]))
    lines.append("-" * len(lines[-1]))
    group: tuple[str, ...] = ()
    deep = any(len(cell) > 1 for _, cells in rows for cell in cells)
    for number, (head, cells) in enumerate(rows):
        if head.groups != group:
            group = head.groups
            lines += [""] * (number > 0 and not (deep and lines[-1] == "")) + [", ".join(map(clean, group))]
        label = _label(head)
        for k in range(max(len(label), *(len(cells[c]) for c in columns))):
            shown = [(cells[c][k] if k < len(cells[c]) else "").rjust(widths[c]) for c in columns]
            lines.append("  ".join([(label[k] if k < len(label) else "").ljust(stub), *shown]))
        if deep and number < len(rows) - 1:
            lines.append("")
    return "\n".join(line.rstrip() for line in lines)
