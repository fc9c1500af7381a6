"""How long the next bytes of an upload are waited for, by a client that is a function."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from serving_process import BOUNDARY, multipart

from blurtrain.serving.limits import Limits, Refused
from blurtrain.serving.uploads import Begin, End, pieces

requests = pytest.importorskip("starlette.requests")

BODY = multipart([("a.jpg", bytes(1_000_000))])
FOREVER = 1e6


def received(chunks: Sequence[tuple[float, bytes]], limits: Limits) -> list[Any]:
    """The pieces of a body whose chunks each come after so many seconds."""
    coming = iter(chunks)

    async def receive() -> dict[str, Any]:
        after, body = next(coming, (FOREVER, b""))
        await asyncio.sleep(after)
        return {"type": "http.request", "body": body, "more_body": not body.endswith(b"--\r\n")}

    kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
    request = requests.Request({"type": "http", "headers": [(b"content-type", kind)]}, receive)

    async def all_of_it() -> list[Any]:
        return [piece async for piece in pieces(request, limits, 10_000_000)]

    return asyncio.run(asyncio.wait_for(all_of_it(), 10))


@pytest.mark.parametrize("goes_on", [[], [(0.04, b"x")] * 500])
def test_who_has_sent_much_may_not_be_silent_or_slow_for_longer(goes_on: list[tuple[float, bytes]]) -> None:
    with pytest.raises(Refused, match="too slow") as refused:  # at 10 kB a second it would have 100 s
        received([(0, BODY[:-100]), *goes_on], Limits(patience=0.1))
    assert refused.value.status == 408


def test_who_keeps_to_the_rate_may_take_longer_than_the_patience() -> None:
    parts = [BODY[first : first + 50_000] for first in range(0, len(BODY), 50_000)]
    found = received([(0.01, part) for part in parts], Limits(patience=0.1, slowest=100_000))
    assert isinstance(found[0], Begin) and isinstance(found[-1], End)
    assert sum(map(len, found[1:-1])) == 1_000_000
