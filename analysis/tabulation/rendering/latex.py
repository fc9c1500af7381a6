"""Tables for LaTeX: booktabs, columns of siunitx, groups of rows; to be taken in by `\\input`."""

import itertools
import re
import textwrap
import unicodedata
from collections.abc import Sequence

from analysis.tabulation.rendering.words import CellWords, Words, clean, words
from analysis.tabulation.tables import Table

MOST_LETTERS = 36
"""Of a label of a row on one line."""
LINE_POINTS = 345
"""Width of a line of LaTeX's article class."""
_NAMED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "'": "'", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}", "–": "--", "—": "---", "…": r"\ldots{}", "±": r"\textpm{}", "×": r"\texttimes{}",
    "÷": r"\textdiv{}", "σ": r"$\sigma$", "µ": r"\textmu{}", "°": r"\textdegree{}", "≥": r"$\geq$", "≤": r"$\leq$",
    "→": r"$\rightarrow$", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}",
    "“": "``", "”": "''", "‘": "`", "’": "'", "·": r"\textperiodcentered{}",
}  # fmt: skip
_ACCENTS = {0x300: "`", 0x301: "'", 0x302: "^", 0x303: "~", 0x308: '"', 0x30A: "r", 0x327: "c", 0x30C: "v", 0x304: "="}


def escaped(text: str) -> str:
    """Text that stands for itself, in ASCII; letters that LaTeX cannot set by itself are shown by their number."""
    opened = itertools.cycle(("``", "''"))
    return "".join(next(opened) if letter == '"' else _letter(letter) for letter in clean(text))


def _letter(letter: str) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    if letter.isascii():
        return letter
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if base.isascii() and len(marks) == 1 and ord(marks[0]) in _ACCENTS:
        return f"\\{_ACCENTS[ord(marks[0])]}{{{base}}}"
    return rf"\texttt{{U+{ord(letter):04X}}}"


def as_latex(table: Table) -> str:
    """A table environment with caption, label `tab:NAME`, tabular and notes. Needs the packages booktabs and siunitx,
    and graphicx where it would be wider than a line."""
    said = words(table)
    columns = [[cells[k] for _, cells in said.rows] for k in range(len(said.columns))]
    formats = [_format(cells) for cells in columns]
    tabular = _tabular(said, formats)
    points = _points(said, columns)
    wide = points > LINE_POINTS
    name = re.sub(r"[^A-Za-z0-9-]+", "-", table.spec.name)
    notes = [*map(escaped, said.notes),
             *(rf"\textsuperscript{{{letter}}}\,{escaped(text)}" for letter, text in said.footnotes)]  # fmt: skip
    packages = "booktabs, siunitx, graphicx" if wide else "booktabs, siunitx"
    lines = [
        rf"% Made by `blurtrain table`; \usepackage{{{packages}}}",
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escaped(said.title)}}}",
        rf"\label{{tab:{name}}}",
        r"\smallskip",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
        *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
        *tabular,
        *(["}"] if wide else []),
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        "\\par\n".join(notes),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tabular(said: Words, formats: Sequence[tuple[int, int, bool]]) -> list[str]:
    wraps = _stub(said) > MOST_LETTERS
    stub = f"p{{{4.6 * MOST_LETTERS:.0f}pt}}" if wraps else "l"
    spec = "".join(f"S[table-format={'-' * negative}{whole}.{digits}]" for whole, digits, negative in formats)
    lines = [rf"\begin{{tabular}}{{@{{}}{stub}{spec}@{{}}}}", r"\toprule"]
    *above, last = said.headings()
    for heading in above:
        titles, rules, start = [""], [], 2
        for label, count in heading:
            titles.append(rf"\multicolumn{{{count}}}{{c}}{{{_stacked(label)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
            start += count
        lines += [_row(titles), "".join(rules)]
    lines += [_row([escaped(said.stub), *(f"{{{_stacked(label)}}}" for label, _ in last)]), r"\midrule"]
    for number, (groups, rows) in enumerate(said.groups()):
        if groups:
            title = escaped(", ".join(groups))
            lines += [r"\addlinespace"] * (number > 0)
            lines.append(rf"\multicolumn{{{1 + len(said.columns)}}}{{@{{}}l}}{{\itshape {title}}} \\")
        for place, (head, cells) in enumerate(rows):
            below = [[_below(cell)[k] for cell in cells] for k in range(4)]
            label = (r"\quad " if groups else "") + escaped(head.label)
            label = rf"\raggedright\hangindent=2em {label}" if wraps else label
            values = [_value(cell, form) for cell, form in zip(cells, formats, strict=True)]
            lines += [r"\addlinespace[2pt]"] * (place > 0 and any(any(line) for line in below))
            lines.append(_row([label, *values]))
            lines += [_row(["", *(f"{{{text}}}" if text else "" for text in line)]) for line in below if any(line)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _stacked(label: str, width: int = 12) -> str:
    lines = textwrap.wrap(clean(label), width) or [""]
    joined = r"\\".join(map(escaped, lines))
    return joined if len(lines) == 1 else rf"\shortstack{{{joined}}}"


def _format(cells: Sequence[CellWords]) -> tuple[int, int, bool]:
    """Digits before and behind the point, and whether there is a sign."""
    numbers = [cell.value for cell in cells if _is_number(cell.value)]
    if not numbers:
        return 1, 0, False
    parts = [number.lstrip("+-").partition(".") for number in numbers]
    return (max(len(whole) for whole, _, _ in parts), max(len(rest) for *_, rest in parts),
            any(number[0] in "+-" for number in numbers))  # fmt: skip


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text) is not None


def _value(cell: CellWords, form: tuple[int, int, bool]) -> str:
    """A number for a column of siunitx; as text, padded to the same width, where it is marked or has a footnote."""
    footnote = rf"\textsuperscript{{{cell.footnote}}}" if cell.footnote else ""
    if not _is_number(cell.value):
        return f"{{{escaped(cell.value)}{footnote}}}"
    if not cell.mark and not footnote:
        return cell.value.lstrip("+") if not cell.value.startswith("+") else f"+{cell.value[1:]}"
    whole, _, negative = form
    sign = cell.value[0] if cell.value[0] in "+-" else ""
    number = cell.value.lstrip("+-")
    missing = whole - len(number.partition(".")[0])
    padding = rf"\phantom{{{'0' * missing}}}" if missing else ""
    signed = rf"\ensuremath{{{sign}}}" if sign else r"\phantom{\ensuremath{-}}" if negative else ""
    shown = {"best": rf"\textbf{{{number}}}", "tied": rf"\underline{{{number}}}"}.get(cell.mark, number)
    behind = rf"\rlap{{{footnote}}}" if footnote else ""
    return f"{{{padding}{signed}{shown}{behind}}}"


def _below(cell: CellWords) -> list[str]:
    """The lines below a value."""
    small = [rf"\scriptsize {_signs(text)}" if text else ""
             for text in (cell.interval, cell.difference, cell.difference_interval)]  # fmt: skip
    return [*small, rf"\scriptsize\itshape {_signs(cell.published)}" if cell.published else ""]


def _signs(text: str) -> str:
    """Numbers, brackets and words of ours, with signs of mathematics."""
    return re.sub(r"[-<]|\bp\b", r"\\ensuremath{\g<0>}", text)


def _points(said: Words, columns: Sequence[Sequence[CellWords]]) -> float:
    """About how wide the tabular is: digits take 4.6 pt, and 3.6 pt below a value."""
    widths = []
    for head, cells in zip(said.columns, columns, strict=True):
        heading = max(len(line) for line in textwrap.wrap(clean(head.label), 12) or [""])
        value = max((len(cell.value) for cell in cells), default=0)
        below = [text for cell in cells for text in (cell.interval, cell.difference, cell.difference_interval)]
        widths.append(max(4.6 * max(heading, value), 3.6 * max(map(len, below), default=0)) + 8)
    return 4.6 * min(_stub(said), MOST_LETTERS) + sum(widths)


def _stub(said: Words) -> int:
    """Letters of the longest label of a row."""
    return max((len(clean(head.label)) + 2 * bool(head.groups) for head, _ in said.rows), default=0)
