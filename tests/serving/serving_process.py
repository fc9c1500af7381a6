"""A service in a process of its own, and a client for it that needs no package."""

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

CLASSIFY = "/api/v1/blur/classify"
BATCH = f"{CLASSIFY}/batch"
BOUNDARY = "----boundary-of-a-test"
SCRIPT = """
import json, sys
from pathlib import Path
from blurtrain.serving import Detector
from blurtrain.serving.limits import Limits
from blurtrain.serving.server import bound, run
from blurtrain.serving.service import Service
model, jobs, limits, token = sys.argv[1:]
limits = json.loads(limits)
detector = Detector(model, limits.pop("megapixels", 60)) if model else None
limits = Limits(**limits)
sock = bound("127.0.0.1", 0)
service = Service(detector, Path(jobs), limits)
print("on http://127.0.0.1:%d" % sock.getsockname()[1], file=sys.stderr, flush=True)
run(service, sock, token or None)
"""


class Answered(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def multipart(files: Sequence[tuple[str, bytes]], field: str = "file") -> bytes:
    """Files, by their names, as the body of a form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class Serving:
    """Started by entering; `kill` and `start` may be repeated."""

    def __init__(
        self, model: Path | None, jobs: Path, limits: Mapping[str, Any] | None = None, token: str = ""
    ) -> None:
        self._arguments = ["" if model is None else str(model), str(jobs), json.dumps(limits or {}), token]
        self.token, self.jobs = token, jobs

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *self._arguments], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found[1])

    def kill(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def __enter__(self) -> "Serving":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill(signal.SIGTERM)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            return Answered(response.status, response.headers, response.read())  # type: ignore[arg-type]
        finally:
            connection.close()

    def post(self, path: str, files: Sequence[tuple[str, bytes]], **headers: str) -> Answered:
        """Send files as a form."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.ask("POST", path, multipart(files), {**kind, **headers})

    def finished(self, url: str, patience: float = 60) -> Any:
        """The document of a job that is done, with all of its results."""
        deadline = time.monotonic() + patience
        while (found := self.ask("GET", f"{url}?count=1000").json)["state"] != "done":
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def metric(self, name: str) -> float:
        """The value now of a metric, with its labels; 0: there is none yet."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)
