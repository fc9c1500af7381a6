"""Processes that share the work of preparing."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any


def end_with_parent() -> None:
    """In a process of a pool: let it end when the one that started it has been killed, and nothing comes any more."""
    parent = multiprocessing.parent_process()
    assert parent

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def without_script() -> Iterator[None]:
    """Processes that are started in here do not run the user's script again.

    multiprocessing imports it anew in each, for what may be defined there. Nothing of ours is, and a script of a few
    lines, `blurtrain.prepare(...)` among them, has no `if __name__ == "__main__":`.
    """
    names: dict[str, Any] = sys.modules["__main__"].__dict__
    kept: dict[str, Any] = {name: names.pop(name) for name in ("__file__", "__spec__") if name in names}
    names["__spec__"] = None
    try:
        yield
    finally:
        names.update(kept)
