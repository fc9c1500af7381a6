"""Run by the tests in each of several processes: trains a small network with shared batch norm, over gloo.

python share_batch_norm.py FOLDER DEVICE    with RANK, WORLD_SIZE; they meet in FOLDER, each leaves its outcomes there
"""

import copy
import gc
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.distributed import Group
from blurtrain.training.batch_norm import share_statistics, update_running

BATCH, STEPS, RATE = 32, 3, 0.1
# Images that share statistics, and passes that the batch is cut into.
CASES = [(32, 1), (16, 1), (8, 1), (4, 1), (16, 2), (8, 2)]


def network() -> nn.Module:
    """Batch norm of four and of two dimensions, with and without weights."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.BatchNorm2d(8, affine=False, momentum=0.3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 5),
        nn.BatchNorm1d(5),
    )
    return model.double().to(memory_format=torch.channels_last)


def data() -> tuple[Tensor, Tensor]:
    """Images [step, image, 3, 7, 7], far from zero and no two alike, and labels."""
    source = torch.Generator().manual_seed(1)
    images = 3 + torch.randn(STEPS, BATCH, 3, 7, 7, dtype=torch.float64, generator=source)
    return images * torch.linspace(1, 3, BATCH)[:, None, None, None], torch.randint(5, (STEPS, BATCH), generator=source)


def train(group: Group, images_sharing: int, passes: int) -> dict[str, Tensor]:
    """The state of the network after some steps, and the gradients and logits (of this process) of the last one."""
    at_a_time = BATCH // passes // group.world
    model = share_statistics(network().to(group.device), images_sharing, at_a_time, group, always=True)
    wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False) if group.world > 1 else model
    for images, labels in zip(*(x.to(group.device) for x in data()), strict=True):
        model.zero_grad()
        outputs = []
        for k in range(passes):  # each pass is a slice of the batch, and each process has a slice of the pass
            mine = slice((k * group.world + group.rank) * at_a_time, (k * group.world + group.rank + 1) * at_a_time)
            alone = group.world > 1 and k < passes - 1
            with wrapped.no_sync() if alone else nullcontext():
                outputs.append(wrapped(images[mine].contiguous(memory_format=torch.channels_last)))
                (cross_entropy(outputs[-1], labels[mine]) / passes).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= RATE * parameter.grad
        update_running(model, group)
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    copied = copy.deepcopy(model).state_dict()  # as some do to evaluate
    state = {name: tensor.detach().cpu().clone() for name, tensor in {**copied, **gradients}.items()}
    return {**state, "logits": torch.stack(outputs).detach().cpu()}


def half_precision(group: Group) -> dict[str, Any]:
    """What a batch norm makes of bfloat16 features under autocast, forwards and backwards."""
    share = BATCH // group.world
    mine = slice(group.rank * share, (group.rank + 1) * share)
    layer = share_statistics(nn.BatchNorm2d(3).to(group.device), BATCH, share, group, always=True)
    x = data()[0][0].to(group.device, torch.bfloat16)[mine].requires_grad_()
    with torch.autocast(group.device.type, torch.bfloat16):
        y = layer(x)
    y.square().mul(x.detach()).sum().backward()
    update_running(layer, group)
    return {"y": y.detach().cpu(), "x.grad": x.grad.cpu(), **{n: t.cpu() for n, t in layer.state_dict().items()}}


def everything(group: Group) -> dict[Any, dict[str, Any]]:
    return {**{case: train(group, *case) for case in CASES}, "half": half_precision(group)}


if __name__ == "__main__":
    folder, device = Path(sys.argv[1]), torch.device(sys.argv[2])
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(everything(Group(rank, world, device)), folder / f"{rank}.pt")
    gc.collect()
    time.sleep(0.2)
    dist.destroy_process_group()
