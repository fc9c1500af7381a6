"""What every request goes through: the token, headers that a browser keeps to, metrics."""

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse, Response

from blurtrain.serving.limits import Refused
from blurtrain.serving.metrics import Metrics

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

OPEN = ("/", "/page.js", "/page.css", "/docs", "/openapi.json", "/health")
"""What needs no token: it shows no photo and no answer."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What is counted by its name: of others a client may think of any number."""
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
     b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]  # fmt: skip


def answer(error: Refused) -> Response:
    """A refusal as JSON."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": str(error)}, error.status, headers)


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: App, metrics: Metrics, token: str | None) -> None:
        self._app, self._metrics, self._token = app, metrics, token

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]],
                       send: Callable[[Message], Awaitable[None]]) -> None:  # fmt: skip
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            refused = self._refused(scope)
            await (self._app if refused is None else answer(refused))(scope, receive, guarded)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            method = "any" if path == "other" else scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.count(method, path, status, time.monotonic() - started)

    def _refused(self, scope: Message) -> Refused | None:
        headers = dict(scope["headers"])
        if headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] != "GET":
            return Refused(403, "sent by the page of another site")
        if self._token is None or scope["path"] in OPEN:
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token.encode()):
            return None
        return Refused(401, "send the token of this service: Authorization: Bearer TOKEN")
