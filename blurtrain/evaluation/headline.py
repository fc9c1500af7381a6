"""What was measured at the end of a training, in a line each."""

from collections.abc import Iterator, Mapping
from typing import Any

from blurtrain.evaluation.measure import Measure


def headline(measure: type[Measure], document: Mapping[str, Any]) -> str:
    """The outcome in a line: its first metric at the least and at the most blur, of its sigmas where it has any."""
    metric, facts = next(iter(measure.headlines.items()))
    rows = [row for row in document["rows"] if row["metric"] == metric]
    levels = [row for row in rows if row["sigma"] is not None] or rows
    ends = levels if len(levels) == 1 else [levels[0], levels[-1]]
    shown = ", ".join(f"{_number(row, facts)} at {called(row)}" for row in ends)
    return f"{facts['label']} {shown} (n = {document['n']})"


def by_level(measure: type[Measure], document: Mapping[str, Any]) -> Iterator[str]:
    """A line a level, of all that is worth one."""
    rows = {(row["blur"], row["metric"]): row for row in document["rows"]}
    for label in dict.fromkeys(blur for blur, _ in rows):
        own = {name: rows[label, name] for name in measure.headlines if (label, name) in rows}
        said = ", ".join(f"{measure.headlines[name]['label']} {_number(row, measure.headlines[name], 5)}"
                         for name, row in own.items())  # fmt: skip
        if own:
            row = next(iter(own.values()))
            yield f"{called(row) + ':':<10} {said} of {row['n']}"


def called(row: Mapping[str, Any]) -> str:
    """The level of a row as messages name it: sigma 8, or disk-4."""
    return str(row["blur"]) if row["sigma"] is None else f"sigma {row['sigma']:g}"


def _number(row: Mapping[str, Any], facts: Mapping[str, Any], width: int = 0) -> str:
    value = row["count"] / row["n"] if "count" in row else row["value"]
    if value is None:
        return "undefined"
    return f"{value * facts.get('times', 1):{width}.{facts['digits']}f} {facts.get('unit', '')}".rstrip()
