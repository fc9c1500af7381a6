"""The service on a socket: uvicorn, which closes connections on which nothing comes."""

import asyncio
import json
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from blurtrain.errors import SettingsError
from blurtrain.serving.app import application
from blurtrain.serving.service import Service


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at this address (port 0: any), so that clients may come before `run`, and wait.

    Raises SettingsError where it cannot be had.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, number)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        raise SettingsError(f"--host {host} --port {port}: {getattr(error, 'strerror', None) or error}") from None
    return sock


def run(service: Service, sock: socket.socket, token: str | None) -> None:
    """Serve until a signal ends it; what is being answered is answered, and the service closed."""
    config = uvicorn.Config(
        application(service, token), http=_connections(service), loop="asyncio", ws="none", lifespan="on",
        log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[sock])


def _connections(service: Service) -> type[asyncio.Protocol]:
    patience, most = service.limits.patience, service.limits.connections

    class Connection(H11Protocol):
        """One connection; closed when no request has come, or gone on, for a while (uvicorn itself would wait)."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._before: object = self
            self._timer = self.loop.call_later(patience, self._watch)
            if len(self.connections) > most:
                transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()  # which would keep all of the connection until its time
            super().connection_lost(exc)

        def _watch(self) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self._before is (self.cycle or self):
                self.transport.abort()
                return
            self._before = (self.cycle or self) if idle else None
            self._timer = self.loop.call_later(patience, self._watch)

        def send_400_response(self, msg: str) -> None:
            """As JSON, as all other errors."""
            body = json.dumps({"error": msg}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Connection
