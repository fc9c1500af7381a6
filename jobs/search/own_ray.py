"""A Ray of our own on a node: nothing of it is shared with other people's, nothing of it stays."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blurtrain.files import held

VARIABLES = {
    "RAY_AUTH_MODE": "token",  # and no token of the user's is made, or taken
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would end the actor and not the training that it started
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in settings may begin in the folder where the search was started
    "RAY_worker_niceness": "0",  # and not 15: trials are what the node is for
    "RAY_prestart_worker_first_driver": "0",  # else one process a core of the node
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600000",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "200",
    "RAY_AIR_NEW_OUTPUT": "0",
}
TEMPORARY, PREFIX, OWNER = Path("/tmp"), "bt-", "owner"
"""On a node's own disk; and short, as paths of sockets end at 107 bytes."""
REST_SECONDS = 10.0
STORE_BYTES = 100 * 2**20
"""Of Ray's object store, in which nothing large is ever put."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What SLURM sends to every process of a job that is to save and end. Ray outlives them, for the trials to be ended in
good order."""


@contextlib.contextmanager
def node_folder() -> Iterator[Path]:
    """A folder on this node's disk, removed at the end, like those whose owners were killed."""
    for path in TEMPORARY.glob(f"{PREFIX}*/{OWNER}"):
        with contextlib.suppress(OSError):
            if path.stat().st_uid == os.getuid():
                with held(path, patience=0.0) as abandoned:
                    if abandoned is not None:
                        _end_rest(path.parent)  # agents outlive a driver that was killed by a minute
                        shutil.rmtree(path.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TEMPORARY))
    try:
        with held(folder / OWNER):
            yield folder
    finally:
        _end_rest(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_rest(folder: Path) -> None:
    """Kill the processes of Ray that still have this folder: those that had only begun when Ray was shut down would
    make it anew."""
    deadline = time.monotonic() + REST_SECONDS
    while (left := _processes_of_ray(folder)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _processes_of_ray(folder: Path) -> list[int]:
    """Those that are Ray's own; not trainings, which are to save."""
    found, mark = [], f"RAY_TMPDIR={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            words = (process / "cmdline").read_bytes().split(b"\0")
            of_ray = any(b"/ray/" in word or word.startswith(b"ray::") for word in words)
            if of_ray and (mark in (process / "environ").read_bytes().split(b"\0") or _has_open(process, folder)):
                found.append(int(process.name))
    return found


def _has_open(process: Path, folder: Path) -> bool:
    """Whether a process has a file in the folder open, as its log: agents write their title over their environment."""
    return any(str(descriptor.readlink()).startswith(f"{folder}/") for descriptor in (process / "fd").iterdir())


def environment(folder: Path, token: str) -> dict[str, str]:
    """The variables of every process that has to do with a Ray of this folder and token."""
    theirs = ("RAY_ADDRESS", "RAY_JOB_ID", "RAY_AUTH_TOKEN_PATH", "RAY_RUNTIME_ENV_HOOK", "RAY_START_HOOK")
    kept = {k: v for k, v in os.environ.items() if k not in theirs}
    return {**kept, **VARIABLES, "RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(folder), "TMPDIR": str(folder)}


@contextlib.contextmanager
def variables(env: Mapping[str, str]) -> Iterator[None]:
    """Be in another environment for a while."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """What is started meanwhile never gets SIGNALS, nor do its children, unless they unblock them (see jobs.leash)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def local_ray(cpus: int, gpus: int) -> Iterator[Path]:
    """A Ray on this machine that this process is connected to. Yields its folder."""
    with node_folder() as folder, variables(environment(folder, secrets.token_hex(16))), head(folder, cpus, gpus):
        yield folder


@contextlib.contextmanager
def head(folder: Path, cpus: int, gpus: int, ip: str = "127.0.0.1") -> Iterator[str]:
    """A Ray that others may join at this address, in an environment made for it; yields where, as ip:port. It takes
    ports that are free."""
    import ray
    from ray import _raylet

    # What it read of the variables when it was first imported, by whomever, may be another's.
    loaded: Any = _raylet
    with contextlib.suppress(AttributeError):  # not Ray's public interface; needed where it was imported before
        loaded.Config.initialize("")
        loaded.AuthenticationTokenLoader.instance().reset_cache()
    with signals_blocked():
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address=ip,
            _temp_dir=str(folder / "ray"),
        )
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, signal.getsignal(number))  # Ray's own would end this process
    try:
        yield str(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def joining(folder: Path, cpus: int, gpus: int, ip: str, address: str) -> list[str]:
    """The command by which a node joins the Ray at an address, and stays until it is killed."""
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={address}"),
        *(f"--node-ip-address={ip}", f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--temp-dir={folder / 'ray'}"),
        *(f"--object-store-memory={STORE_BYTES}", "--dashboard-agent-listen-port=0"),
    ]
