"""Tables as a fragment of HTML: no script, no style of its own, nothing fetched."""

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from analysis.tabulation.cells import Cell
from analysis.tabulation.rendering.words import CellWords, words
from analysis.tabulation.tables import Table


def as_html(table: Table) -> str:
    """A `<figure>` with table and notes; all text is escaped."""
    body = as_html_table(table)
    notes = as_html_notes(table)
    return f'<figure class="table">\n{body}{notes}</figure>\n'


def as_html_table(table: Table, caption: bool = True, runs_as: Callable[[Sequence[str]], str] = " ".join) -> str:
    """The table alone. runs_as: what `data-runs` of a cell says of the ids of its runs."""
    said = words(table)
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(said.title)}</caption>")
    lines.append("<thead>")
    for k, heading in enumerate(rows := said.headings()):
        last = k == len(rows) - 1
        titles = [f'<th scope="col">{escape(said.stub) if last else ""}</th>']
        for label, count in heading:
            span = f' scope="colgroup" colspan="{count}"' if count > 1 else ' scope="col"'
            titles.append(f'<th class="number"{span}>{escape(label)}</th>')
        lines.append(f"<tr>{''.join(titles)}</tr>")
    lines.append("</thead>")
    filled = zip(said.rows, table.cells, strict=True)
    for groups, members in groupby(filled, key=lambda pair: pair[0][0].groups):
        lines.append("<tbody>")
        if groups:
            title = escape(", ".join(groups))
            lines.append(f'<tr class="panel"><th scope="rowgroup" colspan="{1 + len(said.columns)}">{title}</th></tr>')
        for (head, in_words), cells in members:
            shown = "".join(_cell(one, cell, table, runs_as) for one, cell in zip(in_words, cells, strict=True))
            lines.append(f'<tr><th scope="row">{escape(head.label)}</th>{shown}</tr>')
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"]) + "\n"


def as_html_notes(table: Table) -> str:
    """What stands below it."""
    notes = [escape(note.replace("in brackets 95 %", "below them 95 %")) for note in words(table).notes]
    return f'<figcaption class="about">{" ".join(notes)}</figcaption>\n'


def _cell(said: CellWords, cell: Cell, table: Table, runs_as: Callable[[Sequence[str]], str]) -> str:
    ids = runs_as([run_id for joined in cell.runs for run_id in joined.split("+")])
    runs = f' data-runs="{escape(ids)}"' if ids else ""
    parts = [{"best": f"<strong>{escape(said.value)}</strong>", "tied": f"<u>{escape(said.value)}</u>"}.get(
        said.mark, escape(said.value))]  # fmt: skip
    if cell.estimate is None:
        parts.append(f'<small class="why">{escape(cell.missing)}</small>')
    else:
        if not math.isnan(cell.estimate.sd):
            facts = table.facts[cell.value]
            parts[0] += (
                f" ×÷ {cell.estimate.sd:.2f}" if table.spec.show == "ratio" else f" ± {facts.shown(cell.estimate.sd)}"
            )
        interval = said.interval.strip("[]").replace(", ", "–") if "-" not in said.interval else said.interval
        seeds = f", {len(cell.seeds)} seeds" if len(cell.seeds) > 1 else ""
        below = [interval, f"n {cell.n:,}{seeds}", said.difference, said.difference_interval]
        parts += [f"<small>{escape(text)}</small>" for text in below if text]
        why = "; ".join(filter(None, [cell.pending, cell.not_compared]))
        parts += [f'<small class="why">{escape(why)}</small>'] if why else []
    if cell.published is not None:
        parts.append(f'<small class="theirs"><em>{cell.published:g}</em></small>')
    return f'<td class="number"{runs}>{"".join(parts)}</td>'
