"""A SLURM cluster on this host for tests marked `slurm`: four nodes of eight pretend GPUs, up once a session."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from outcomes import Undisturbed
from simulated import PREFIX, Cluster, new_directory, simulator, take_down, wait

REQUIRED = os.environ.get("BLURTRAIN_REQUIRE_SLURM") == "1"


def _cannot(reason: str) -> NoReturn:
    if REQUIRED:
        pytest.fail(f"no SLURM simulator: {reason}", pytrace=False)
    pytest.skip(f"no SLURM simulator: {reason}")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The simulator, installed where root allows, up with short waiting times; down again whatever happens.

    Skips with the reason where it cannot run; fails there with BLURTRAIN_REQUIRE_SLURM=1. Where network namespaces
    are not permitted, `cluster.network` is False and links cannot be cut.
    """
    if (done := simulator("install", timeout=600)).returncode:
        _cannot(done.stderr.strip().splitlines()[-1])
    if (done := simulator("check")).returncode:
        _cannot(done.stdout.strip())
    network = (done := simulator("check", "--network")).returncode == 0
    if REQUIRED and not network:
        _cannot(done.stdout.strip())
    _sweep()
    directory = new_directory()
    terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `timeout` ends us: tear down, too
    try:
        done = simulator(
            *("up", "--dir", str(directory), "--grace", "5", "--kill-wait", "2", *(["--network"] if network else []))
        )
        assert done.returncode == 0, done.stderr
        exports = simulator("env", "--dir", str(directory)).stdout.split()
        env = dict(word.split("=", 1) for word in exports if "=" in word)
        yield Cluster(directory, {**os.environ, **env, **_compiled_once(tmp_path_factory.mktemp("numba"))}, network)
    finally:
        take_down(directory)
        signal.signal(signal.SIGTERM, terminated)


def _compiled_once(folder: Path) -> dict[str, str]:
    """Variables with which jobs find in `folder` what others have compiled (see `by_content`)."""
    paths = [str(Path(__file__).parent / "on_the_path"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "NUMBA_CACHE_DIR": str(folder),
        "NUMBA_CACHE_LOCATOR_CLASSES": "by_content.ByContent",
    }


def _sweep() -> None:
    """Take down what earlier sessions left that were killed by -9: directories carry their session's process id."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if not Path(f"/proc/{directory.name.removeprefix(PREFIX).split('-')[0]}").exists():
            take_down(directory)


@pytest.fixture
def quiet(cluster: Cluster) -> Iterator[Cluster]:
    """`cluster` with no job on it, all nodes idle, before and after the test."""
    yield cluster
    if _at_rest(cluster):
        return
    cluster.run("scancel", "--user=root")
    cluster.run("scancel", "--user=root", "--signal=KILL")
    wait("the queue to be empty", lambda: not cluster.run("squeue", "--noheader"))
    for line in set(cluster.run("sinfo", "-h", "-N", "-o", "%N %T").splitlines()):
        name, state = line.split()
        if "drain" in state or "down" in state:  # by a fault that went wrong: it must not fail all later tests as well
            cluster.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
    wait("all nodes to be idle", lambda: _at_rest(cluster))


def _at_rest(cluster: Cluster) -> bool:
    states = set(cluster.run("sinfo", "-h", "-N", "-o", "%T").split())
    return states == {"idle"} and not cluster.run("squeue", "--noheader")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))
