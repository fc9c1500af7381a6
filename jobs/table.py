"""Rows of `grid status` as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from blurtrain.blur.assignment import in_words
from blurtrain.settings.labels import shown
from jobs.record import Row, duration
from jobs.states import summary


def table(rows: Sequence[Row]) -> str:
    """The rows, with a summary below."""
    models = ["model"] if len({row["model"] for row in rows}) > 1 else []
    columns = ["dataset", "regime", *models, *(key for key in rows[0] if "." in key), "seed", "state"]
    widths = {key: max([len(key), *(len(shown(r[key])) for r in rows)]) for key in columns}
    lines = ["  ".join(key.ljust(width) for key, width in widths.items()) + "   epoch  run"]
    for row in rows:
        cells = "  ".join(shown(row[key]).ljust(width) for key, width in widths.items())
        job = f"job {row['job_id']}" if row["job_id"] else ""
        notes = "; ".join(part for part in (row["message"], _pace(row), job) if part)
        lines.append(f"{cells}  {row['epoch']:>4g}/{row['epochs']:<4} {row['run_id']}  {notes}".rstrip())
    return "\n".join([*lines, "", summary(rows)])


def differing(row: Mapping[str, Any]) -> str:
    """What distinguishes a run from the others of its grid, beyond its id: `optimisation.learning_rate=0.001`."""
    labels = [key for key in ("regime", "model") if f"-{row[key]}-" not in row["run_id"]]
    return "  ".join(f"{key}={shown(row[key])}" for key in [*labels, *(key for key in row if "." in key)])


def _pace(row: Mapping[str, Any]) -> str:
    parts = [blur] if (blur := in_words(row)) else []
    if "images_per_second" in row:
        parts.append(f"{row['images_per_second']:.0f} images/s")
    if "remaining_seconds" in row:
        parts.append(f"{duration(row['remaining_seconds'])} to go")
    return ", ".join(parts)
