"""Grids on this machine: a few workers, started through submitit's local executor, take runs from a queue.

    <runs>/.local/locks/<run id>         held (flock) by whoever trains that run: no run is trained twice at a time
    <runs>/.local/queues/<stamp>/        one submission: queue.json, settings/, logs/, taken/<run id>, workers/<k>

A lock is let go by the kernel when its holder dies, however it dies, so nothing has to be cleaned up.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from blurtrain.errors import JobError
from blurtrain.files import held, is_held, publish, read_json, write_json
from blurtrain.run import Run
from blurtrain.settings import dump
from jobs.grid import Member

A_YEAR = 365 * 24 * 60  # in minutes: submitit ends its local jobs after two unless told otherwise
START_SECONDS = 60.0


def submit(members: Sequence[Member], runs: Path, at_a_time: int = 0) -> list[Member]:
    """Start the members that are neither done, running nor queued, at most `at_a_time` at a time; returns those.

    at_a_time 0: one a processor core, but no more than eight. Comes back at once; the workers go on without us.
    """
    local = runs / ".local"
    try:
        (local / "locks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{runs}: cannot be written: {error.strerror}; choose another --runs") from None
    with held(local / "submitting", patience=START_SECONDS) as alone:
        if not alone:
            raise JobError(f"{local}: another submission has been under way for {START_SECONDS:g} s; try again later")
        waiting = queued(runs)
        missing = [
            m
            for m in members
            if Run(runs / m.run_id).result() is None and m.run_id not in waiting and not running(runs, m.run_id)
        ]
        if not missing:
            return []
        (local / "queues").mkdir(exist_ok=True)
        queue = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-", time.gmtime()), dir=local / "queues"))
        for name in ("settings", "logs", "taken", "workers"):
            (queue / name).mkdir()
        for member in missing:
            publish(queue / "settings" / f"{member.run_id}.yaml", dump(member.settings))
        cores = len(os.sched_getaffinity(0))
        count = min(at_a_time or min(cores, 8), len(missing))
        write_json(queue / "queue.json", [m.run_id for m in missing])
        _start_workers(queue, runs.resolve(), count)
    return missing


def _start_workers(queue: Path, runs: Path, count: int) -> None:
    import submitit

    executor = submitit.LocalExecutor(folder=queue / "submitit")
    executor.update_parameters(timeout_min=A_YEAR, tasks_per_node=1)
    cores, gpus = sorted(os.sched_getaffinity(0)), _gpus()
    with _signals_ignored(signal.SIGHUP, signal.SIGINT):  # inherited: workers outlive this terminal and its Ctrl-C
        for k in range(count):
            share = cores[k::count] or [cores[k % len(cores)]]
            # None: as torch finds them, since submitit would hide them.
            gpu = gpus[k % len(gpus)] if gpus else "" if "CUDA_VISIBLE_DEVICES" in os.environ else None
            executor.submit(work, queue.resolve(), runs, k, share, gpu)
    deadline = time.monotonic() + START_SECONDS
    while not all(
        is_held(queue / "workers" / str(k)) or (queue / "workers" / f"{k}.done").exists() for k in range(count)
    ):
        if time.monotonic() > deadline:
            raise JobError(f"{queue}: the workers did not start in {START_SECONDS:g} s; see {queue / 'submitit'}")
        time.sleep(0.05)


def work(queue: Path, runs: Path, number: int, cores: Sequence[int], gpu: str | None) -> None:
    """What a worker does: take runs from the queue until none is left. Runs in a submitit job."""
    with held(queue / "workers" / str(number)):
        # Whatever torch finds its cores to be, the runs at work side by side do not get into each other's way.
        os.sched_setaffinity(0, cores)
        for run_id in read_json(queue / "queue.json") or []:
            if (queue / "cancelled").exists():
                break
            if (queue / "taken" / run_id).exists():
                continue
            # First the lock and then the mark: in between, it would seem to be neither queued nor running.
            with held(runs / ".local" / "locks" / run_id) as alone:
                try:
                    (queue / "taken" / run_id).mkdir()
                except FileExistsError:
                    continue
                if alone and Run(runs / run_id).result() is None:
                    _train(queue, runs, run_id, gpu, alone)
        (queue / "workers" / f"{number}.done").touch()


def _train(queue: Path, runs: Path, run_id: str, gpu: str | None, lock: IO[bytes]) -> None:
    command = [
        sys.executable,
        "-m",
        "blurtrain",
        "train",
        str(queue / "settings" / f"{run_id}.yaml"),
        "--runs",
        str(runs),
    ]
    environment = dict(os.environ)
    if gpu is None:
        environment.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    # A process of its own: whatever one run does, the next starts afresh.
    with (queue / "logs" / f"{run_id}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(lock.fileno(),),  # should this worker be killed, the run is still locked while it is trained
        )
        while (code := process.poll()) is None:
            time.sleep(0.2)
            if (queue / "cancelled").exists():
                process.terminate()
    write_json(queue / "logs" / f"{run_id}.exit.json", {"code": code})


def cancel(runs: Path, members: Sequence[Member] | None = None) -> list[str]:
    """Tell the local workers of this folder to stop, or only those of submissions with one of these runs in them;
    returns the runs that were running or queued there."""
    wanted = None if members is None else {member.run_id for member in members}
    stopped: list[str] = []
    waiting = queued(runs)
    for queue in (runs / ".local" / "queues").glob("*"):
        held_here = read_json(queue / "queue.json") or []
        if _has_workers(queue) and (wanted is None or wanted & set(held_here)):
            stopped += [r for r in held_here if waiting.get(r) == queue.name or is_locked(runs, r)]
            (queue / "cancelled").touch()
    return stopped


def was_cancelled(runs: Path, run_id: str) -> bool:
    """Whether the newest submission of this run was cancelled."""
    queues = [p.parent.parent for p in sorted((runs / ".local" / "queues").glob(f"*/settings/{run_id}.yaml"))]
    return bool(queues) and (queues[-1] / "cancelled").exists()


def is_locked(runs: Path, run_id: str) -> bool:
    """Whether a local worker is at this run now."""
    return is_held(runs / ".local" / "locks" / run_id)


def newest_queues(runs: Path) -> dict[str, str]:
    """The name of the newest local submission that held each run."""
    return {
        path.stem: path.parent.parent.name for path in sorted((runs / ".local" / "queues").glob("*/settings/*.yaml"))
    }


def running(runs: Path, run_id: str) -> bool:
    """Whether a local worker, or somebody by hand, is training this run now."""
    return is_locked(runs, run_id) or Run(runs / run_id).beats()


def _has_workers(queue: Path) -> bool:
    return any(is_held(worker) for worker in (queue / "workers").glob("[0-9]*"))


def queued(runs: Path) -> dict[str, str]:
    """Runs that wait in the queue of living workers, with the name of the queue."""
    waiting: dict[str, str] = {}
    for queue in sorted((runs / ".local" / "queues").glob("*")):
        if not (queue / "cancelled").exists() and _has_workers(queue):
            taken = {p.name for p in (queue / "taken").iterdir()}
            waiting |= {run_id: queue.name for run_id in read_json(queue / "queue.json") or [] if run_id not in taken}
    return waiting


def last_exit(runs: Path, run_id: str) -> tuple[int | None, str]:
    """Exit code and last line of output of the newest local process of this run; (None, "") if there was none."""
    logs = sorted((runs / ".local" / "queues").glob(f"*/logs/{run_id}.log"))
    if not logs:
        return None, ""
    code = (read_json(logs[-1].with_suffix(".exit.json")) or {}).get("code")
    lines = logs[-1].read_text(errors="replace").strip().splitlines()
    return code, lines[-1] if lines else ""


def _gpus() -> list[str]:
    """The GPUs that this process was given, or that the machine has; found without torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    return [str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


@contextlib.contextmanager
def _signals_ignored(*signals: signal.Signals) -> Iterator[None]:
    before = [signal.signal(s, signal.SIG_IGN) for s in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
