"""The processes of one run on this host: what they are given, what they report, and that they end with their parent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Training, codes, run

from blurtrain.errors import REQUEUE
from blurtrain.files import held, is_held
from blurtrain.run import RENDEZVOUS, Run
from blurtrain.settings import Settings, dump
from jobs.processes import RunProcesses, start

CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """`module(code)`: the name of a module of this code, for `python -m`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code: str) -> str:
        name = f"pretend_{len(list(tmp_path.glob('pretend_*.py')))}"
        (tmp_path / f"{name}.py").write_text(f"import json, os, signal, sys, time\n{code}")
        return name

    return write


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., RunProcesses]]:
    """`begin(module, *arguments, world=2)`, ended with the test."""
    started: list[RunProcesses] = []

    def call(*words: str, **given: Any) -> RunProcesses:
        whole = {"cores": CORES, "gpus": None, "world": 1, "log": tmp_path / "log", "env": os.environ, **given}
        started.append(start(words, **whole))
        return started[-1]

    yield call
    for one in started:
        one.stop(0)


def ended(processes: RunProcesses, seconds: float = 60) -> int:
    deadline = time.monotonic() + seconds
    while (code := processes.poll()) is None:
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.01)
    return code


SHOW = """
seen = {"cores": sorted(os.sched_getaffinity(0)), "words": sys.argv[1:], "env": dict(os.environ)}
open(f"{sys.argv[1]}/{os.environ.get('RANK', 'alone')}.json", "w").write(json.dumps(seen))
print("said", flush=True)
"""
STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}
JOB = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1", "SLURM_RESTART_COUNT": "3"}
OF_OTHERS = {"MASTER_ADDR": "elsewhere", "MASTER_PORT": "1", RENDEZVOUS: "of-others", "LOCAL_RANK": "5"}


@pytest.mark.parametrize("world", [1, 2])
def test_they_know_their_rank_their_job_and_nothing_of_other_launchers(
    begin: Callable[..., RunProcesses], module: Callable[[str], str], tmp_path: Path, world: int
) -> None:
    env = {**os.environ, **STEP, **JOB, **OF_OTHERS, "RANK": "5", "WORLD_SIZE": "9", "CUDA_VISIBLE_DEVICES": "0"}
    words = (module(SHOW), str(tmp_path), "a b")
    assert ended(begin(*words, world=world, env=env, cores=CORES[:1], gpus=["2", "5"])) == 0
    seen = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert len(seen) == world and (tmp_path / "log").read_text() == "said\n" * world
    for rank, one in enumerate(seen):
        assert one["cores"] == CORES[:1] and one["words"] == [str(tmp_path), "a b"]
        env = one["env"]
        assert not {*STEP, "MASTER_ADDR", "MASTER_PORT"} & set(env) and env.items() >= JOB.items()
        assert env["CUDA_VISIBLE_DEVICES"] == "2,5"
        several = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)} if world > 1 else {}
        assert {k: env[k] for k in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if k in env} == several
    rendezvous = {one["env"].get(RENDEZVOUS) for one in seen}
    assert len(rendezvous) == 1 and "of-others" not in rendezvous and (None in rendezvous) == (world == 1)
    assert ended(begin(*words, world=world, env={**os.environ, "CUDA_VISIBLE_DEVICES": "0"})) == 0
    again = json.loads(sorted(tmp_path.glob("*.json"))[0].read_text())["env"]
    assert "CUDA_VISIBLE_DEVICES" not in again
    assert world == 1 or again[RENDEZVOUS] not in rendezvous, "each start has a word of its own"


@pytest.mark.parametrize(
    ("code", "reported"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(75)", 75),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("rank = os.environ['RANK']; time.sleep(0.4 * (rank == '0')); sys.exit(2 if rank == '0' else 9)", 9),
        ("sys.exit(3 * int(os.environ['RANK']))", 3),
    ],
)
def test_the_exit_code_is_that_of_whoever_failed_first(
    begin: Callable[..., RunProcesses], module: Callable[[str], str], code: str, reported: int
) -> None:
    processes = begin(module(code), world=2)
    assert ended(processes) == reported == processes.poll()


SAVES = """
def save(*_):
    time.sleep(0.3)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
"""


def test_stopped_they_save_and_whoever_does_not_is_killed(
    begin: Callable[..., RunProcesses], module: Callable[[str], str], tmp_path: Path
) -> None:
    ready = "open(sys.argv[1] + os.environ['RANK'], 'w').close()\ntime.sleep(60)\n"
    good = begin(module(SAVES + ready), str(tmp_path / "good"), world=2)
    deaf = begin(module("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ready), str(tmp_path / "deaf"), world=2)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("good[01]"))) + len(list(tmp_path.glob("deaf[01]"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert good.poll() is None and deaf.poll() is None
    assert good.stop(30) == REQUEUE
    assert deaf.stop(0.2) == 128 + signal.SIGKILL
    assert not any(Path(f"/proc/{pid}").exists() for pid in [*good.pids, *deaf.pids])
    assert good.stop(30) == REQUEUE, "of those that have ended it only reports"


def test_peers_of_a_lost_one_are_ended_in_the_end(
    begin: Callable[..., RunProcesses], module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.processes.PEERS_SECONDS", 0.2)
    processes = begin(module("os.environ['RANK'] == '1' and sys.exit(4)\ntime.sleep(600)"), world=2)
    assert ended(processes) == 4


def test_a_lock_stays_held_as_long_as_they_live(
    begin: Callable[..., RunProcesses], module: Callable[[str], str], tmp_path: Path
) -> None:
    with held(tmp_path / "lock") as lock:
        processes = begin(module("time.sleep(60)"), lock=lock)
    assert is_held(tmp_path / "lock")
    processes.stop(10)
    assert not is_held(tmp_path / "lock")


# --- with their parent ----------------------------------------------------------------------------------------------

PARENT = """
import json, os, sys, time
from pathlib import Path
from jobs.processes import start
words, world, log = json.loads(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
started = start(words, cores=sorted(os.sched_getaffinity(0)), gpus=None, world=world, log=log, env=os.environ)
print(*started.pids, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """A zombie that nobody waits for (where process 1 does not) does not live."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("world", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_training_whose_parent_is_killed_saves_and_goes_on_later_with_the_same_bits(
    tiny: Callable[..., Settings], tmp_path: Path, world: int
) -> None:
    settings = tiny(
        optimisation={"epochs": 8}, evaluation={"batch_size": 4}, loader={"threads": 1}, logging={"every_steps": 1}
    )
    runs, file = tmp_path / "runs", tmp_path / "settings.yaml"
    file.write_text(dump(settings))
    words = json.dumps(["blurtrain", "train", str(file), "--runs", str(runs)])
    command = [sys.executable, "-c", PARENT, words, str(world), str(tmp_path / "log")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids: list[int] = []
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        until(lambda: any('"step"' in path.read_text() for path in runs.glob("*/attempts/0001/journal.jsonl")),
              "never began")  # fmt: skip
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
        until(lambda: not any(map(is_alive, pids)), f"outlives its parent: {(tmp_path / 'log').read_text()}", 30)
    finally:
        parent.kill()
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)
    (killed,) = (Run(path) for path in runs.glob("textures-*"))
    log = (tmp_path / "log").read_text()
    assert killed.result() is None and 0 < killed.saved_step() < 8 * 3, "it ended before its parent did"
    assert [*killed.journal()][-1]["event"] == "stopped" and log.count("stopped by SIGTERM") == world, log
    assert not list(runs.glob(".rendezvous/*"))
    undisturbed = tmp_path / "undisturbed"
    for folder in (runs, undisturbed):
        assert codes(run(*[Training(settings, folder)] * world)) == [0] * world
    (whole,) = (Run(path) for path in undisturbed.glob("textures-*"))
    assert killed.weights.read_bytes() == whole.weights.read_bytes()
    assert len(killed.attempts()) == 2
