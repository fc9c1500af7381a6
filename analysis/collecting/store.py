"""Where collected tables are kept: `<runs>/.collected`, or a temporary folder where that cannot be written.

    runs.parquet                a row a run, with its settings, its stamp, and the segment that holds its other rows
    measures-<segment>.parquet  what was measured of some runs
    epochs-<segment>.parquet    their epochs
    lock                        held (flock) by the process that collects

A segment never changes, and `runs.parquet` is replaced whole: whoever reads it sees one look at the runs, whatever
others write meanwhile. Rows of a run that has been read again stay in the older segment, where they no longer count,
until small segments are merged. A file that nothing refers to any more is removed after GRACE seconds.
"""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import blurtrain
from analysis.collecting.arrow_tables import together
from blurtrain.errors import RunError
from blurtrain.files import held, publish
from blurtrain.settings import PRESETS

FOLDER = ".collected"
KINDS = ("measures", "epochs")
GRACE = 600.0
"""Seconds that another process may go on reading what it has found."""
PATIENCE = 120.0
"""Seconds to wait for another process that collects."""
SMALL, MOST_SMALL = 200, 16
"""Segments of fewer runs are merged once there are more of them than MOST_SMALL."""
_META = b"blurtrain"


class DamagedError(Exception):
    """What is kept cannot be read."""


@dataclass
class Store:
    """A folder of collected tables; `keeper` removes one that is temporary."""

    folder: Path
    keeper: Any = None

    @classmethod
    def of(cls, runs: Path) -> "Store":
        """The one that is kept among the runs, or else a temporary one."""
        store = cls(runs / FOLDER)
        try:
            store.folder.mkdir(exist_ok=True)
            store.now_ns()
        except OSError:
            return cls.temporary()
        return store

    @classmethod
    def temporary(cls) -> "Store":
        """One in a folder of its own, which goes when the store, or the process, does."""
        keeper = tempfile.TemporaryDirectory(prefix="blurtrain-", ignore_cleanup_errors=True)
        return cls(Path(keeper.name), keeper)

    def now_ns(self) -> int:
        """The time by the clock of its file system. Raises OSError where nothing can be written."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".now-") as now:
            return os.fstat(now.fileno()).st_ctime_ns

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether no other process collects here now; after some patience."""
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(held(self.folder / "lock", PATIENCE))
            except (RunError, OSError):  # no locks here: two that write do each other no harm, but do all twice
                yield True
            else:
                yield lock is not None

    # --- the table of runs --------------------------------------------------------------------------------------------

    def runs(self) -> Any | None:
        """The table of runs; None where there is none, or one by other code or of other presets."""
        try:
            table = pq.read_table(self.folder / "runs.parquet")
            meta = json.loads(table.schema.metadata[_META])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        return table if meta["made_by"] == made_by() else None

    def publish(self, table: Any) -> None:
        """Replace the table of runs; raises RunError where it cannot be written."""
        out = pa.BufferOutputStream()
        meta = {_META: json.dumps({"made_by": made_by()}).encode()}
        pq.write_table(table.replace_schema_metadata(meta), out, compression="zstd")
        publish(self.folder / "runs.parquet", memoryview(out.getvalue()))
        self._sweep({str(name) for name in pc.unique(table["segment"]).to_pylist()})

    # --- segments -----------------------------------------------------------------------------------------------------

    def write(self, tables: Sequence[Any]) -> str:
        """Write a table for each of KINDS, as a new segment; returns its name."""
        segment = secrets.token_hex(6)
        for kind, table in zip(KINDS, tables, strict=True):
            pq.write_table(table, self._file(kind, segment), compression="zstd", compression_level=1)
        return segment

    def read(self, kind: str, segment: str, columns: Sequence[str] | None = None) -> Any:
        """Some columns (those that it has) of one segment; raises DamagedError where it is gone or damaged."""
        try:
            file = pq.ParquetFile(self._file(kind, segment))
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            return file.read(columns=names, use_threads=True)
        except (OSError, pa.ArrowException) as error:
            raise DamagedError(str(error)) from None

    def columns(self, kind: str, segment: str) -> list[str]:
        """The names of the columns of one segment; raises DamagedError."""
        try:
            return list(pq.read_schema(self._file(kind, segment)).names)
        except (OSError, pa.ArrowException) as error:
            raise DamagedError(str(error)) from None

    def merged(self, table: Any) -> Any:
        """The table of runs, once small segments are merged where there are many; raises DamagedError."""
        sizes = {s["values"]: s["counts"] for s in pc.value_counts(table["segment"]).to_pylist()}
        small = [segment for segment, size in sizes.items() if size < SMALL]
        if len(small) <= MOST_SMALL:
            return table
        names, of = table["run_id"].to_pylist(), table["segment"].to_pylist()
        tables = []
        for kind in KINDS:
            parts = []
            for segment in small:
                part = self.read(kind, segment)
                live = pa.array([name for name, own in zip(names, of, strict=True) if own == segment])
                parts.append(part.filter(pc.is_in(part["run_id"].cast(pa.string()), value_set=live)))
            tables.append(together(parts))
        new = self.write(tables)
        segments = pa.array([new if own in small else own for own in of])
        return table.set_column(table.column_names.index("segment"), "segment", segments)

    def discard(self) -> None:
        """Let all be read again."""
        with contextlib.suppress(OSError):
            (self.folder / "runs.parquet").unlink(missing_ok=True)

    def _file(self, kind: str, segment: str) -> Path:
        return self.folder / f"{kind}-{segment}.parquet"

    def _sweep(self, used: set[str]) -> None:
        """Remove what nothing refers to, some time after it was found so."""
        marks = self.folder / "unused.json"
        with contextlib.suppress(OSError, ValueError, RunError):
            found = {path.name for path in self.folder.glob("*-*.parquet") if path.stem.split("-")[1] not in used}
            before = json.loads(marks.read_text()) if marks.exists() else {}
            now = time.time()
            since = {name: float(before.get(name, now)) for name in sorted(found)}
            for name, when in since.items():
                if now - when > GRACE:
                    (self.folder / name).unlink(missing_ok=True)
            if since or before:
                publish(marks, json.dumps(since))


@functools.cache
def made_by() -> str:
    """A hash of all that what is kept follows from beside the runs: the code that reads them, and the presets."""
    top = Path(blurtrain.__file__).parent
    folders = [
        Path(__file__).parent,
        Path(__file__).parents[1],
        top,
        *(top / name for name in ("settings", "blur", "tasks")),
    ]
    files = [path for folder in folders for path in folder.glob("*.py")]
    files += [path for kind in ("regimes", "models") for path in (PRESETS / kind).glob("*.yaml")]
    content = hashlib.sha256()
    for path in sorted(files):
        content.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()
