"""The processes that share a run: alone, or started by torchrun (which sets RANK, WORLD_SIZE, LOCAL_RANK, ...)."""

import contextlib
import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from blurtrain.device import claim_device
from blurtrain.settings import Loader


@dataclass(frozen=True)
class Group:
    """This process among its peers."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the one process that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """The leader's value, on every process."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextlib.contextmanager
def process_group(settings: Loader) -> Iterator[Group]:
    """Join the peers that the environment names (nccl on GPUs, gloo else), and leave them at the end."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = claim_device(settings)
    if world == 1:
        yield Group(0, 1, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(rank, world, device)
    finally:
        # gloo's threads need Python's lock to let go of their last tensors, and the end of the group waits for those
        # threads while it holds that lock: unless they are given the time, and whatever else holds the group (a model
        # wrapped for it) is gone, this now and then hangs for ever.
        gc.collect()
        time.sleep(0.2)
        dist.destroy_process_group()
