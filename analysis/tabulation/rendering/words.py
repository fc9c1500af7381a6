"""What the cells of a table say, and the notes below it: plain words, that each format only escapes and arranges."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from analysis.statistics.estimates import Estimate
from analysis.statistics.units import Over
from analysis.tabulation.axes import PLAIN, Head
from analysis.tabulation.cells import Cell
from analysis.tabulation.compared import scope_of
from analysis.tabulation.metric_facts import MetricFacts
from analysis.tabulation.tables import Table

DASH = "–"
MOST_LETTERS = 120
"""Of a list in a note."""


@dataclass(frozen=True)
class CellWords:
    """One cell; what there is none of is empty."""

    value: str
    interval: str = ""
    difference: str = ""
    """To the baseline, with its p value."""
    difference_interval: str = ""
    published: str = ""
    mark: str = ""
    footnote: str = ""
    """A letter."""


@dataclass(frozen=True)
class Words:
    """A table in words."""

    title: str
    stub: str
    """What stands above the labels of the rows."""
    columns: tuple[Head, ...]
    rows: tuple[tuple[Head, tuple[CellWords, ...]], ...]
    notes: tuple[str, ...]
    footnotes: tuple[tuple[str, str], ...]
    """Letter and text."""

    def groups(self) -> list[tuple[tuple[str, ...], list[tuple[Head, tuple[CellWords, ...]]]]]:
        """Neighbouring rows that have their groups in common."""
        return [(key, list(rows)) for key, rows in groupby(self.rows, key=lambda row: row[0].groups)]

    def headings(self) -> list[list[tuple[str, int]]]:
        """Rows of headings above the columns, the outermost first: each a label and how many columns it spans."""
        depth = max((len(head.groups) for head in self.columns), default=0)
        above = []
        for level in range(depth):
            keys = [head.groups[: level + 1] for head in self.columns]
            spans = [(key, len(list(same))) for key, same in groupby(keys)]
            above.append([(key[level] if len(key) > level else "", count) for key, count in spans])
        return [*above, [(head.label, 1) for head in self.columns]]


def words(table: Table) -> Words:
    """A table in words."""
    letters: dict[str, str] = {}
    rows = tuple((head, tuple(_cell(table, cell, letters) for cell in cells))
                 for head, cells in zip(table.rows, table.cells, strict=True))  # fmt: skip
    footnotes = tuple((letter, text) for text, letter in letters.items())
    stub = ", ".join(name.rsplit(".", 1)[-1].replace("_", " ") for name in _found(table.rows))
    return Words(clean(table.title), stub, table.columns, rows, tuple(map(clean, notes(table))), footnotes)


def clean(text: str) -> str:
    """On one line, without characters that command a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _found(rows: Sequence[Head]) -> list[str]:
    names = dict.fromkeys(name for head in rows for name in head.found)
    return [name for name in names if name in PLAIN and len({repr(head.match.get(name)) for head in rows}) > 1]


def _cell(table: Table, cell: Cell, letters: dict[str, str]) -> CellWords:
    def letter(text: str) -> str:
        text = clean(text)
        return letters.setdefault(text, _letter(len(letters))) if text else ""

    facts = table.facts[cell.value]
    beside = f"{cell.published:.{published_digits(table, facts)}f}" if cell.published is not None else ""
    if cell.estimate is None:
        return CellWords(DASH, published=beside, footnote=letter(cell.missing))
    compared, difference, interval = cell.comparison, "", ""
    note = "; ".join(filter(None, [cell.pending and f"and {cell.pending}", cell.not_compared]))
    if compared and compared.difference and table.spec.show != "ratio":
        p = p_value(compared.corrected)
        difference = p
        if table.spec.show == "value":
            difference = ", ".join(filter(None, [facts.shown(compared.difference.value, True), p]))
            interval = bounds(compared.difference, facts, True)
    signed = table.spec.show == "difference"
    value = facts.shown(cell.estimate.value, signed)
    own = bounds(cell.estimate, facts, signed)
    return CellWords(value, own, difference, interval, beside, cell.mark, letter(note))


def published_digits(table: Table, facts: MetricFacts) -> int:
    """As many as the source has, but no more than are worth showing beside ours."""
    return facts.digits + 1 if table.spec.show == "value" else facts.digits


def bounds(estimate: Estimate, facts: MetricFacts, signed: bool = False) -> str:
    """The interval, e.g. [78.5, 83.5]; empty where there is none."""
    if math.isnan(estimate.low):
        return ""
    return f"[{facts.shown(estimate.low, signed)}, {facts.shown(estimate.high, signed)}]"


def p_value(p: float) -> str:
    """E.g. `p = 0.012`, `p < 0.001`; empty for NaN."""
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else "p = 1" if p > 0.9995 else f"p = {p:.3f}"


def _letter(number: int) -> str:
    return chr(97 + number) if number < 26 else _letter(number // 26 - 1) + chr(97 + number % 26)


# --- notes ----------------------------------------------------------------------------------------------------------


def notes(table: Table) -> list[str]:
    """What a reader has to know of the numbers, a sentence or two each."""
    filled = [(head, column, cell) for head, cells in zip(table.rows, table.cells, strict=True)
              for column, cell in zip(table.columns, cells, strict=True) if cell.estimate]  # fmt: skip
    made = [table.spec.about] if table.spec.about else []
    if filled:
        made += [_units(table, [cell for *_, cell in filled]), _sizes(table, filled)]
        made += [_intervals(table, [cell for *_, cell in filled]), *_comparisons(table, filled), *_marks(table)]
    else:
        made.append("No run has any of these numbers yet.")
    source = table.spec.published
    if source and any(cell.published is not None for cells in table.cells for cell in cells):
        of = "" if table.spec.show == "value" else f", their {table.spec.show} computed here"
        made.append(f"Published beside ours (in italics): {source.network}, {source.source}{of}. {source.note}".strip())
    if table.unused:
        some = ", ".join(table.unused[:3]) + (", ..." if len(table.unused) > 3 else "")
        count = len(table.unused)
        made.append(f"{count} run{'s are' if count > 1 else ' is'} selected and in no cell: {some}.")
    return [note for note in made if note]


def _units(table: Table, cells: Sequence[Cell]) -> str:
    named = {cell.value: table.facts[cell.value] for cell in cells}
    what = {"value": "", "ratio": "ratios of ", "difference": "differences of "}[table.spec.show]
    units = {"%": " in percent", "": ""}
    parts = [f"{what}{facts.label}{units.get(facts.unit, f' in {facts.unit}')}" for facts in named.values()]
    lower = [facts.label for facts in named.values() if facts.better == "lower"]
    return _sentence(", ".join(dict.fromkeys(parts))) + (f" Lower is better: {', '.join(lower)}." if lower else "")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _sizes(table: Table, filled: Sequence[tuple[Head, Head, Cell]]) -> str:
    n = _by_line(filled, lambda cell: f"{cell.n:,}" + (f" of {cell.objects:,} objects" if cell.objects else ""))
    seeds = _by_line(filled, lambda cell: str(len(cell.seeds)))
    split = _by_line(filled, lambda cell: str(cell.about.get("split", "test")))
    return _sentence(f"{split} images: n = {n}; seeds: {seeds}")


def _by_line(filled: Sequence[tuple[Head, Head, Cell]], of: Callable[[Cell], str]) -> str:
    """One value, or which rows or columns have which."""
    values = list(dict.fromkeys(of(cell) for *_, cell in filled))
    if len(values) == 1:
        return values[0]
    heads = [[(row, cell) for row, _, cell in filled], [(column, cell) for _, column, cell in filled]]
    for pairs in heads:
        for label in (_outermost, _full):
            by_label: dict[str, set[str]] = {}
            for head, cell in pairs:
                by_label.setdefault(label(head), set()).add(of(cell))
            if all(len(several) == 1 for several in by_label.values()):
                with_value = {value: [x for x, several in by_label.items() if value in several] for value in values}
                most = max(values, key=lambda value: len(with_value[value]))
                rest = [f"{value} ({'; '.join(with_value[value])})" for value in values if value != most]
                few = len(with_value[most]) <= 3
                text = ", ".join([f"{most} ({'; '.join(with_value[most])})" if few else most, *rest])
                if len(text) <= MOST_LETTERS:
                    return text
    return f"{', '.join(values[:4])}{', ...' * (len(values) > 4)} by cell"


def _outermost(head: Head) -> str:
    return head.groups[0] if head.groups else head.label


def _full(head: Head) -> str:
    return ", ".join([*head.groups, head.label])


_OVER = {
    "images": "other test images, of one seed",
    "objects": "other objects that the test images show",
    "seeds": "other seeds, on the same images",
    "seeds and images": "other seeds and other test images",
    "seeds and objects": "other seeds and other objects that the test images show",
}


def _over(kinds: Iterable[Over], cells: Sequence[Cell]) -> str:
    """In words, `test images` where all are those of the test split."""
    said = "; or ".join(_OVER[kind] for kind in kinds)
    return said if {cell.about.get("split", "test") for cell in cells} <= {"test"} else said.replace("test ", "")


TOO_WIDE = "mostly too wide, without records of each image"


def _intervals(table: Table, cells: Sequence[Cell]) -> str:
    kinds = dict.fromkeys(cell.estimate.over for cell in cells if cell.estimate and not math.isnan(cell.estimate.low))
    if not kinds:
        return ""
    several = any(len(cell.seeds) > 1 for cells_of_row in table.cells for cell in cells_of_row)
    mean = ("geometric means" if table.spec.show == "ratio" else "means") + " over seeds; " if several else ""
    bounded = f" ({TOO_WIDE})" if any(cell.estimate and cell.estimate.wide for cell in cells) else ""
    over = _over(kinds, cells)
    return _sentence(f"{mean}in brackets 95 % intervals: where it may lie with {over}{bounded}")


CORRECTIONS = {"holm": "by Holm", "bh": "by Benjamini and Hochberg (false discovery rate)", "none": ""}


def _comparisons(table: Table, filled: Sequence[tuple[Head, Head, Cell]]) -> list[str]:
    made = [(row, column, cell, one, one.difference) for row, column, cell in filled
            if (one := cell.comparison) and one.difference]  # fmt: skip
    if not made:
        return []
    base = ", ".join(f"{name} {value}" for name, value in table.spec.baseline.items())
    tests = ", ".join(dict.fromkeys(one.test for *_, one, _ in made if one.test))
    count = sum(not math.isnan(one.p) for *_, one, _ in made)
    fewer = any(difference.seeds < len(cell.seeds) for *_, cell, _, difference in made)
    both = ", over the seeds that both have" if fewer else ""
    if table.spec.show == "ratio":
        return [f"Ratios to {base}{both}."]
    said = f"Below a value its difference to {base}{both}, with its 95 % interval"
    if table.spec.show == "difference":
        said = f"Differences to {base}{both}"
    how = CORRECTIONS[table.spec.correction]
    corrected = f"corrected {how} for {count} comparisons" if how else "not corrected for their number"
    notes = [f"{said}; p {corrected}{f' ({tests})' if tests else ''}." if count else f"{said}."]
    if fewer:
        notes.append(f"Seeds of differences: {_by_line([line[:3] for line in made], _seeds_of_difference)}.")
    if table.spec.show == "value" and (beside := _intervals_of([(cell, found) for *_, cell, _, found in made])):
        notes.append(f"Intervals of differences: {beside}.")
    return notes


def _seeds_of_difference(cell: Cell) -> str:
    return str(cell.comparison.difference.seeds) if cell.comparison and cell.comparison.difference else ""


def _intervals_of(differences: Sequence[tuple[Cell, Estimate]]) -> str:
    """What intervals of differences are over, where those of their cells are over something else, and whether they are
    too wide."""
    known = [(cell.estimate, found) for cell, found in differences if not math.isnan(found.low)]
    other = any(own is None or math.isnan(own.low) or own.over != found.over for own, found in known)
    kinds = _over(dict.fromkeys(found.over for _, found in known), [cell for cell, _ in differences])
    parts = [f"where they may lie with {kinds}"] * other
    return "; ".join([*parts, *([TOO_WIDE] * any(found.wide for _, found in known))])


def _marks(table: Table) -> list[str]:
    if not any(cell.mark for cells in table.cells for cell in cells):
        return []
    how = CORRECTIONS[table.spec.correction]
    corrected = f", corrected {how} for all pairs," if how else ""
    scope = {"best in row": "best in each row", "best in column": "best in each column"}.get(
        scope_of(table.spec), "best"
    )
    return [
        f"Bold: the {scope}, of those that differ in nothing else; underlined: cannot be distinguished from it (p of "
        f"the paired difference{corrected} is 0.05 or more)."
    ]
