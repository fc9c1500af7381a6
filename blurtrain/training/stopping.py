"""Signals that ask a training to stop in good order: at the same step on all processes, with everything saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)


class StopRequest:
    """Whether a signal has come, and which."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @classmethod
    @contextlib.contextmanager
    def never(cls) -> Iterator["StopRequest"]:
        """One that nothing is heard by: for a training that takes over no signals."""
        yield cls()

    def receive(self, number: int, _: FrameType | None) -> None:
        """A handler of signals; the second Ctrl-C stops at once, for whoever will not wait for the save."""
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGUSR1, SIGUSR2 and SIGINT into a request as long as this lasts (in the main thread: elsewhere
    Python allows no handlers, and signals do what they did before)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: it was not Python's
