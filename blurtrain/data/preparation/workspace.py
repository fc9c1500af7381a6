"""Where stores are written before they have their names: `<root>/.stores/.writing-<job>`.

A job is known by what it is to do. Where it was killed or interrupted, its folder stays, and the next call takes it up;
one that is not taken up for a week, the next preparation of anything removes.
"""

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
_KEPT = 7 * 24 * 3600.0


@contextlib.contextmanager
def workspace(stores: Path, job: str) -> Iterator[Path]:
    """The folder of a job, with what an earlier call has left there. It is gone when the work has ended, or failed; and
    stays where it is interrupted.

    Where another process is at the same job, or the file system has no locks: a new folder, which is always gone.
    """
    stores.mkdir(parents=True, exist_ok=True)
    sweep(stores)
    folder = stores / f"{_PREFIX}{job}"
    with contextlib.ExitStack() as lock:
        folder.mkdir(exist_ok=True)
        ours = None
        with contextlib.suppress(RunError):
            ours = lock.enter_context(held(folder / _LOCK, patience=0.2))
        if ours is None:
            folder = Path(lock.enter_context(tempfile.TemporaryDirectory(dir=stores, prefix=f"{_PREFIX}{job}-")))
            with contextlib.suppress(RunError):
                lock.enter_context(held(folder / _LOCK))
        try:
            yield folder
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def sweep(stores: Path, kept: float = _KEPT) -> None:
    """Remove what killed preparations have left that nobody has taken up for so many seconds."""
    for folder in stores.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, RunError):
            lock = folder / _LOCK
            age = time.time() - max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            resumed = "-" not in folder.name.removeprefix(_PREFIX)
            if is_held(lock) if lock.exists() else age < _BEGINNING:
                continue
            if not resumed or age >= kept:
                shutil.rmtree(folder)
