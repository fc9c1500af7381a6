"""Signals become requests as long as a training lasts, and no longer."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from blurtrain.training.stopping import SIGNALS, StopRequest, stop_signals


@pytest.fixture(autouse=True)
def received() -> Iterator[list[int]]:
    """Signals that came through to whoever had handled them before."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in SIGNALS}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_becomes_a_request(number: signal.Signals, received: list[int]) -> None:
    with stop_signals() as stop:
        assert not stop and stop.signal is None
        send(number)
        assert stop and stop.signal is number
    assert stop and not received
    send(number)
    assert received == [number], "handlers are put back"


def test_handlers_are_put_back_whatever_ends_the_training(received: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(ArithmeticError), stop_signals() as stop:
        assert [signal.getsignal(number) for number in SIGNALS] == [stop.receive] * len(SIGNALS)
        raise ArithmeticError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_second_ctrl_c_stops_at_once(received: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals() as stop:
        send(signal.SIGINT)
        assert stop.signal is signal.SIGINT
        send(signal.SIGINT)
    send(signal.SIGINT)
    assert received == [signal.SIGINT]


def test_other_signals_stop_in_good_order_however_many_come(received: list[int]) -> None:
    with stop_signals() as stop:
        for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            send(number)
        assert stop.signal is signal.SIGINT, "the first Ctrl-C asks, whatever came before it"
    assert not received


def test_outside_the_main_thread_nothing_is_touched(received: list[int]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    inside = []

    def train() -> None:
        with stop_signals() as stop:
            inside.append([signal.getsignal(number) for number in SIGNALS])
            os.kill(os.getpid(), signal.SIGTERM)
            inside.append(bool(stop))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert inside == [before, False] and received == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_request_is_true_from_the_signal_on() -> None:
    request = StopRequest()
    assert not request
    request.receive(signal.SIGUSR2, None)
    assert request and request.signal is signal.SIGUSR2
