"""Where a store is written before it has its name: `<root>/.stores/.writing-*`. What killed preparations leave of them,
the next one removes."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from blurtrain.errors import RunError
from blurtrain.files import held, is_held

_PREFIX, _LOCK = ".writing-", "lock"
_BEGINNING = 3600.0
"""Seconds in which a folder without a lock may be one whose preparation is about to take it."""


@contextlib.contextmanager
def workspace(stores: Path) -> Iterator[Path]:
    """A new folder, which is gone in the end; those that nobody works in any more go first."""
    stores.mkdir(parents=True, exist_ok=True)
    sweep(stores)
    with tempfile.TemporaryDirectory(dir=stores, prefix=_PREFIX) as folder, contextlib.ExitStack() as lock:
        with contextlib.suppress(RunError):  # a file system without locks: there, leftovers stay
            lock.enter_context(held(Path(folder, _LOCK)))
        yield Path(folder)


def sweep(stores: Path) -> None:
    """Remove what killed preparations have left."""
    for folder in stores.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, RunError):
            lock = folder / _LOCK
            age = time.time() - folder.stat().st_mtime
            if not is_held(lock) if lock.exists() else age > _BEGINNING:
                shutil.rmtree(folder)
