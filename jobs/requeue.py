"""A job and its own place in SLURM's queue: its time limit, and how it requeues itself."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from blurtrain.errors import JobError
from blurtrain.run import slurm_job
from jobs import scheduler

T = TypeVar("T")
TRIES, BETWEEN_TRIES_SECONDS = 60, 5
"""So often SLURM is asked where it does not answer."""
FORGOTTEN_SECONDS = 300
"""So long a job waits to be killed that SLURM does not know of."""


def time_limit() -> float | None:
    """The time limit of this job as time.time() counts, infinite without one; None where SLURM does not say."""
    try:
        return datetime.fromisoformat(scheduler.show(slurm_job())["EndTime"]).timestamp()
    except ValueError:
        return math.inf
    except (JobError, KeyError):
        return None


def requeue_job(why: str, without: Sequence[str] = ()) -> str:
    """Put this job back into the queue, unless SLURM has done something else with it; not on the nodes `without`.

    Returns `why`, and how it went. Raises JobError where SLURM does not answer for minutes.
    """
    facts, back = _patiently(_requeue)
    if _forgotten(facts):
        return await_end(why)
    if not back:
        return f"{why}; the job is {facts.get('JobState')}: left alone"
    if without:
        _exclude(slurm_job(), without, facts.get("ExcNodeList", "(null)"))
    return f"{why}; back in the queue"


def _requeue() -> tuple[dict[str, str], bool]:
    """What SLURM says of this job, and whether it was put back into the queue: where it is still ours."""
    facts = scheduler.show(slurm_job())
    if ours := _ours(facts):
        scheduler.ask("scontrol", "requeue", slurm_job())
    return facts, ours


def _ours(facts: Mapping[str, str]) -> bool:
    """Not where SLURM has put it back already (a preemption), or has given it to other nodes while we were cut off from
    it: then its count of restarts is not ours any more."""
    going = facts.get("JobState") == "RUNNING" or facts.get("Reason") == "TimeLimit"
    return going and facts.get("Restarts") == os.environ.get("SLURM_RESTART_COUNT", "0")


def is_ours() -> bool:
    """Whether SLURM still takes this job for running here, or has forgotten that it started it."""
    facts = _patiently(lambda: scheduler.show(slurm_job()))
    return _ours(facts) or _forgotten(facts)


def other_nodes_left(without: Sequence[str]) -> bool:
    """Whether enough nodes would be left to this job that are up, without these and what it excludes already."""

    def ask() -> bool:
        facts = scheduler.show(slurm_job())
        before = [n for n in [facts.get("ExcNodeList", "(null)")] if n != "(null)"]
        wanted = int(facts.get("NumNodes", "1").split("-")[0])
        return scheduler.enough_without([*without, *before], wanted, facts.get("Partition"))

    return _patiently(ask)


def is_forgotten() -> bool:
    """Whether SLURM does not know that it has started this job: its controller was killed right after that.

    It then takes our steps away, so that srun fails, and is about to start the job anew.
    """
    return _forgotten(_patiently(lambda: scheduler.show(slurm_job())))


def _forgotten(facts: Mapping[str, str]) -> bool:
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return not facts or (facts.get("JobState") == "PENDING" and facts.get("Restarts") == restarts)


def await_end(why: str) -> str:
    """Stay until SLURM comes to know of this job on its node, and kills it: did we end by ourselves, it would take that
    for the end of the job that waits, or keep the node from starting it."""
    print(f"{why}; SLURM has forgotten that it started this job: waiting to be killed", flush=True)
    time.sleep(FORGOTTEN_SECONDS)
    return f"{why}; the job was forgotten: left alone"


def _patiently(ask: Callable[[], T]) -> T:
    """What SLURM answers in the end: its controller may be away for some minutes."""
    for _ in range(TRIES - 1):
        try:
            return ask()
        except JobError as error:
            print(error, flush=True)
            time.sleep(BETWEEN_TRIES_SECONDS)
    return ask()


def _exclude(job: str, nodes: Sequence[str], before: str) -> None:
    """A job that has just been put back waits until we are gone: time to say where it may not go."""
    everything = ",".join([*nodes, *([] if before == "(null)" else [before])])
    for _ in range(20):
        try:
            scheduler.ask("scontrol", "update", f"JobId={job}", f"ExcNodeList={everything}", seconds=10)
            return
        except JobError as error:
            print(error, flush=True)
            time.sleep(0.5)
