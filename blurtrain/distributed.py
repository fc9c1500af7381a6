"""The processes that share a run: alone, started by torchrun or jobs.processes, or as the tasks of a SLURM step (srun,
submitit)."""

import contextlib
import ctypes
import gc
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from blurtrain.device import claim_device, cores
from blurtrain.errors import TrainingError
from blurtrain.rendezvous import Waiting, met_at, met_by
from blurtrain.run import RENDEZVOUS

PATIENCE = timedelta(minutes=10)
"""How long one process waits for the others before it gives the run up."""


@dataclass(frozen=True)
class RankInfo:
    """Where a process stands among its peers, as its launcher says."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    rendezvous: str = ""
    """What the peers alone have in common where no launcher gives them an address: the word of `run.RENDEZVOUS`, or the
    SLURM step and its job's count of restarts."""
    launcher: str = field(default="RANK and WORLD_SIZE in the environment", compare=False)
    """What says so, in words."""

    @classmethod
    def from_environment(cls) -> "RankInfo":
        """Raises TrainingError where the environment contradicts itself."""
        e = os.environ
        try:
            if "RANK" in e or "WORLD_SIZE" in e:
                rendezvous = "" if "MASTER_ADDR" in e else e.get(RENDEZVOUS, "")
                return cls(int(e["RANK"]), int(e["WORLD_SIZE"]), int(e.get("LOCAL_RANK", "0")), rendezvous)
            # Only the tasks of a step have this one; a batch script by itself is one process, however large its job.
            if int(e.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
                # A start that SLURM has forgotten and the next one have the same numbers: our own launcher gives
                # each a word of its own.
                step = f"{e['SLURM_JOB_ID']}-{e['SLURM_STEP_ID']}-{e.get('SLURM_RESTART_COUNT', '0')}"
                rank, world, local = (int(e[k]) for k in ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
                return cls(rank, world, local, e.get(RENDEZVOUS, step), "the SLURM_* variables of the step")
        except (KeyError, ValueError) as error:
            raise TrainingError(f"the launcher's environment is incomplete: {error}; unset RANK and WORLD_SIZE "
                                "to run alone") from None  # fmt: skip
        return cls()


_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_torchrun() -> None:
    """Where torchrun has started this process, let it get a SIGTERM once that has ended, however it did: of a signal
    that it does not handle (SIGUSR1, SIGKILL), its processes would train on. For a program's main thread."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
        if os.getppid() != launcher:  # it ended before the kernel was asked
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Group:
    """This process among its peers."""

    rank: int
    world: int
    device: torch.device
    cores: int = 1
    """Processor cores for this process: those it may use, shared among the peers that may use the same ones."""
    host_rank: int = 0
    host_peers: int = 1
    """Its place among the processes on its host, and how many these are."""

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, value: Any) -> Any:
        """The leader's value, on every process."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank, on every process."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def process_group(runs: Path, threads: int = 0) -> Iterator[Group]:
    """Join the peers that the environment names (nccl on GPUs, gloo else), and leave them at the end.

    `threads`: torch's own, 0: as many as this process has cores. Where the launcher names no address (SLURM,
    jobs.processes), the leader's is left in `runs`/.rendezvous. Raises TrainingError where peers do not come, or are
    lost.
    """
    own = RankInfo.from_environment()
    device = claim_device(own.local_rank)
    if own.world == 1:
        torch.set_num_threads(threads or len(cores()))
        yield Group(0, 1, device, len(cores()))
        return
    _join(own, device, runs)
    try:
        group = Group(own.rank, own.world, device)
        mine = (socket.gethostname(), cores())
        everywhere = group.gather(mine)
        hosts = [host for host, _ in everywhere]
        sharing = sum(host == mine[0] and not mine[1].isdisjoint(theirs) for host, theirs in everywhere)
        group = replace(
            group,
            cores=max(1, len(mine[1]) // sharing),
            host_rank=hosts[: own.rank].count(mine[0]),
            host_peers=hosts.count(mine[0]),
        )
        torch.set_num_threads(threads or group.cores)
        yield group
    except RuntimeError as error:
        # gloo says so in words only.
        if isinstance(error, dist.DistError) or re.search(r"gloo|[Cc]onnection|[Pp]eer|NCCL", str(error)):
            words = str(error).strip().splitlines()[0]
            raise TrainingError(f"rank {own.rank} of {own.world} has lost its peers: {words}") from error
        raise
    finally:
        _leave()


def _join(own: RankInfo, device: torch.device, runs: Path) -> None:
    backend = "nccl" if device.type == "cuda" else "gloo"
    waiting = Waiting(own.rank, own.world, PATIENCE, own.launcher)
    file = runs / ".rendezvous" / f"{own.rendezvous}.json"
    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has a store of its own, and ends its processes itself
            dist.init_process_group(backend, timeout=PATIENCE)
            return
        if own.rendezvous:
            store = met_by(file, waiting)
        else:
            store = met_at(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), waiting)
        dist.init_process_group(backend, store=store, rank=own.rank, world_size=own.world, timeout=PATIENCE)
        dist.barrier()
        if own.rank == 0 and own.rendezvous:
            file.unlink()
    except KeyError as error:
        raise TrainingError(
            f"rank {own.rank} of {own.world} cannot join its peers: {error.args[0]} is not set beside RANK and "
            "WORLD_SIZE; unset these to run alone"
        ) from None
    except (RuntimeError, ValueError, OSError) as error:
        words = str(error).strip().splitlines()[0]
        raise TrainingError(f"rank {own.rank} of {own.world} cannot join its peers: {words}") from error


def _leave() -> None:
    error = sys.exc_info()[1]
    if error is not None and dist.get_backend() == "nccl":
        return  # it would wait for collectives that no peer finishes; this process is about to end
    while error is not None:
        traceback.clear_frames(error.__traceback__)  # they hold the model
        error = error.__context__
    # gloo's threads need Python's lock to let go of their last tensors, and the end of the group waits for those
    # threads while it holds that lock: unless they are given the time, and whatever else holds the group (a model
    # wrapped for it) is gone, this now and then hangs for ever.
    gc.collect()
    time.sleep(0.2)
    dist.destroy_process_group()


class SharedFlags:
    """Flags of single processes that all come to know at the same call, without any waiting for the others.

    They travel beside the training step, on the processors, and are known one call later.
    """

    def __init__(self, group: Group, flags: int):
        self._none = [False] * flags
        self._peers = dist.new_group(backend="gloo") if group.world > 1 else None
        self._pending: tuple[dist.Work, Tensor] | None = None

    def __call__(self, *flags: bool) -> list[bool]:
        """What any process raised at the call before (alone: at this one). A flag that is known is not passed on."""
        if self._peers is None:
            return list(flags)
        known = self.drain()
        wanted = torch.tensor([w and not k for w, k in zip(flags, known, strict=True)], dtype=torch.uint8)
        self._pending = dist.all_reduce(wanted, dist.ReduceOp.MAX, group=self._peers, async_op=True), wanted
        return known

    def drain(self) -> list[bool]:
        """What was raised at the last call, if it is not known yet; leaves nothing on its way."""
        if self._pending is None:
            return self._none
        work, wanted = self._pending
        work.wait()
        self._pending = None
        return [bool(w) for w in wanted.tolist()]
