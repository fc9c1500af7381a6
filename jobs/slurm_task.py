"""What a SLURM job does: check its nodes, start the processes of its item (or of the few items that share its GPU), and
requeue itself where one could not be finished, to go on later or elsewhere.

This process never touches the GPU. It outlives whatever happens to the processes that it starts, and is not the one
that SLURM's warning signals go to: those reach the training itself, which saves and ends with REQUEUE.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from blurtrain.errors import REQUEUE, JobError
from blurtrain.files import read_json, write_json
from blurtrain.run import RENDEZVOUS, Run, slurm_job
from jobs import node, requeue
from jobs.cluster import Resources
from jobs.item import Item
from jobs.processes import PEERS_SECONDS

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
STOPPED = {REQUEUE, *(128 + s for s in WARNINGS)}
"""Exit codes of a process that was asked to stop: in good order, or so early that there was nothing to save yet."""
MOVES = 8
"""A job excludes unfit nodes at most so often: then it is not the nodes."""
TIMEOUTS = 3
"""An item may reach its time limit so often without having come further than before."""
NONE = {"failures": 0, "moves": 0, "timeouts": 0, "saved_step": 0}
"""What is counted of an item, before anything has happened."""
LOOK_AGAIN_SECONDS, ASK_AGAIN_SECONDS = 6 * 3600.0, 60.0
"""So often a job looks at its time limit, and where SLURM did not say it."""
CANCELLED_SECONDS = 5.0
"""So often a job that several items share looks whether one of them is cancelled."""
SLURM_LOOKS_SECONDS = 60.0
"""SLURM may warn of the time limit so much too early: it looks every 30 s."""


@dataclass(frozen=True)
class Task:
    """One job's work: it travels in the job itself."""

    runs: Path
    submission: Path
    items: tuple[Item, ...]
    """Several share a GPU."""
    resources: Resources
    cpus: int
    """Of each process."""
    failures: int
    """How often an item may end in an error and be tried again."""
    warning: float
    """Seconds before the time limit at which it is asked to stop."""
    start: int
    """Seconds that SLURM may take to start its processes."""


def work(task: Task) -> str:
    """What submitit calls in the job; returns how it ended. Raises JobError where the job is to be seen as failed."""
    with _warnings_survived():
        if (task.submission / "abandoned").exists():
            return "abandoned: its submission was interrupted"
        open_, spent = _open(task)
        if not open_:
            return "nothing left to do"
        try:
            unfit, problems = _check_nodes(task)
        except StoppedEarly:
            return requeue.requeue_job("stopped before it began")
        if problems:
            return _after(task, {item.id: 1 for item in open_}, spent, "; ".join(problems))
        if unfit:
            return _requeue_elsewhere(task, [item.id for item in open_], unfit)
        codes, late = _run(task, open_)
        stopped = [item for item, code in codes.items() if code in STOPPED]
        print(f"exit codes: {codes}{', by the time limit' if stopped and late else ''}", flush=True)
        timeouts = [_count(task, item, "timeouts") for item in stopped if late]
        if timeouts and min(timeouts) > TIMEOUTS:
            _give_up(task, stopped, f"no progress within {TIMEOUTS} time limits of {task.resources.minutes} minutes: "
                     "give it more resources.minutes")  # fmt: skip
        return _after(task, codes, spent)


def after_kill(task: Task, number: int) -> str:
    """What to do once the process that was to call `work` here was killed by a signal: the items' own processes may
    still be there, and end with the job."""
    open_, spent = _open(task)
    if not open_:
        return "nothing left to do"
    if not requeue.is_ours():
        return "SLURM has taken the job back: left alone"
    return _after(task, {item.id: 128 + number for item in open_}, spent, f"the job was killed by signal {number}")


def _open(task: Task) -> tuple[list[Item], list[str]]:
    """The items that are to be trained, and those that have failed too often for that. Raises JobError where there are
    only such."""
    left = [item for item in task.items if not _over(task, item.id)]
    spent = [item.id for item in left if _counts(task, item.id)["failures"] > task.failures]
    open_ = [item for item in left if item.id not in spent]
    if spent and not open_:
        raise JobError(f"{', '.join(spent)}: failed before; see {task.submission / 'logs'}")
    return open_, spent


def _after(task: Task, codes: Mapping[str, int], spent: Sequence[str], why: str = "") -> str:
    """What to do once items have ended with these exit codes, beside others that failed too often before."""
    stopped = [item for item, code in codes.items() if code in STOPPED]
    failed = [item for item, code in codes.items() if code and code not in STOPPED]
    if failed and requeue.is_forgotten():
        return requeue.await_end(f"{', '.join(failed)} ended with an error")
    tried = {item: _count(task, item, "failures") for item in failed}
    if stopped or any(times <= task.failures for times in tried.values()):
        ended = [f"{item} ended with {codes[item]}" for item in [*stopped, *failed]]
        return requeue.requeue_job(why or ", ".join(ended))
    if why:
        _give_up(task, failed, why)
    if failed or spent:
        raise JobError(f"{', '.join([*failed, *spent])}: failed; see {task.submission / 'logs'}")
    return "done"


def _over(task: Task, item: str) -> bool:
    return (task.runs / item / "result.json").exists() or _is_cancelled(task, item)


def _is_cancelled(task: Task, item: str) -> bool:
    return (task.submission / "cancelled" / item).exists()


@contextlib.contextmanager
def _warnings_survived() -> Iterator[None]:
    """The processes act on signals, we wait for them. (submitit's own handlers would end the job.)"""
    before = {number: signal.signal(number, lambda *_: None) for number in WARNINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- processes ------------------------------------------------------------------------------------------------------


def srun(wanted: Resources, tasks: int, cpus: int, start: int, *command: str, log: Path | None = None) -> list[str]:
    """The Python module `command`, as so many processes on each node of this job, that print into `log`.

    Without the limit of `start` seconds it would wait for ever for a slurmctld that was killed as it started the job,
    and has since lost count of the GPUs.
    """
    gpus = [f"--gpus-per-node={wanted.gpus}"] if wanted.gpus else []
    into = [f"--output={str(log).replace('%', '%%')}", "--open-mode=append"] if log else []
    return [
        *("srun", f"--nodes={wanted.nodes}", f"--ntasks={wanted.nodes * tasks}", f"--ntasks-per-node={tasks}"),
        *(f"--cpus-per-task={cpus}", *gpus, "--overlap", "--export=ALL", "--kill-on-bad-exit=0"),
        *(f"--immediate={start}", f"--wait={PEERS_SECONDS}", *into),
        *(sys.executable, "-m", *command),
    ]


def _run(task: Task, items: Sequence[Item]) -> tuple[dict[str, int], bool]:
    """Run the items side by side; the exit code of each, and whether the time limit ended them."""
    processes, attempts = {}, {}
    for item in items:
        cpus, tasks = max(1, task.cpus // len(items)), task.resources.tasks
        if item.process_per_node:
            cpus, tasks = cpus * tasks, 1
        log = task.submission / "logs" / f"{item.id}.log"
        attempts[item.id] = len(Run(task.runs / item.id).attempts())
        words = item.words(task.submission / "settings")
        processes[item.id] = subprocess.Popen(
            srun(task.resources, tasks, cpus, task.start, *words, log=log),
            stdin=subprocess.DEVNULL,
            env={**os.environ, RENDEZVOUS: uuid.uuid4().hex},
        )
    codes, late = _wait(task, processes)
    for item_id, code in codes.items():
        if code and (_over(task, item_id) or _taken_over(Run(task.runs / item_id), attempts[item_id])):
            codes[item_id] = 0  # this job has been cut off, and another one has it, or had it
    codes = {item_id: code if code >= 0 else 128 - code for item_id, code in codes.items()}
    for item_id, code in codes.items():
        with contextlib.suppress(Exception):  # a full disk
            write_json(task.submission / "logs" / f"{item_id}.exit.json", {"code": code})
    return codes, late


def _wait(task: Task, processes: Mapping[str, subprocess.Popen[bytes]]) -> tuple[dict[str, int], bool]:
    """The exit code of each, once all have ended; and whether that was because of the time limit.

    `task.warning` seconds before it they are asked to stop. SLURM does so too, but a signal that comes before the
    training has begun is lost. Of several, those that are cancelled meanwhile are asked to, and the others go on.
    """
    end, look, going, cancelled, shared = math.inf, 0.0, dict(processes), set[str](), len(processes) > 1
    while going:
        now = time.time()
        if now >= look:
            known = requeue.time_limit()  # it may be moved meanwhile
            end, look = known or end, now + (LOOK_AGAIN_SECONDS if known else ASK_AGAIN_SECONDS)
        late = now >= end - task.warning
        for item, process in going.items():
            if shared and item not in cancelled and _is_cancelled(task, item):
                print(f"{item} is cancelled, and asked to stop", flush=True)
                cancelled.add(item)
            if late or item in cancelled:
                process.send_signal(signal.SIGUSR2)  # srun passes it on; to one that has ended nothing is sent
        if late:
            break
        until = min(end - task.warning, look, now + CANCELLED_SECONDS if shared else math.inf)
        try:
            for item in list(going):
                going[item].wait(max(0.0, until - time.time()))
                going.pop(item)
        except subprocess.TimeoutExpired:
            continue
    codes = {item: process.wait() for item, process in processes.items()}
    return codes, time.time() > end - task.warning - SLURM_LOOKS_SECONDS


def _taken_over(run: Run, before: int) -> bool:
    """Whether another job has begun an attempt since this one began its own."""
    attempts = run.attempts()
    if len(attempts) <= before:
        return False
    return (read_json(attempts[-1] / "origin.json") or {}).get("job") != slurm_job() or len(attempts) > before + 1


# --- going on -------------------------------------------------------------------------------------------------------


class StoppedEarly(Exception):
    """A signal came while the nodes were checked."""


def _check_nodes(task: Task) -> tuple[dict[str, str], list[str]]:
    """What is wrong with which of our nodes, and with all of them; the nodes check themselves."""
    command = srun(task.resources, 1, 1, task.start, "jobs.node", str(task.resources.gpus), str(task.runs))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    if code in STOPPED:
        raise StoppedEarly
    unfit, problems = node.read_report(done.stdout)
    if code and not unfit and not problems:
        problems = [f"the nodes could not be checked: srun ended with {code}"]
    return unfit, problems


def _requeue_elsewhere(task: Task, items: list[str], unfit: dict[str, str]) -> str:
    for name, problem in unfit.items():
        print(f"{name}: {problem}", flush=True)
        with contextlib.suppress(Exception):  # it may be the very disk that is full
            node.report(task.runs, name, problem, slurm_job())
    why = "; ".join(f"{name}: {problem}" for name, problem in unfit.items())
    if max([_count(task, item, "moves") for item in items]) > MOVES:
        _give_up(task, items, f"no node is fit for it: {why}")
    if not requeue.other_nodes_left(list(unfit)):
        _give_up(task, items, f"{why}; too few other nodes are left to try")
    return requeue.requeue_job(why, without=list(unfit))


def _give_up(task: Task, items: list[str], why: str) -> NoReturn:
    """Log it where the items' own output is, and fail."""
    for item in items:
        with contextlib.suppress(OSError), (task.submission / "logs" / f"{item}.log").open("a") as log:
            log.write(f"blurtrain: {why}\n")
    raise JobError(f"{', '.join(items)}: {why}")


def _count(task: Task, item: str, what: str) -> int:
    """Add one to what is counted of an item since its last progress; only its job counts.

    A node that dies takes the ranks on others with it, which then fail as well: no number of such failures ends a run
    that gets further each time.
    """
    try:
        counts = _counts(task, item)
        counts[what] += 1
        write_json(task.submission / "failures" / f"{item}.json", counts)
    except Exception as error:
        print(f"cannot count {what} of {item}: {error}", flush=True)
        return int(os.environ.get("SLURM_RESTART_COUNT", "0")) + 1
    return counts[what]


def _counts(task: Task, item: str) -> dict[str, int]:
    """What has been counted of an item since its last progress."""
    counts: dict[str, int] = NONE | (read_json(task.submission / "failures" / f"{item}.json") or {})
    saved = next(i for i in task.items if i.id == item).reached(task.runs)
    return counts if saved <= counts["saved_step"] else {**NONE, "saved_step": saved}
