"""A grid as one watches it: how far it is, how far each run is that is trained now, and when all are done."""

from collections.abc import Mapping, Sequence
from typing import Any

from blurtrain.terminal import bar, styled
from jobs.record import Row, duration
from jobs.states import summary
from jobs.table import table

STYLES = {"done": "good", "running": "busy", "failed": "bad", "stale": "bad", "cancelled": "odd", "preempted": "odd"}
BAR = 24


def progress(rows: Sequence[Row]) -> float:
    """The share of all epochs that are done (0..1)."""
    return sum(min(row["epoch"], row["epochs"]) for row in rows) / (sum(row["epochs"] for row in rows) or 1)


def remaining_seconds(rows: Sequence[Row]) -> float | None:
    """Until all that run or wait are done: their epochs at the pace of those that run, as many at a time as now; None
    where none says its pace yet. A rough one: runs of other datasets have other epochs."""
    paced = [row for row in rows if row["state"] == "running" and _left(row) > 0 and "remaining_seconds" in row]
    if not paced:
        return None
    pace = sum(row["remaining_seconds"] / _left(row) for row in paced) / len(paced)
    open_ = [row for row in rows if row["submitted"] and row["state"] not in ("done", "held")]
    work = sum(float(row.get("remaining_seconds", pace * _left(row))) for row in open_)
    at_a_time = sum(row["state"] == "running" for row in rows)
    longest = max(float(row["remaining_seconds"]) for row in paced)
    return max(longest, work / at_a_time)


def _left(row: Mapping[str, Any]) -> float:
    return float(row["epochs"] - row["epoch"])


def frame(rows: Sequence[Row], coloured: bool) -> str:
    """The table of `jobs.table`, its states in colour, and above it the bars."""
    seconds = remaining_seconds(rows)
    to_go = f", about {duration(seconds)} to go" if seconds is not None else ""
    lines = [f"{bar(progress(rows), BAR)} {progress(rows):4.0%}  {summary(rows)}{to_go}", ""]
    running = [row for row in rows if row["state"] == "running"]
    for row in running:
        share = row["epoch"] / (row["epochs"] or 1)
        lines.append(f"{styled(bar(share, BAR), 'busy', coloured)} {share:4.0%}  {row['run_id']}")
    return "\n".join([*lines, *([""] if running else []), coloured_table(rows, coloured)])


def coloured_table(rows: Sequence[Row], coloured: bool) -> str:
    """`jobs.table.table`, each line in the style of its state."""
    first, *lines = table(rows).split("\n")
    own, rest = lines[: len(rows)], lines[len(rows) :]
    styles = [STYLES.get(row["state"], "") for row in rows]
    return "\n".join([first, *(styled(line, style, coloured) for line, style in zip(own, styles, strict=True)), *rest])
