"""What `make gpu` has found, as Markdown that can go into a README."""

from collections.abc import Mapping, Sequence
from typing import Any


def page(document: Mapping[str, Any]) -> str:
    """All parts: how each ended, then a table of each that has rows."""
    machine = document["machine"]
    about = ", ".join(f"{name} {value}" if name != "card" else str(value) for name, value in machine.items() if value)
    lines = [f"Measured by `make gpu` on {document['date']}: {about or 'a machine that could not be described'}.", ""]
    if document["device"] == "cpu":
        lines += ["**A rehearsal on a processor: all sizes are tiny, and no figure means anything.**", ""]
    lines += ["| part | outcome | seconds |", "|---|---|---|"]
    for part in document["parts"]:
        outcome = part["state"] + (f": {_cell(part['reason'])}" if part["reason"] else "")
        lines.append(f"| {part['name']} | {outcome} | {part['seconds']:g} |")
    for part in document["parts"]:
        if part["rows"]:
            lines += ["", f"**{part['title']}**", "", *_table(part["rows"])]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a row; what is the same in all of several rows is said once, above them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [row.get(name) for row in rows] for name in columns}
    columns = [name for name in columns if any(value is not None for value in values[name])]
    same = [name for name in columns if len(rows) > 1 and all(value == values[name][0] for value in values[name])]
    varying = [name for name in columns if name not in same]
    said = [f"{name} {_cell(values[name][0])}" for name in same]
    lines = [", ".join(said) + ".", ""] if said else []
    lines += ["| " + " | ".join(varying) + " |", "|" + "---|" * len(varying)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(name)) for name in varying) + " |")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
