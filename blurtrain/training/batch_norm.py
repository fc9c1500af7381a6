"""Batch norm whose statistics are shared by a set number of images, over however many processes and passes, or frozen.

Fewer images than a process puts through the network at a time form "ghost" batches (Hoffer, Hubara & Soudry 2017);
more of them are shared with the neighbouring processes. Frozen ones are of no batch at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from blurtrain.distributed import Group
from blurtrain.errors import TrainingError

# timm's BatchNormAct2d holds the activation that follows, as children that are called in turn.
KINDS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchNormAct2d")


@dataclass(frozen=True)
class Sharing:
    """Who shares statistics with whom."""

    parts: int  # that a process's images are cut into
    ranks: int  # neighbouring processes that share
    peers: dist.ProcessGroup | None  # these processes; None: all there are

    def __deepcopy__(self, memo: dict[int, Any]) -> "Sharing":
        return self  # a copy of a network has the same peers, and process groups cannot be copied


def share_statistics(model: nn.Module, images: int, at_a_time: int, group: Group, always: bool = False) -> nn.Module:
    """Let each `images` consecutive images of a pass share the statistics of batch norm; gives the network to train.

    In a pass each process puts `at_a_time` images through; the ranks' images follow each other. Every batch norm of
    `model` is replaced in place by a SharedBatchNorm with the same tensors under the same names, and its running
    statistics change only by `update_running`. Only where each process by itself is what `images` asks for, and is
    alone, torch's own layers stay, unless `always`: they update their running statistics in every pass, and with
    whatever numbers. To be called by all processes. Raises TrainingError where `images` cannot be arranged.
    """
    if not _layers(model):
        return model
    global_batch = group.world * at_a_time
    if not _fits(images, at_a_time, global_batch):
        possible = ", ".join(str(n) for n in range(1, global_batch + 1) if _fits(n, at_a_time, global_batch))
        raise TrainingError(
            f"optimisation.batch_norm_images={images} (0: the whole batch) does not fit {group.world} process(es) "
            f"with {at_a_time} images a pass: set it to one of {possible}, or change optimisation.accumulate or the "
            "number of processes"
        )
    if group.world == 1 and images == at_a_time and not always:
        return model
    ranks = max(1, images // at_a_time)
    peers = dist.new_subgroups(ranks)[0] if 1 < ranks < group.world else None
    sharing = Sharing(max(1, at_a_time // images), ranks, peers)
    return _replace(model, lambda plain: SharedBatchNorm(plain, sharing))


def freeze_statistics(model: nn.Module) -> nn.Module:
    """Let every batch norm normalise by its running statistics in training too, and never change them.

    Gives the network to train, as `share_statistics` does; scale and shift (`weight`, `bias`) still learn. Nothing is
    shared between images, so that passes and processes play no part. Raises TrainingError where a network has no batch
    norm, or one without running statistics.
    """
    layers = _layers(model)
    if not layers:
        raise TrainingError("optimisation.batch_norm=frozen, but the network has no batch norm: leave it out")
    if untracked := [name for name, layer in layers.items() if layer.running_mean is None or layer.running_var is None]:
        raise TrainingError(f"optimisation.batch_norm=frozen, but {untracked[0]} keeps no running statistics")
    return _replace(model, FrozenBatchNorm)


def _layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """Every batch norm of the network; one that has several names comes several times."""
    modules = model.named_modules(remove_duplicate=False)
    return {name: layer for name, layer in modules if isinstance(layer, _BatchNorm)}


def _replace(model: nn.Module, replacement: Callable[[_BatchNorm], _BatchNorm]) -> nn.Module:
    """The network with another layer in place of every batch norm, also where that is the network itself."""
    layers = _layers(model)
    new = {layer: replacement(layer) for layer in layers.values()}
    for name, layer in layers.items():
        if not name:
            return new[layer]
        model.set_submodule(name, new[layer])
    return model


def _fits(images: int, at_a_time: int, global_batch: int) -> bool:
    if images <= at_a_time:
        return at_a_time % images == 0
    return images % at_a_time == 0 and global_batch % images == 0


@torch.no_grad()
def update_running(model: nn.Module, group: Group, good: Tensor | None = None) -> None:
    """Move running statistics towards the average over all groups of images since the last call, on all processes.

    Once per optimiser step, by all processes together: one message, and the same numbers on each. Where `good`, a
    0-dimensional bool on the device that is the same on all processes, is False, what was collected is forgotten.
    Does nothing for torch's own layers, which have done it in the forward pass.
    """
    layers = [m for m in model.modules() if isinstance(m, SharedBatchNorm) and m.track_running_stats]
    if not layers:
        return
    sums = group.sum(torch.cat([layer.seen for layer in layers], 1))
    averages, update = sums[:2] / sums[2], sums[2] > 0
    if good is not None:
        update &= good
    widths = [layer.num_features for layer in layers]
    for layer, (mean, variance), changes in zip(layers, averages.split(widths, 1), update.split(widths), strict=True):
        # Without momentum torch takes the average over all steps.
        share = layer.momentum if layer.momentum is not None else 1.0 / (1.0 + layer.num_batches_tracked.double())
        for running, average in ((layer.running_mean, mean), (layer.running_var, variance)):
            running.copy_(torch.where(changes, torch.lerp(running.double(), average, share), running))
        layer.num_batches_tracked += changes[0]
        layer.seen.zero_()


class _InPlaceOf(_BatchNorm):
    """Takes the place of `plain`: its very tensors, the same names, the same outcome in evaluation mode."""

    def __init__(self, plain: _BatchNorm):
        if type(plain).__name__ not in KINDS:
            raise TrainingError(f"batch norm of the kind {type(plain).__name__} can neither be shared nor frozen")
        super().__init__(plain.num_features, device="meta")
        self.__dict__.update(plain.__dict__)  # tensors, children, hooks, eps, momentum, mode

    def _check_input_dim(self, features: Tensor) -> None:
        pass  # any number of dimensions

    def _then_children(self, normalised: Tensor) -> Tensor:
        for child in self.children():
            normalised = child(normalised)
        return normalised


class FrozenBatchNorm(_InPlaceOf):
    """Normalises by the running statistics, whatever mode the network is in."""

    def __init__(self, plain: _BatchNorm):
        super().__init__(plain)
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """As of any module for its children; its own mode stays that of evaluation."""
        super().train(mode)
        self.training = False  # but not that of its children
        return self

    def forward(self, features: Tensor) -> Tensor:
        """features: [images, C, ...], or of a multiple of the images."""
        return self._then_children(super().forward(features))


class SharedBatchNorm(_InPlaceOf):
    """Normalises by the statistics of the images that share them, in training mode."""

    def __init__(self, plain: _BatchNorm, sharing: Sharing):
        super().__init__(plain)
        self.sharing = sharing
        # Mean, variance and number of the groups seen since the last update, per channel; not part of the state dict.
        device = next((t.device for t in (self.running_mean, self.weight) if t is not None), None)
        seen = torch.zeros(3, self.num_features, dtype=torch.float64, device=device)
        self.register_buffer("seen", seen, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """features: [images, C, ...], or of a multiple of the images, image after image."""
        return self._then_children(self._shared(features) if self.training else super().forward(features))

    def _shared(self, features: Tensor) -> Tensor:
        parts, ranks = self.sharing.parts, self.sharing.ranks
        values = features.numel() // self.num_features * ranks
        if len(features) % parts or values == parts:
            raise TrainingError(
                f"batch norm needs equal groups with more than one value a channel, not {list(features.shape)} cut "
                f"into {parts} in each of {ranks} process(es): change optimisation.batch_norm_images"
            )
        normalise = _across_processes if ranks > 1 else _by_torch
        normalised = []
        for part in features.chunk(parts):
            outcome, mean, variance = normalise(part, self)
            normalised.append(outcome)
            self.seen += torch.stack([mean, variance, torch.ones_like(mean)])
        return normalised[0] if parts == 1 else torch.cat(normalised)


def _by_torch(features: Tensor, layer: SharedBatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised features, and the mean and the unbiased variance of each channel."""
    # With momentum 1 torch's running statistics are those of this batch.
    mean, variance = features.new_zeros(2, layer.num_features, dtype=_precise(features))
    return batch_norm(features, mean, variance, layer.weight, layer.bias, True, 1.0, layer.eps), mean, variance


def _across_processes(features: Tensor, layer: SharedBatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    """As `_by_torch`, over the images of all that share."""
    return _AcrossProcesses.apply(features, layer.weight, layer.bias, layer.eps, layer.sharing)


def _precise(features: Tensor) -> torch.dtype:
    return torch.promote_types(features.dtype, torch.float32)


class _AcrossProcesses(torch.autograd.Function):
    """torch's SyncBatchNorm has the same mathematics, for GPUs only, and waits for the GPU in every layer."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, sharing: Sharing
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        own = torch.stack(torch.var_mean(x.to(_precise(x)), axes, correction=0))
        every_rank = [torch.empty_like(own) for _ in range(sharing.ranks)]
        dist.all_gather(every_rank, own, group=sharing.peers)
        variances, means = torch.stack(every_rank).unbind(1)
        # All have equally many values: Chan, Golub & LeVeque (1983), without differences of large sums.
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.sharing = eps, sharing
        ctx.values = x.numel() // len(mean) * sharing.ranks
        unbiased = variance * (ctx.values / (ctx.values - 1))
        ctx.mark_non_differentiable(mean, unbiased)
        return batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        scale, none = torch.ones_like(mean) if weight is None else weight, mean.new_empty(0)
        # Those of weight and bias are the same wherever the statistics are from, so evaluation mode's kernel has them.
        _, weight_grad, bias_grad = torch.ops.aten.native_batch_norm_backward(
            grad, x, scale, mean, variance, none, none, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([weight_grad, bias_grad])
        dist.all_reduce(sums, group=ctx.sharing.peers)
        shape = (-1, *[1] * (x.ndim - 2))
        narrow = (variance + ctx.eps).rsqrt()
        spread, shift = (sums / ctx.values).unbind()
        centred = (x - mean.view(shape)) * (narrow * spread).view(shape)
        x_grad = (grad - shift.view(shape) - centred) * (narrow * scale).view(shape)
        return x_grad.to(x.dtype), *((None, None) if weight is None else (weight_grad, bias_grad)), None, None
