"""Files of a multipart request as they arrive: nothing is kept here, and who sends too slowly is refused."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from blurtrain.serving.limits import Limits, Refused

AROUND = 65_536
"""Bytes of a request beside its photo."""


class Begin(str):
    """The name of a file that begins, as the client gives it: to be shown, never to be opened."""


class End:
    """The file is complete."""


Piece = Begin | bytes | End


async def pieces(request: Request, limits: Limits, most: int) -> AsyncIterator[Piece]:
    """Of each file of a multipart body: its name, its bytes, its end. Fields that are no files are skipped.

    most: bytes of the body. Raises Refused: 415 for another kind of body, 413 for a larger one, 408 for a slower one,
    400 for one that is cut off or no multipart.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused(415, "send photos as multipart/form-data, as a form or `curl --form file=@PHOTO` does")
    if int(request.headers.get("content-length") or 0) > most:
        raise Refused(413, f"larger than {most / 1e6:.0f} MB")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        async for chunk in _body(request, limits, most):
            parser.write(chunk)
            for piece in parts.taken():
                yield piece
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"no valid multipart/form-data: {error}") from None
    if not parts.ended:
        raise Refused(400, "the upload ends before its last boundary")


async def _body(request: Request, limits: Limits, most: int) -> AsyncIterator[bytes]:
    started, received, left = time.monotonic(), 0, limits.patience
    while True:
        waiting = time.monotonic()
        try:
            message = await asyncio.wait_for(request.receive(), max(left, 0.001))
        except TimeoutError:
            raise Refused(408, f"too slow: {received} bytes in {time.monotonic() - started:.0f} s") from None
        left -= time.monotonic() - waiting  # not what was done in between, which is no fault of the client
        if message["type"] == "http.disconnect":
            raise Refused(400, "the connection ended before the upload did")
        body: bytes = message.get("body", b"")
        received += len(body)
        left = min(left + len(body) / limits.slowest, limits.patience)  # nobody buys hours by sending much at first
        if received > most:
            raise Refused(413, f"larger than {most / 1e6:.0f} MB")
        if body:
            yield body
        if not message.get("more_body", False):
            return


class _Parts:
    """What a parser calls; which collects the pieces of files."""

    def __init__(self) -> None:
        self.ended = False
        self._found: list[Piece] = []
        self._is_file = False
        self._field, self._value, self._disposition = b"", b"", b""

    def callbacks(self) -> dict[str, Any]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end",
                 "headers_finished", "end")  # fmt: skip
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def taken(self) -> list[Piece]:
        found, self._found = self._found, []
        return found

    def _part_begin(self) -> None:
        self._is_file, self._disposition = False, b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        if name is not None:
            self._is_file = True
            self._found.append(Begin(name.decode(errors="replace")[:255]))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._found.append(data[start:end])

    def _part_end(self) -> None:
        if self._is_file:
            self._found.append(End())

    def _end(self) -> None:
        self.ended = True
