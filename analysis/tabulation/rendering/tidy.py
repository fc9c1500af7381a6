"""All cells of tables, a line each, as CSV or Parquet."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.statistics.estimates import Estimate
from analysis.tabulation.axes import Head
from analysis.tabulation.rendering.words import notes
from analysis.tabulation.tables import Table

NUMBERS = ("estimate", "low", "high", "sd", "difference", "difference_low", "difference_high")


def tidy(made: Sequence[Table]) -> Iterator[dict[str, Any]]:
    """A row a cell. Numbers are in the unit of the metric (`unit`; accuracies in percent), None where there is none; of
    ratios `unit` is empty, and only differences are in that of the metric. `sd` of ratios is a factor, too;
    `seeds`, `runs`, `difference_seeds` and `baseline_runs` are lists."""
    for table in made:
        for row, cells in zip(table.rows, table.cells, strict=True):
            for column, cell in zip(table.columns, cells, strict=True):
                facts, estimate, compared = table.facts[cell.value], cell.estimate, cell.comparison
                difference = compared.difference if compared else None
                published = table.spec.published
                numbers = [getattr(estimate, name, None) for name in ("value", "low", "high", "sd")]
                numbers += [getattr(difference, name, None) for name in ("value", "low", "high")]
                own = facts.ratio_of or facts
                scale = {name: (own if name.startswith("difference") else facts).times for name in NUMBERS}
                scaled = {name: None if x is None or math.isnan(x) else scale[name] * x
                          for name, x in zip(NUMBERS, numbers, strict=True)}  # fmt: skip
                yield {
                    "table": table.spec.name,
                    "dataset": str(cell.about.get("dataset", "")),
                    "model": str(cell.about.get("model", "")),
                    "row_group": " / ".join(row.groups),
                    "row": row.label,
                    "column_group": " / ".join(column.groups),
                    "column": column.label,
                    "value": cell.value,
                    "show": table.spec.show,
                    "unit": facts.unit,
                    **{name: scaled[name] for name in NUMBERS[:3]},
                    "over": _over(estimate),
                    "sd": scaled["sd"],
                    "seeds": list(cell.seeds),
                    "n": cell.n or None,
                    "objects": cell.objects or None,
                    **{name: scaled[name] for name in NUMBERS[4:]},
                    "difference_over": _over(difference),
                    "difference_seeds": list(compared.pair[0].seeds) if compared and compared.pair else [],
                    "difference_wide": difference.wide if difference else None,
                    "p": _number(compared.p if compared else None),
                    "p_corrected": _number(compared.corrected if compared else None),
                    "test": compared.test if compared else "",
                    "not_compared": cell.not_compared,
                    "mark": cell.mark,
                    "published": cell.published,
                    "published_network": published.network if published and cell.published is not None else "",
                    "missing": cell.missing,
                    "pending": cell.pending,
                    "runs": list(cell.runs),
                    "baseline_runs": list(compared.runs) if compared else [],
                }


def _over(estimate: Estimate | None) -> str:
    return estimate.over if estimate and not math.isnan(estimate.low) else ""


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def as_csv(made: Sequence[Table]) -> str:
    """Four decimals; lists separated by blanks."""
    out = io.StringIO()
    rows = list(tidy(made))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0] if rows else [])
    for row in rows:
        writer.writerow([_word(name, value) for name, value in row.items()])
    return out.getvalue()


def _word(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return (
            f"{value:g}" if name == "published" else f"{value:.6g}" if name in ("p", "p_corrected") else f"{value:.4f}"
        )
    return str(value)


def as_json(table: Table) -> dict[str, Any]:
    """What `blurtrain table --json` prints: what the table is, its notes, and all cells as `tidy` has them."""
    return {
        "table": table.spec.name,
        "title": table.title,
        "rows": [_head(head) for head in table.rows],
        "columns": [_head(head) for head in table.columns],
        "cells": list(tidy([table])),
        "notes": notes(table),
        "unused": list(table.unused),
    }


def _head(head: Head) -> dict[str, Any]:
    return {"label": head.label, "groups": list(head.groups), "match": dict(head.match)}


def as_parquet(made: Sequence[Table]) -> bytes:
    """The same with numbers as numbers and lists as lists."""
    import pyarrow
    import pyarrow.parquet

    rows = list(tidy(made))
    kinds = {"n": pyarrow.int64(), "objects": pyarrow.int64(), "difference_wide": pyarrow.bool_(),
             **dict.fromkeys(["seeds", "difference_seeds"], pyarrow.list_(pyarrow.int64())),
             **dict.fromkeys(["runs", "baseline_runs"], pyarrow.list_(pyarrow.string())),
             **dict.fromkeys([*NUMBERS, "p", "p_corrected", "published"], pyarrow.float64())}  # fmt: skip
    names = list(rows[0]) if rows else []
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names])
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), out, compression="zstd")
    return out.getvalue()
