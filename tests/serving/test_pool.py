"""The pool: bounded, requests first, and no worker is lost."""

import threading
from concurrent.futures import CancelledError, Future

import pytest

from blurtrain.serving.pool import Full, Pool


def busy(pool: Pool) -> tuple[threading.Event, "Future[bool]"]:
    """Work that lasts until the event is set, and has begun."""
    begun, go = threading.Event(), threading.Event()
    future = pool.submit(lambda: (begun.set(), go.wait(30))[1])
    assert begun.wait(30)
    return go, future


def test_requests_come_before_batch_jobs() -> None:
    pool, order = Pool(1, 10), list[str]()
    go, _ = busy(pool)
    futures = [pool.submit(lambda: order.append("job"), background=True) for _ in range(2)]
    futures += [pool.submit(lambda: order.append("request")) for _ in range(2)]
    go.set()
    for future in futures:
        future.result(30)
    assert order == ["request", "request", "job", "job"]
    pool.close()


def test_more_than_may_wait_are_refused() -> None:
    pool = Pool(1, 3)
    go, first = busy(pool)
    waiting = [pool.submit(lambda: 1) for _ in range(3)]
    assert pool.waiting == 3
    with pytest.raises(Full, match="too many photos are waiting"):
        pool.submit(lambda: 1)
    go.set()
    assert first.result(30) and [future.result(30) for future in waiting] == [1, 1, 1]
    pool.close()
    with pytest.raises(Full):
        pool.submit(lambda: 1)


@pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit, KeyboardInterrupt])
def test_a_worker_outlives_what_it_does(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("it")

    pool = Pool(2, 100)
    for _ in range(10):
        with pytest.raises(error):
            pool.submit(fail).result(30)
    assert pool.alive == 2 and pool.submit(lambda: 5).result(30) == 5
    pool.close()
    assert pool.alive == 0


def test_what_waits_is_cancelled_when_it_is_closed() -> None:
    pool = Pool(1, 10)
    go, first = busy(pool)
    waiting = [pool.submit(lambda: 1), pool.submit(lambda: 1, background=True)]
    threading.Timer(0.1, go.set).start()
    pool.close()
    assert first.result(0)
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(0)
