"""A search in a SLURM job: one process on each node that keeps the processes there, and leaves none behind.

srun -> this process on each node -> node 0: the driver, with the head of a Ray; others: a node that joins that Ray
                                     -> actors -> the trainings of a trial

SLURM's signals reach all of them. Trainings save and end; the driver ends the trials, then itself; Ray is deaf to them.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from blurtrain.errors import JobError, SettingsError
from blurtrain.files import publish
from blurtrain.run import RENDEZVOUS
from blurtrain.trials import Study
from jobs.search.driver import Place, Report, Session, search_at
from jobs.search.file import SearchFile
from jobs.search.lifeline import Invitation, Lifeline, connected, own_address
from jobs.search.own_ray import SIGNALS, environment, head, joining, node_folder, signals_blocked
from jobs.search.trial import SAVE_SECONDS

ADDRESS = "BLURTRAIN_SEARCH_ADDRESS"
"""The variable by which the driver is given its node's address."""
AGAIN_SECONDS = 3.0
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def is_driver() -> bool:
    """Whether this process is the one that `keep_node` starts on node 0."""
    return ADDRESS in os.environ


# --- the driver -----------------------------------------------------------------------------------------------------


def drive_job(file: SearchFile, runs: Path, report: Report, stop: threading.Event) -> Study:
    """Search on all nodes of this job."""
    place = place_in_job(file)
    return search_at(place, lambda: _head(place), Session(file, runs, report), stop)


def place_in_job(file: SearchFile) -> Place:
    """What this job has on each node. Raises SettingsError where a trial does not fit."""
    cpus, gpus, nodes = _cpus(), len(_gpus()), int(os.environ["SLURM_STEP_NUM_NODES"])
    wanted, k = file.search.resources, len(file.search.seeds)
    each = wanted.gpus if gpus else 0
    place = Place(max(1, each) * (wanted.cpus_per_gpu or 1), each, cpus, gpus, nodes)
    if not place.slots(file):
        raise SettingsError(f"{file.where}: a trial of {k} seeds does not fit on a node of {gpus} GPUs, {cpus} cores")
    return place


@contextlib.contextmanager
def _head(place: Place) -> Iterator[Path]:
    folder = Path(os.environ["RAY_TMPDIR"])
    with head(folder, place.total_cpus, place.total_gpus, os.environ[ADDRESS]) as address:
        publish(folder / "address", address)
        yield folder


def _cpus() -> int:
    return int(os.environ.get("SLURM_CPUS_PER_TASK") or len(os.sched_getaffinity(0)))


def _gpus() -> list[str]:
    return [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]


# --- a node ---------------------------------------------------------------------------------------------------------


def keep_node(study: Study, command: Sequence[str]) -> int:
    """Be the process of this node until the search has ended; returns the exit code of its driver, on each node.
    command: what the driver is started with."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what is orphaned below us becomes our child
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)  # the trainings and the driver act on them
    invitation = study.folder / "nodes" / f"{os.environ[RENDEZVOUS]}.json"
    with node_folder() as folder:
        try:
            if os.environ["SLURM_PROCID"] == "0":
                return _first_node(invitation, folder, command)
            return _other_node(invitation, folder, study.folder / "logs" / f"{os.environ['SLURMD_NODENAME']}.log")
        finally:
            end_descendants(SAVE_SECONDS)


def _first_node(invitation: Path, folder: Path, command: Sequence[str]) -> int:
    address = own_address()
    line = Lifeline(address)
    for former in invitation.parent.glob("*.json"):  # of starts that were killed
        former.unlink(missing_ok=True)
    line.invitation.publish(invitation)
    env = {**environment(folder, line.invitation.token), ADDRESS: address}
    driver = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env)
    ray, said = folder / "address", False
    try:
        while driver.poll() is None:
            if not said and ray.exists():
                line.say("ray", ray.read_text())
                said = True
            time.sleep(0.1)
    finally:
        invitation.unlink(missing_ok=True)
    code = driver.returncode if driver.returncode >= 0 else 128 - driver.returncode
    line.say("end", code)
    return code


def _other_node(invitation: Path, folder: Path, log: Path) -> int:
    """Join the first node's Ray, again where that fails, until the first node says that it has ended."""
    invited, over = Invitation.found(invitation), threading.Event()
    env = environment(folder, invited.token)
    try:
        with connected(invited) as (lines, own):
            for line in lines:
                word, value = line.decode().split()
                if word == "end":
                    return int(value)
                command = joining(folder, _cpus(), len(_gpus()), own, value)
                threading.Thread(target=_stay_joined, args=(command, env, log, over), daemon=True).start()
    finally:
        over.set()
    raise JobError("the process of the first node is gone")


def _stay_joined(command: Sequence[str], env: dict[str, str], log: Path, over: threading.Event) -> None:
    while not over.is_set():
        with log.open("ab") as output, signals_blocked():
            joined = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
        joined.wait()
        over.wait(AGAIN_SECONDS)


# --- the end --------------------------------------------------------------------------------------------------------


def end_descendants(patience: float) -> None:
    """End every process below this one: trainings are asked to save, and killed after `patience` seconds; others,
    Ray's, are killed at once."""
    asked, deadline = set[int](), time.monotonic() + patience
    while below := _descendants():
        trainings = {pid for pid, (_, words) in below.items() if _trains(words)}
        for pid in below:
            late, saves = time.monotonic() > deadline, not trainings.isdisjoint(_line(pid, below))
            with contextlib.suppress(ProcessLookupError):
                if late or not saves:
                    os.kill(pid, signal.SIGKILL)
                elif pid in trainings and pid not in asked:
                    asked.add(pid)
                    os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


def _trains(words: Sequence[str]) -> bool:
    return any(words[k : k + 3] == ["-m", "blurtrain", "train"] for k in range(len(words)))


def _line(pid: int, below: dict[int, tuple[int, list[str]]]) -> list[int]:
    """A process and those above it, as far as they are below us."""
    found = []
    while pid in below:
        found.append(pid)
        pid = below[pid][0]
    return found


def _descendants() -> dict[int, tuple[int, list[str]]]:
    """The processes below this one, each with its parent and its command line."""
    found: dict[int, tuple[int, list[str]]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(process.name)] = parent, (process / "cmdline").read_text().split("\0")

    def is_below(pid: int) -> bool:
        while pid in found:
            pid = found[pid][0]
            if pid == os.getpid():
                return True
        return False

    return {pid: entry for pid, entry in found.items() if is_below(pid)}
