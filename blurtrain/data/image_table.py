"""Image files in the rows of a table, as Hugging Face `datasets` keeps them: Parquet, or Arrow's stream or file format.

An image is a column of {bytes, path} (or of bytes alone); where it has no bytes, its path names a file.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from blurtrain.errors import DataError

SUFFIXES = {".parquet", ".arrow"}
NAMES = ("image", "img", "picture", "photo")
"""What columns of images are called, the first that there is is taken."""


def image_column(schema: Any, path: str) -> str:
    """The name of the column of images; raises DataError where there is none."""
    import pyarrow as pa

    def holds_images(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return "bytes" in [kind.field(k).name for k in range(kind.num_fields)]
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    found = [field.name for field in schema if holds_images(field.type)]
    if not found:
        raise DataError(f"{path}: has no column of images, but {', '.join(schema.names)}")
    return next((name for name in NAMES if name in found), found[0])


def has_names(schema: Any, column: str) -> bool:
    """Whether a column of images has their names, too."""
    kind = schema.field(column).type
    return hasattr(kind, "get_field_index") and kind.get_field_index("path") >= 0


def image_in(path: str, row: int) -> bytes:
    """The bytes of the image in a row, counted from 0; raises DataError, or OSError where it cannot be read."""
    return _opened(path, Path(path).stat().st_mtime_ns).image(row)


@lru_cache(maxsize=4)
def _opened(path: str, changed: int) -> "_Table":
    """changed: when, as a file may be another one by now."""
    return _Parquet(path) if path.endswith(".parquet") else _Arrow(path)


class _Table:
    def image(self, row: int) -> bytes:
        raise NotImplementedError


def _bytes(value: Any, path: str, row: int) -> bytes:
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            return (Path(path).parent / value["path"]).read_bytes()
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise DataError(f"row {row} has no image")
    return value


class _Arrow(_Table):
    """Mapped, so that a row costs what its image does."""

    def __init__(self, path: str):
        table = arrow_table(path)
        self.path, self.column = path, table[image_column(table.schema, path)]

    def image(self, row: int) -> bytes:
        return _bytes(self.column[row].as_py(), self.path, row)


class _Parquet(_Table):
    """By groups of rows, of which the last one stays in memory."""

    def __init__(self, path: str):
        import pyarrow.parquet as pq

        self.path, self.file = path, pq.ParquetFile(path)
        self.name = image_column(self.file.schema_arrow, path)
        counts = [self.file.metadata.row_group(k).num_rows for k in range(self.file.num_row_groups)]
        self.ends = [sum(counts[: k + 1]) for k in range(len(counts))]
        self.group, self.column = -1, None

    def image(self, row: int) -> bytes:
        group = next(k for k, end in enumerate(self.ends) if row < end)
        if group != self.group:
            self.column = None  # before the next one is read
            self.group, self.column = group, self.file.read_row_group(group, [self.name])[self.name]
        first = self.ends[group - 1] if group else 0
        return _bytes(self.column[row - first].as_py(), self.path, row)  # type: ignore[index]


def arrow_table(path: str) -> Any:
    """A mapped table of Arrow's stream or file format; raises DataError where it is neither."""
    import pyarrow as pa

    source = pa.memory_map(path)
    for open_as in (pa.ipc.open_stream, pa.ipc.open_file):
        try:
            source.seek(0)
            return open_as(source).read_all()
        except pa.ArrowInvalid as error:
            why = error
    raise DataError(f"{path}: is no Arrow file: {why}")
