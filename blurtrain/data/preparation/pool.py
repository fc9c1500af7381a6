"""Processes that share the work of preparing."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any

from blurtrain.data.encode import Form, Prepared, Work, prepared
from blurtrain.data.source import Source, content_of
from blurtrain.errors import DataError

_BYTES_AT_A_TIME = 2**21
_LEAST, MOST = 8, 64
"""Images that go to a process at a time, so that they come back as about so many bytes."""


def prepared_by_all(
    work: Iterable[tuple[Source, Sequence[Form]]], workers: int, megapixels: float | None, bits: int | None
) -> Iterator[Prepared]:
    """The results of `blurtrain.data.encode.prepared` in the order of the work, by so many processes. Few are ahead of
    what is asked for, so that memory does not grow with the work.

    Raises BrokenProcessPool where one of the processes dies.
    """
    context = multiprocessing.get_context("forkserver")
    shared = chunks(work)
    with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
        waiting = deque[Future[list[Prepared]]]()
        with without_script():  # all processes are started with the first chunks
            for chunk in islice(shared, 2 * workers):
                waiting.append(pool.submit(prepared, chunk, megapixels, bits))
        try:
            while waiting:
                yield from waiting.popleft().result()
                for chunk in islice(shared, 1):
                    waiting.append(pool.submit(prepared, chunk, megapixels, bits))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def chunks(work: Iterable[tuple[Source, Sequence[Form]]]) -> Iterator[list[Work]]:
    """What goes to one process at a time: what comes out of one file stays together, up to MOST; all frames of a video,
    which is then decoded once, from its beginning."""
    chunk: list[Work] = []
    weight = 0
    for source, forms in work:
        together = chunk and source.row is None and chunk[-1][0].path == source.path
        enough = len(chunk) >= _LEAST and (weight >= _BYTES_AT_A_TIME or len(chunk) >= MOST)
        if (enough and not together) or (len(chunk) >= MOST and not (together and source.time is not None)):
            yield chunk
            chunk, weight = [], 0
        chunk.append((source, forms, _of_table(source)))
        weight += sum(3 * form.canvas[0] * form.canvas[1] for form in forms)
    if chunk:
        yield chunk


def _of_table(source: Source) -> bytes | None:
    """The bytes of an image in a table: read here, in the order of the rows, and not by each process anew."""
    if source.row is None:
        return None
    with contextlib.suppress(OSError, DataError):  # who decodes it says why
        return content_of(source)
    return None


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
