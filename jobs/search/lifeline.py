"""A line from the first process of a job to the others: what it says, and that it lives."""

import contextlib
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from blurtrain.errors import JobError
from blurtrain.files import read_json
from jobs import scheduler

PATIENCE_SECONDS = 600.0
"""So long the others wait for the first one."""
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}
"""A host that has lost power is missed after 45 s."""


@dataclass(frozen=True)
class Invitation:
    """What the first process leaves for the others, in a file that only its user can read."""

    host: str
    port: int
    token: str
    """Of their Ray."""

    def publish(self, path: Path) -> None:
        """As a whole, and closed to others from the beginning."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)

    @classmethod
    def found(cls, path: Path) -> "Invitation":
        """Wait for it. Raises JobError where it does not come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            # By a listing, as NFS goes on denying a file that it has once been asked for in vain.
            if path in path.parent.glob("*.json") and (document := read_json(path)):
                return cls(**document)
            time.sleep(0.1)
        raise JobError(f"{path}: did not come within {PATIENCE_SECONDS:g} s: has the first node started?")


class Lifeline:
    """The end of the first process: all that it says reaches all others, also those that come later."""

    def __init__(self, address: str):
        self._server = socket.create_server((address, 0))  # the system gives a port that is free, ours at once
        self.invitation = Invitation(address, self._server.getsockname()[1], secrets.token_hex(16))
        self._said, self._others, self._lock = list[bytes](), list[socket.socket](), threading.Lock()
        threading.Thread(target=self._welcome, daemon=True).start()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                other, _ = self._server.accept()
                with self._lock:
                    self._others.append(other)
                    self._send(other, b"".join(self._said))

    def say(self, *words: object) -> None:
        """One line to all."""
        line = " ".join(map(str, words)).encode() + b"\n"
        with self._lock:
            self._said.append(line)
            for other in self._others:
                self._send(other, line)

    def _send(self, other: socket.socket, content: bytes) -> None:
        with contextlib.suppress(OSError):  # it has gone
            other.sendall(content)


@contextlib.contextmanager
def connected(invitation: Invitation) -> Iterator[tuple[IO[bytes], str]]:
    """The other end: a file of lines, which ends when the first process has; and our own address on the way to it.
    Raises JobError where the first process is not there."""
    try:
        line = socket.create_connection((invitation.host, invitation.port), timeout=60)
    except OSError as error:
        raise JobError(f"{invitation.host}: the first process of this job does not answer: {error}") from None
    with line:
        line.settimeout(None)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in KEEPALIVE.items():
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
        with line.makefile("rb") as lines:
            yield lines, line.getsockname()[0]


def own_address() -> str:
    """Our address on the way to another node of this SLURM step; on a single node, the loopback's."""
    hosts = scheduler.ask("scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]).split()
    own = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    for host in hosts:
        if host != own:
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, 9))  # of a datagram socket, nothing is sent
                return str(probe.getsockname()[0])
    return "127.0.0.1"
