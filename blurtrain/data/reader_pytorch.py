"""Reading by the worker processes of torch's DataLoader, without FFCV."""

import mmap
import multiprocessing.util
import signal
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from blurtrain.data.pixel_reader import failed, stalled
from blurtrain.data.store import PixelStore
from blurtrain.errors import DataError

_AHEAD = 2  # batches that each worker may be ahead

# A scheduler or a terminal sends these to all processes of a job, but the parent decides what then ends, and when.
_FOR_THE_PARENT = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


class PyTorchReader:
    """Workers are forked for each epoch, and write the pixels into memory that they share with this process.

    So only the numbers of batches go through torch's queues. A tensor in there would be no more than an address to
    fetch it at, and a worker that hangs would have this process wait for it without end.
    """

    def __init__(self, store: PixelStore, workers: int, stalled_seconds: float):
        self.store, self.workers, self.stalled_seconds = store, workers, stalled_seconds

    def batches(self, order: NDArray[np.int64], batch_size: int) -> Generator[Tensor]:
        """See `PixelReader`."""
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        if not parts:
            return
        count = min(self.workers, len(parts))
        slots = min(_AHEAD * count + 1, len(parts))  # one more, for the batch that is being used
        ring = _shared_memory((slots, len(parts[0]), *self.store.canvas, 3))
        workers = _Workers(_Reading(self.store, ring, parts), count, poll=min(1.0, self.stalled_seconds))
        try:
            for k, part in enumerate(parts):
                self._wait(workers, k)
                yield torch.from_numpy(ring[k % slots][: len(part)])
        finally:
            workers.stop()

    def _wait(self, workers: "_Workers", k: int) -> None:
        since = time.monotonic()
        while (answer := workers.answer()) is None:
            if died := workers.died():
                workers.kill()
                raise failed(self.store.beton, "pytorch", died)
            if time.monotonic() - since >= self.stalled_seconds:
                workers.kill()
                raise stalled(self.store.beton, "pytorch", self.stalled_seconds)
        if answer != k:
            raise DataError(str(answer))


def _shared_memory(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Of this process and those it forks; not a file in /dev/shm, which is small in many containers."""
    return np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)


@dataclass(frozen=True)
class _Reading:
    """What the workers do, as the data set of a DataLoader whose samples are whole batches."""

    store: PixelStore
    ring: NDArray[np.uint8]
    parts: Sequence[NDArray[np.int64]]

    def __getitem__(self, k: int) -> int | str:
        """Read batch `k` into its slot; returns k, or what went wrong."""
        try:
            self.store.read(self.parts[k], out=self.ring[k % len(self.ring)][: len(self.parts[k])])
        except DataError as error:
            return str(error)
        except Exception as error:
            return str(failed(self.store.beton, "pytorch", f"a worker raised {type(error).__name__}: {error}"))
        return k


class _Workers:
    """The worker processes of one epoch."""

    def __init__(self, reading: _Reading, count: int, poll: float):
        loader = DataLoader(
            reading,
            batch_size=None,
            sampler=range(len(reading.parts)),
            num_workers=count,
            prefetch_factor=_AHEAD,
            timeout=poll,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # or torch would draw a seed from its global state
        )
        before = signal.getsignal(signal.SIGCHLD)
        torchs = str(getattr(before, "__module__", "")).startswith(
            "torch."
        )  # of a DataLoader elsewhere in this process
        heeded = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)  # which the workers inherit
        try:
            with warnings.catch_warnings():
                # Forked although this process has threads: what the workers do (NumPy, reading, Pillow) takes no lock
                # that one of these may hold, and a worker that hangs all the same is found by `stalled_seconds`. Any
                # other way would import the user's script anew in each worker, and need named shared memory.
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                self._answers: Iterator[int | str] = iter(loader)
        finally:
            if threading.current_thread() is threading.main_thread():
                # torch's own raises wherever the main thread happens to be; here a death is found by waiting for it.
                signal.signal(signal.SIGCHLD, signal.SIG_DFL if torchs or before is None else before)
            signal.pthread_sigmask(signal.SIG_SETMASK, heeded)
        self._processes: list[BaseProcess] = self._answers._workers  # type: ignore[attr-defined]
        # Also at exit, where Python would send them a SIGTERM, and wait.
        self.kill = multiprocessing.util.Finalize(None, _kill, [self._processes], exitpriority=1)

    def answer(self) -> int | str | None:
        """The next batch's number, or what went wrong with it; none where there is nothing yet, or a worker died."""
        try:
            return next(self._answers)
        except RuntimeError:
            return None

    def died(self) -> str:
        """What became of a worker that is no more; "" if all are there."""
        for number, code in enumerate(process.exitcode for process in self._processes):
            if code is not None and code < 0:
                name = signal.Signals(-code).name
                return f"worker {number} was killed by {name}{' (out of memory?)' * (name == 'SIGKILL')}"
            if code is not None:
                return f"worker {number} exited with code {code}"
        return ""

    def stop(self) -> None:
        del self._answers  # upon which torch asks its workers to end, and waits for them
        self.kill()


def _kill(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.kill()
