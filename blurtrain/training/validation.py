"""Looks at the val split while a run trains: what is logged, which epoch was the best, and when to stop early."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from blurtrain.blur.blur import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.loader import Loader
from blurtrain.data.targets import BatchTargets
from blurtrain.device import tf32
from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.settings import EarlyStopping, Validation
from blurtrain.tasks import Loss, Task
from blurtrain.training.forward import Forward
from blurtrain.training.progress import mean_metrics

Metrics = dict[str, float]


@dataclass
class Best:
    """The best look so far by one metric. It is part of every checkpoint."""

    value: float | None = None
    epoch: int = 0
    """Epochs that were done then."""
    looks_since: int = 0

    def seen(self, value: float, epoch: int, higher_is_better: bool) -> bool:
        """Take note of a look; whether it is better than all before. NaN never is."""
        best = self.value
        better = not math.isnan(value) and (best is None or (value > best if higher_is_better else value < best))
        if better:
            self.value, self.epoch, self.looks_since = value, epoch, 0
        else:
            self.looks_since += 1
        return better


class Validator:
    """Validation and early stopping of one run."""

    def __init__(self, validation: Validation, stopping: EarlyStopping | None, epochs: int, task: Task):
        self.validation, self.stopping, self.epochs, self.task = validation, stopping, epochs, task
        self.kept, self.stop = Best(), Best()

    def due(self, epoch: int) -> tuple[Blur, ...]:
        """The blurs to look at after `epoch` epochs, each once."""
        own = self.validation.blurs if self._validates(epoch) else ()
        stopping = self.stopping.blurs if self.stopping and self._may_stop(epoch) else ()
        return tuple(dict.fromkeys((*own, *stopping)))

    def _validates(self, epoch: int) -> bool:
        every = self.validation.every_epochs
        return bool(every) and (epoch % every == 0 or epoch == self.epochs)

    def _may_stop(self, epoch: int) -> bool:
        return self.stopping is not None and epoch % self.stopping.every_epochs == 0

    def take(self, epoch: int, levels: Mapping[Blur, Metrics]) -> bool:
        """Take note of what was measured after `epoch` epochs; whether it was the best so far, and is to be kept."""
        if self.stopping and self._may_stop(epoch):
            self._see(self.stop, self.stopping.metric, epoch, [levels[blur] for blur in self.stopping.blurs])
        metric = self.validation.keep_best
        if metric is None or not self._validates(epoch):
            return False
        return self._see(self.kept, metric, epoch, [levels[blur] for blur in self.validation.blurs])

    def _see(self, best: Best, metric: str, epoch: int, levels: Sequence[Metrics]) -> bool:
        return best.seen(mean_metrics(levels)[metric], epoch, metric in self.task.higher_is_better)

    @property
    def stops(self) -> bool:
        """Whether training is to end here."""
        return self.stopping is not None and self.stop.looks_since >= self.stopping.patience

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"kept": asdict(self.kept), "stop": asdict(self.stop)}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what `state` gave; None: from the beginning."""
        if state:
            self.kept, self.stop = Best(**state["kept"]), Best(**state["stop"])


@tf32(False)
@torch.no_grad()
def look(
    network: nn.Module,
    images: Images,
    loader: Loader,
    transform: Transform,
    targets: BatchTargets,
    blurs: Sequence[Blur],
    task: Task,
    counts: Sequence[str],
    loss: Loss,
    group: Group,
    tick: Callable[[], None],
) -> tuple[dict[Blur, Metrics], int]:
    """Loss (without label smoothing) and metrics of `network`, in evaluation mode and its own arithmetic, at each of
    `blurs`, and the number of images. Each process takes every so many-th batch; each image is decoded once."""
    dtype = next(network.parameters()).dtype
    forward = Forward(network, dtype)
    sums = torch.zeros(len(blurs), 2 + len(counts), dtype=torch.float64, device=group.device)
    training = network.training
    network.eval()
    for batch in images.batches(loader, group.rank, group.world):
        tick()
        if batch is None:
            continue
        resized = transform.resized(batch.images, batch.sides)
        wanted = targets.evaluation(batch, resized)
        for row, blur in enumerate(blurs):
            value, outputs = loss.validated(forward, transform.blurred(resized, blur, batch.indices).to(dtype), wanted)
            parts = [value.double() * len(wanted), *(part.double() for part in task.sums(outputs, wanted))]
            sums[row] += torch.stack([*parts, torch.full_like(parts[0], len(wanted))])
    network.train(training)
    found: dict[Blur, Metrics] = {}
    n = 0
    for blur, (total, *counted, images_seen) in zip(blurs, group.sum(sums).tolist(), strict=True):
        n = round(images_seen)
        found[blur] = {"loss": total / n, **task.means(dict(zip(counts, counted, strict=True)), n)}
    return found, n
