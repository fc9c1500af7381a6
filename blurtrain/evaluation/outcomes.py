"""What was measured, on disk: a JSON file per measure and conditions, to which levels are added, and records beside it.

    accuracy-<hash>.json      conditions, then one row a level and metric
    accuracy-<hash>.parquet   where asked for: one row a level and image
    accuracy-<hash>.npz       where a measure gives them: maps and curves, as LEVEL/NAME

The hash is of the conditions, so that a file is also the cache. Several processes may add levels at the same time. The
content carries a hash of its own, and the records a checksum a page, which are checked when they are read.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blurtrain.errors import RunError
from blurtrain.evaluation.arrays import with_arrays
from blurtrain.evaluation.subject import Found, Row
from blurtrain.files import held, publish, read_json, sealed

PATIENCE = 120.0
"""Seconds to wait for another process that adds its levels."""


class Outcomes:
    """The file of one measure under some conditions.

    conditions: all that its outcome depends on beside the blurs; about: what else a reader wants to know.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, Any], about: Mapping[str, Any]):
        digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:12]
        self.path = folder / f"{conditions['measure']}-{digest}.json"
        self.header = {**conditions, **about}

    @property
    def records(self) -> Path:
        """The file with a row a level and image."""
        return self.path.with_suffix(".parquet")

    @property
    def arrays(self) -> Path:
        """The file with maps and curves by level."""
        return self.path.with_suffix(".npz")

    def rows(self) -> list[Row]:
        """The rows that are there. Raises RunError where the file is damaged."""
        document = read_json(self.path)
        try:
            return list(document["rows"]) if document else []
        except (KeyError, TypeError):
            raise RunError(f"{self.path}: is damaged: it has no rows; remove it") from None

    def recorded(self) -> set[str]:
        """Labels of the blurs that there are records of each image for."""
        if not self.records.exists():
            return set()
        return set(self._recorded(["blur"])["blur"].unique().to_pylist())

    def _recorded(self, columns: Sequence[str] | None = None) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.read_table(self.records, columns=columns, page_checksum_verification=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise RunError(f"{self.records}: is damaged: {error}; remove it, and evaluate again") from None

    def add(self, found: Found) -> None:
        """Add levels; those that are there already stay as they are, but for their records, and for blurs of the user's
        own whose source is another now. Raises RunError where another process adds to it for more than PATIENCE
        seconds, or what is there is damaged."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with held(self.path.with_name(f".{self.path.stem}.lock"), PATIENCE) as lock:
            if lock is None:
                raise RunError(f"{self.path}: another process has been adding to it for {PATIENCE:g} s; try again")
            if found.records:
                publish(self.records, self._with(found))
            if found.arrays:
                publish(self.arrays, with_arrays(self.arrays, found.arrays))
            sources = {row["blur"]: row.get("source") for row in found.rows}
            rows = [row for row in self.rows() if row.get("source") == sources.get(row["blur"], row.get("source"))]
            known = {(row["blur"], row["metric"]) for row in rows}
            rows += [row for row in found.rows if (row["blur"], row["metric"]) not in known]
            publish(self.path, _document(self.header, rows))

    def document(self, labels: Sequence[str]) -> dict[str, Any]:
        """Conditions, and the rows of these levels, in their order."""
        rows = self.rows()
        return {**self.header, "rows": [row for label in labels for row in rows if level_of(row) == label]}

    def _with(self, found: Found) -> bytes:
        import pyarrow
        import pyarrow.parquet

        tables = []
        if self.records.exists():
            old = self._recorded()
            labels = old["blur"].to_pylist()
            tables.append(old.filter([label not in found.records for label in labels]))
        for label, arrays in found.records.items():
            columns = {name: _compact(values) for name, values in arrays.items()}
            count = len(next(iter(arrays.values())))
            blur = pyarrow.array([label] * count).dictionary_encode()
            tables.append(pyarrow.table({"blur": blur, **columns}))
        content = io.BytesIO()
        whole = pyarrow.concat_tables(tables, promote_options="permissive").unify_dictionaries()
        pyarrow.parquet.write_table(whole, content, compression="zstd", write_page_checksum=True)
        return content.getvalue()


def level_of(row: Row) -> str:
    """The label of the level that a row is of, or of a part of."""
    return str(row.get("level", row["blur"]))


def _compact(values: Any) -> Any:
    kinds = {"int64": "int32", "float64": "float32"}
    return values.astype(kinds.get(str(values.dtype), values.dtype))


def _document(header: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """JSON with a line a row, sealed."""
    lines = [f' "{name}": {json.dumps(value)},' for name, value in header.items()]
    body = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    return sealed("\n".join(["{", *lines, ' "rows": [', body, " ]", "}\n"]))
