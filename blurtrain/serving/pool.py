"""Threads that decode photos and run the network: a fixed number, requests before batch jobs, a bounded queue."""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from blurtrain.errors import BlurtrainError

T = TypeVar("T")


class Full(BlurtrainError):
    """More work waits already than the pool keeps."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Pool:
    """`workers` threads; at most `waiting` requests wait. Work of batch jobs is done while no request waits."""

    def __init__(self, workers: int, waiting: int) -> None:
        self.workers, self._most = workers, waiting
        self._urgent: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._background: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"photo-{k}", daemon=True) for k in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T], background: bool = False) -> "Future[T]":
        """The future of what `work` gives. Raises Full where too many requests wait, or the pool is closed; the work of
        batch jobs is not counted, for whoever submits that waits for it."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed or (not background and len(self._urgent) >= self._most):
                raise Full("too many photos are waiting: try again in a moment")
            (self._background if background else self._urgent).append((future, work))
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """Requests that no worker has begun with."""
        return len(self._urgent)

    @property
    def alive(self) -> int:
        """Workers that are there."""
        return sum(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """End the workers when they are done with what they are at; what waits is cancelled."""
        with self._changed:
            self._closed = True
            for future, _ in [*self._urgent, *self._background]:
                future.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._urgent or self._background or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                future, work = (self._urgent or self._background).popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # a worker outlives whatever a photo does to it
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, work
