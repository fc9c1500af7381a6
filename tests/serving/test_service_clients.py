"""Clients that are slow, cut off, or send no HTTP: they are answered or left, and the service goes on."""

import json
import socket
import time
from pathlib import Path

from photo_files import encoded, photo
from serving_process import BOUNDARY, CLASSIFY, Serving, multipart

HEAD = (
    f"POST {CLASSIFY} HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    "Content-Length: 100000\r\n\r\n"
).encode()


def opened(serving: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", serving.port), timeout=30)


def rest(sock: socket.socket) -> bytes:
    """All that comes until the service closes the connection."""
    found = b""
    try:
        while part := sock.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def first_answer(sock: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"}"):
        part = sock.recv(65536)
        assert part, found
        found += part
    return found


def test_who_sends_too_slowly_is_refused(serving: Serving) -> None:
    with opened(serving) as sock:
        sock.sendall(HEAD + multipart([("a.jpg", b"abc")])[:100])
        answered = first_answer(sock)
    assert answered.startswith(b"HTTP/1.1 408 ") and b'{"error":"too slow: ' in answered


def test_who_goes_on_slowly_is_refused_too(serving: Serving) -> None:
    with opened(serving) as sock:
        sock.sendall(HEAD + multipart([("a.jpg", b"abc")])[:100])
        sock.settimeout(0.1)
        found, deadline = b"", time.monotonic() + 30
        while not found.endswith(b"}"):
            assert time.monotonic() < deadline
            try:
                found += sock.recv(65536)
            except TimeoutError:
                sock.sendall(b"x")
    assert found.startswith(b"HTTP/1.1 408 ")


def test_connections_on_which_no_request_comes_are_closed(serving: Serving) -> None:
    with opened(serving) as silent, opened(serving) as half, opened(serving) as kept:
        half.sendall(HEAD[:40])
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        assert rest(silent) == b"" and rest(half) == b""
        assert rest(kept).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_refused_in_json(serving: Serving) -> None:
    with opened(serving) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        head, _, body = rest(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
    assert list(json.loads(body)) == ["error"]


def test_uploads_that_break_off_cost_nothing(serving: Serving) -> None:
    content = encoded(photo(1))
    for _ in range(30):
        with opened(serving) as sock:
            sock.sendall(HEAD + multipart([("a.jpg", content)])[:500])
    deadline = time.monotonic() + 30
    while serving.metric("blur_upload_bytes"):
        assert time.monotonic() < deadline
    workers = serving.metric("blur_workers")
    assert workers >= 1 and serving.post(CLASSIFY, [("a.jpg", content)]).status == 200


def test_slow_clients_hold_nobody_up(serving: Serving) -> None:
    slow = [opened(serving) for _ in range(40)]
    try:
        for sock in slow:
            sock.sendall(HEAD + multipart([("a.jpg", b"abc")])[:100])
        answered = [serving.post(CLASSIFY, [("a.jpg", encoded(photo(k)))]).status for k in range(5)]
        assert answered == [200] * 5
    finally:
        for sock in slow:
            sock.close()


def test_too_many_photos_at_once_are_refused_with_a_time_to_come_back(model: Path, tmp_path: Path) -> None:
    limits = {"waiting": 0}
    with Serving(model, tmp_path / "jobs", limits) as one:
        answered = one.post(CLASSIFY, [("a.jpg", encoded(photo(1)))])
        assert answered.status == 503 and answered.headers["retry-after"] == "1"
        assert "too many photos are waiting" in answered.json["error"]
    with Serving(model, tmp_path / "jobs", {"upload_bytes": 100}) as one:
        answered = one.post(CLASSIFY, [("a.jpg", encoded(photo(1)))])
        assert answered.status == 503 and answered.headers["retry-after"] == "2"
