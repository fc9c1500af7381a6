"""A network that learns, one step at a time: in which arithmetic, by which update, and what a bad step does."""

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from blurtrain.device import tf32
from blurtrain.distributed import Group
from blurtrain.errors import TrainingError
from blurtrain.settings import Optimisation, ParameterGroup, Precision
from blurtrain.tasks import Classification, CrossEntropy, Loss, Task
from blurtrain.training.batch_norm import freeze_statistics, share_statistics, update_running
from blurtrain.training.forward import Forward
from blurtrain.training.image_loss import ImageLoss, views_of
from blurtrain.training.optimiser import build_optimiser
from blurtrain.training.parameter_groups import freeze, in_order, set_learning_rate

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CLASSIFICATION, CROSS_ENTROPY = Classification(), CrossEntropy()


class Learner:
    """A network, its optimiser, and all else that a step changes."""

    def __init__(
        self,
        network: nn.Module,
        optimisation: Optimisation,
        precision: Precision,
        group: Group,
        task: Task = CLASSIFICATION,
        loss: Loss = CROSS_ENTROPY,
    ):
        """`network`: with its first weights, the same on all processes. Raises TrainingError where the settings and the
        number of processes do not fit together."""
        o, p = optimisation, precision
        self.settings, self.group, self.device, self.task, self.loss = o, group, group.device, task, loss
        self.micro_batches, self.tf32, self.half = o.accumulate, p.tf32, HALF.get(p.arithmetic)
        self.dtype = torch.float64 if p.arithmetic == "float64" else torch.float32
        self.network = self._with_batch_norm(network.to(self.device, self.dtype, memory_format=torch.channels_last))
        freeze(self.network, o)
        self.forward = Forward(self.network, self.dtype, self._arithmetic)
        self.ema = copy.deepcopy(self.network).requires_grad_(False) if o.ema else None
        self.distributed = None
        if group.world > 1:
            self.distributed = DistributedDataParallel(self.network, gradient_as_bucket_view=True)
            self.distributed.broadcast_buffers = False  # the argument of this name is not that of all versions
        if loss.watched is not None:
            self.forward.watch(loss.watched)
        self.image_loss = ImageLoss.of(self.network)
        self.views = views_of(loss, self.image_loss)
        """Of each image, beside itself, that `step` is to be given."""
        self.model = self.distributed or self.network
        if p.compile:
            self.model = torch.compile(self.model)
        self.forward.model = self.model
        self.opponent = self.forward.second = self._second(loss)
        self.optimiser = build_optimiser(self.network, o, self._of_opponent())
        self.scaler = torch.amp.GradScaler(self.device.type) if self.half == torch.float16 else None
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=self.device)
        """The first step whose loss was NaN or infinite; -1: none."""

    def _with_batch_norm(self, network: nn.Module) -> nn.Module:
        share, rest = divmod(self.settings.batch_size, self.group.world * self.micro_batches)
        if rest:
            raise TrainingError(
                f"optimisation.batch_size={self.settings.batch_size} cannot be shared evenly by {self.group.world} "
                f"processes in {self.micro_batches} micro-batches each (optimisation.accumulate)"
            )
        if why := self.loss.check_batch(share):
            raise TrainingError(f"{share} images are put through the network at a time, and {why}")
        if self.settings.batch_norm == "frozen":
            return freeze_statistics(network)
        # Running statistics change once a step, and not at all by a step that is left out.
        always = self.micro_batches > 1 or self.settings.non_finite == "skip" or self.half == torch.float16
        images, views = self.settings.batch_norm_images or self.settings.batch_size, self.loss.passed_together
        return share_statistics(network, images * views, share * views, self.group, always=always)

    def _second(self, loss: Loss) -> nn.Module | None:
        second = loss.opponent()
        return None if second is None else second.to(self.device, self.dtype)

    def _of_opponent(self) -> list[dict[str, Any]]:
        """Its group in the optimiser."""
        if self.opponent is None:
            return []
        own = list(self.opponent.parameters())
        return [{"params": own, "weight_decay": 0.0, "learning_rate_factor": self.loss.opponent_rate or 1.0}]

    def _parameters(self) -> list[nn.Parameter]:
        """All there are, those of the opponent last."""
        return [p for part in (self.network, self.opponent) if part is not None for p in part.parameters()]

    def warm_up(self, images: Tensor) -> None:
        """One pass of images [N, 3, H, W] whose gradients are thrown away, before the first step and before a state is
        loaded.

        By it DistributedDataParallel finds the order in which it sums gradients for good. It does so in its first step;
        a resumed run would sum that one step in another order, and its bits would differ.
        """
        if self.distributed is None:
            return
        self.model.eval()  # nothing random, no statistics
        with self._arithmetic():
            self.model(images.to(self.dtype)).sum().backward()
        self.optimiser.zero_grad(set_to_none=True)
        self.model.train()

    def step(self, images: Tensor, targets: Tensor, rate: float, number: int, views: Sequence[Tensor] = ()) -> Tensor:
        """Step `number` at learning rate `rate`, with images [N, 3, H, W], the task's targets [N, ...], and the `views`
        of the images, as the loss takes them.

        Returns float64 sums [3 + counts] over this process's images: the loss, the task's counts, how many images
        count, and how many were skipped. Nothing here waits for the device.
        """
        set_learning_rate(self.optimiser, rate)
        images, *views = (
            one.to(self.dtype if self.half is None else one.dtype, memory_format=torch.channels_last)
            for one in (images, *views)
        )
        self.optimiser.zero_grad(set_to_none=True)
        with tf32(self.tf32):
            parts = list(zip(*(x.chunk(self.micro_batches) for x in (images, targets, *views)), strict=True))
            summed = [self._micro_batch(*part, last=k == self.micro_batches - 1) for k, part in enumerate(parts)]
        sums = torch.stack(summed).sum(0)
        finite = torch.isfinite(sums[0])
        self.first_bad = torch.where((self.first_bad < 0) & ~finite, number, self.first_bad)
        self._average_opponent()
        good = self._update()
        update_running(self.network, self.group, good)
        self._update_ema(good)
        if good is None:
            return torch.cat([sums, torch.zeros_like(sums[:1])])
        skipped = (~good).double() * len(targets)
        return torch.cat([torch.where(good & finite, sums, 0.0), skipped[None]])

    def _micro_batch(self, images: Tensor, targets: Tensor, *views: Tensor, last: bool) -> Tensor:
        """Forward and backward; gradients are summed over the processes in the last micro-batch of a step only."""
        with self.distributed.no_sync() if self.distributed and not last else contextlib.nullcontext():
            more = {"views": views[: len(self.loss.views)]} if self.loss.views else {}
            loss, outputs = self.loss(self.forward, images, targets, self.settings.label_smoothing, **more)
            if self.image_loss:
                loss = loss + self.image_loss(views[self.views.index("sharp")])
            part = loss / self.micro_batches
            (part if self.scaler is None else self.scaler.scale(part)).backward()
        counts = self.task.sums(outputs.detach(), targets)
        n = torch.full((), len(targets), dtype=torch.float64, device=self.device)
        return torch.stack([loss.detach().double() * n, *(count.double() for count in counts), n])

    def _average_opponent(self) -> None:
        """Over all processes, as DistributedDataParallel does with the network's gradients."""
        if self.opponent is None or self.group.world == 1:
            return
        gradients = [p.grad for p in self.opponent.parameters() if p.grad is not None]
        mean = self.group.sum(torch.cat([gradient.flatten() for gradient in gradients])) / self.group.world
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _update(self) -> Tensor | None:
        """Let the optimiser act on the gradients; whether they were finite, None if it need not be known."""
        if self.scaler is None and self.settings.non_finite == "stop":
            self.optimiser.step()
            return None
        if self.scaler is not None:
            self.scaler.unscale_(self.optimiser)
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        good = torch.isfinite(torch.nn.utils.get_total_norm(gradients))  # summed over all processes: all agree
        if self.scaler is not None:
            self.scaler.step(self.optimiser)
            self.scaler.update()
        else:
            # How a GradScaler signals a fused optimiser, on the device, that this step must change nothing.
            self.optimiser.grad_scale, self.optimiser.found_inf = None, (~good).float()
            self.optimiser.step()
        return good

    @torch.no_grad()
    def _update_ema(self, good: Tensor | None) -> None:
        """Move the average towards the weights, but not by a step that was left out."""
        if self.ema is not None:
            average, weights = list(self.ema.parameters()), list(self.network.parameters())
            share = 1 - self.settings.ema
            # torch.optim.swa_utils has the same, but cannot leave out a step without asking the device.
            kept = share if good is None else [(share * good).to(weights[0].dtype)] * len(weights)
            torch._foreach_lerp_(average, weights, kept)

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.half) if self.half else contextlib.nullcontext()

    def trained(self) -> nn.Module:
        """The network to evaluate and publish: the moving average, where there is one, with the buffers as they are."""
        if self.ema is None:
            return self.network
        for old, new in zip(self.ema.buffers(), self.network.buffers(), strict=True):
            old.copy_(new)
        return self.ema

    def is_finite(self) -> bool:
        """Whether all weights are finite numbers; waits for the device."""
        return bool(torch.isfinite(torch.nn.utils.get_total_norm(self._parameters())))

    def state(self) -> dict[str, Any]:
        """All that a step changes, for a checkpoint."""
        parts = {
            "model": self.network, "optimiser": self.optimiser, "scaler": self.scaler, "average": self.ema,
            "opponent": self.opponent,
        }  # fmt: skip
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.network.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["average"])
        if self.opponent is not None:
            self.opponent.load_state_dict(state["opponent"])

    def start_from(self, state: Mapping[str, Any], groups: Sequence[ParameterGroup]) -> None:
        """Go on from what another learner's `state` gave, whose settings have these `groups`: what it has learnt and
        averaged is taken over, parameter by parameter; all hyperparameters stay those of this one.

        What it has no averages of, frozen parameters say, begins without any; an opponent begins anew. Raises
        RuntimeError for another network.
        """
        names, own = [name for name, _ in self.network.named_parameters()], self.optimiser.state_dict()
        numbers = {name: number for number, name in enumerate(in_order(names, groups))}
        averages = state["optimiser"]["state"]
        merged = own["state"] | {
            number: averages[numbers[name]]
            for number, name in enumerate(in_order(names, self.settings.groups))
            if averages.get(numbers.get(name))
        }
        second = {} if self.opponent is None else {"opponent": self.opponent.state_dict()}
        self.load({**state, **second, "optimiser": {**own, "state": merged}})
