"""How the processes of a run come together: by a store that rank 0 holds, where the launcher says (MASTER_ADDR), or
where rank 0 leaves its address in a file.

They wait for each other in Python: in torch's own waiting, Ctrl-C is not heard.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from blurtrain.errors import TrainingError, some_of
from blurtrain.files import publish, read_json

log = logging.getLogger(__name__)
_SAY_AFTER, _SAY_AGAIN = 10.0, 60.0
"""Seconds until it is said whom a process waits for."""
_LOOK = 0.05


@dataclass
class Waiting:
    """One process that waits for its peers."""

    rank: int
    world: int
    patience: timedelta
    launcher: str
    """On whose word."""

    def until(self, here: Callable[[], bool], whom: Callable[[], str]) -> None:
        """Returns once `here` says so; raises TrainingError where that takes too long. `whom`: who is waited for."""
        began = time.monotonic()
        say = _SAY_AFTER
        while not here():
            waited = time.monotonic() - began
            if waited > self.patience.total_seconds():
                raise TrainingError(
                    f"rank {self.rank} of {self.world} cannot join its peers: {whom()} did not come within "
                    f"{self.patience}; {self.cure}"
                )
            if waited > say:
                say = waited + _SAY_AGAIN
                log.warning("rank %d of %d waits for %s; %s", self.rank, self.world, whom(), self.cure)
            time.sleep(_LOOK)

    @property
    def cure(self) -> str:
        """The end of a message: where the number of processes is from."""
        return f"that there are {self.world} processes is what {self.launcher} say"

    def for_all(self, store: dist.Store) -> None:
        """Until all peers are at the store."""
        keys = {rank: f"here/{rank}" for rank in range(self.world)}
        store.set(keys[self.rank], "")

        def absent() -> str:
            ranks = [str(rank) for rank, key in keys.items() if not store.check([key])]
            return f"rank{'s' * (len(ranks) > 1)} {some_of(ranks, 8)}"

        self.until(lambda: store.check([*keys.values()]), absent)


def met_at(host: str, port: int, waiting: Waiting) -> dist.Store:
    """The store at the address that a launcher names, with all peers there. Raises TrainingError, RuntimeError,
    OSError."""
    if waiting.rank == 0:
        store = _held(host, port, waiting)
    else:
        waiting.until(lambda: _answers(host, port), lambda: f"rank 0 at {host}:{port}")
        store = _joined(host, port, waiting)
    waiting.for_all(store)
    return store


def met_by(file: Path, waiting: Waiting) -> dist.Store:
    """The store whose address rank 0 leaves in `file`, with all peers there. Raises as `met_at` does."""
    if waiting.rank == 0:
        host = "127.0.0.1" if _on_one_host() else _reachable_name()
        store = _held(host, 0, waiting)
        file.parent.mkdir(parents=True, exist_ok=True)
        publish(file, f'{{"host": "{host}", "port": {store.port}}}')
    else:
        # By a listing, as NFS goes on denying a file that it has once been asked for in vain.
        waiting.until(lambda: file in file.parent.glob("*.json"), lambda: f"rank 0 (it leaves its address in {file})")
        address: dict[str, Any] = read_json(file) or {}
        store = _joined(address["host"], address["port"], waiting)
    waiting.for_all(store)
    return store


def _held(host: str, port: int, waiting: Waiting) -> dist.TCPStore:
    listening = _listening(host, port)
    return dist.TCPStore(
        host, listening.getsockname()[1], waiting.world, is_master=True, timeout=waiting.patience,
        wait_for_workers=False, master_listen_fd=listening.detach(),
    )  # fmt: skip


def _joined(host: str, port: int, waiting: Waiting) -> dist.TCPStore:
    return dist.TCPStore(host, port, waiting.world, is_master=False, timeout=waiting.patience, wait_for_workers=False)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _on_one_host() -> bool:
    """Whether all peers are on this host: those of jobs.processes, and the tasks of a step on one node."""
    return "RANK" in os.environ or os.environ.get("SLURM_STEP_NUM_NODES") == "1"


def _listening(host: str, port: int) -> socket.socket:
    """A socket where peers that know `host` find it, and nobody else. Port 0: the system gives one that is free, and
    it is ours at once; no other job can take it in between."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # Some hosts call their own name a loopback, by which no other host comes to them.
    other_hosts_come = not _on_one_host() and str(address[0]).startswith(("127.", "::1"))
    try:
        return socket.create_server(("", port) if other_hosts_come else address[:2], family=family)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return socket.create_server(("", port), family=family)  # an address that is not this host's own, as behind NAT


def _reachable_name() -> str:
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
        return name
    except OSError:
        return "127.0.0.1"  # a machine without a name in the network has no peers elsewhere
