"""Many run directories read, by several processes where they are many."""

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.collecting.arrow_tables import epochs_table, measures_table, runs_table, together
from analysis.collecting.read_run import RunRead, read_run
from analysis.collecting.read_settings import SettingsReader
from analysis.collecting.store import Store
from blurtrain.errors import BlurtrainError

IN_A_SEGMENT = 256
WORTH_A_PROCESS = 400
"""With more runs than that for each, another process is started."""
Progress = Callable[[int, int], object]
Failures = list[tuple[str, str]]

_SERVE = (
    "import json, sys; q = json.load(sys.stdin); sys.path[:] = q['path']; "
    "from analysis.collecting import reading; reading.serve(q)"
)


def read_runs(folder: Path, names: Sequence[str], store: Store, progress: Progress) -> tuple[Any, Failures]:
    """Read these runs in `folder`, and write segments of what they hold; returns their rows, with `segment`, and which
    cannot be read, and why."""
    count = max(1, min(_cores(), len(names) // WORTH_A_PROCESS))
    chunks = [names[k : k + IN_A_SEGMENT] for k in range(0, len(names), IN_A_SEGMENT)]
    if count > 1:  # whole chunks for each, as equal as they come
        size = -(-len(names) // (count * -(-len(names) // (count * IN_A_SEGMENT))))
        chunks = [names[k : k + size] for k in range(0, len(names), size)]
    shares = [chunks[k::count] for k in range(count)]
    with tempfile.TemporaryDirectory(prefix="blurtrain-") as place:
        workers = [_Worker(folder, share, store, Path(place) / f"{k}.arrow") for k, share in enumerate(shares[1:])]
        try:
            tables, failures = read_here(
                folder, shares[0], store, lambda done, of: progress(min(count * done, len(names)), len(names))
            )
            for worker in workers:
                rows, again = worker.result()
                # What it could not read may be read here, as a part of the user's own that only this process finds.
                more, failed = read_here(folder, again, store)
                tables += [*rows, *more]
                failures += failed
        finally:
            for worker in workers:
                worker.end()
    progress(len(names), len(names))
    return together(tables) if tables else None, failures


def read_here(
    folder: Path, chunks: Sequence[Sequence[str]], store: Store, progress: Progress = lambda done, total: None
) -> tuple[list[Any], Failures]:
    """As `read_runs`, by this process; a segment a chunk."""
    with _little_garbage():
        return _read_here(folder, chunks, store, progress)


@contextlib.contextmanager
def _little_garbage() -> Iterator[None]:
    """What is read are millions of objects without circles: to look for such so often takes a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _read_here(
    folder: Path, chunks: Sequence[Sequence[str]], store: Store, progress: Progress
) -> tuple[list[Any], Failures]:
    reader = SettingsReader()
    tables: list[Any] = []
    failures: Failures = []
    done, total = 0, sum(map(len, chunks))
    for chunk in chunks:
        read = []
        for name in chunk:
            try:
                read.append(read_run(folder / name, reader))
            except BlurtrainError as error:
                failures.append((name, str(error)))
            except Exception as error:  # what one odd directory holds must not hide thousands of others
                failures.append((name, f"cannot be read: {type(error).__name__}: {error}"))
            done += 1
            if not done % 50:
                progress(done, total)
        if read:
            tables += _segments(read, store, failures)
    return tables, failures


def _segments(read: Sequence[RunRead], store: Store, failures: Failures) -> list[Any]:
    """The rows of some runs, all of them in one segment unless one of them does not fit in."""
    try:
        tables = runs_table(read), measures_table(read), epochs_table(read)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if len(read) == 1:
            failures.append((read[0].row["run_id"], f"holds what no table can: {error}"))
            return []
        return [table for run in read for table in _segments([run], store, failures)]
    rows, *others = tables
    segment = store.write(others)
    return [rows.append_column("segment", pa.array([segment] * len(read)))]


class _Worker:
    """Another process that reads. Not by `multiprocessing`, which would run a user's script again from its top."""

    def __init__(self, folder: Path, chunks: Sequence[Sequence[str]], store: Store, out: Path):
        self.chunks, self.out = [list(chunk) for chunk in chunks], out
        task = {"path": sys.path, "folder": str(folder.resolve()), "chunks": self.chunks,
                "store": str(store.folder.resolve()), "out": str(out)}  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin
        # One that has died says so by its exit code.
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(json.dumps(task).encode())

    def result(self) -> tuple[list[Any], list[list[str]]]:
        """Its rows, and the runs that are to be read by another."""
        if self._process.wait() != 0 or not self.out.exists():
            return [], self.chunks
        table = pa.ipc.open_file(pa.BufferReader(self.out.read_bytes())).read_all()
        again = json.loads(table.schema.metadata[b"failed"])
        return [table.replace_schema_metadata(None)], [again] if again else []

    def end(self) -> None:
        """Where it is still at work, nobody waits for it any more."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def serve(task: dict[str, Any]) -> None:
    """What a worker does."""
    folder, store = Path(task["folder"]), Store(Path(task["store"]))
    tables, failures = read_here(folder, task["chunks"], store)
    if tables:
        whole = together(tables)
        meta = {b"failed": json.dumps([name for name, _ in failures]).encode()}
        table = whole.replace_schema_metadata(meta)
        with pa.OSFile(task["out"], "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
