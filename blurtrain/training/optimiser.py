"""Optimiser by settings, and the learning rate as a pure function of the step."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from blurtrain.settings import Optimisation
from blurtrain.training.parameter_groups import for_optimiser


def build_optimiser(
    model: nn.Module, settings: Optimisation, others: Sequence[dict[str, Any]] = ()
) -> torch.optim.Optimizer:
    """Adam or SGD with an L2 penalty on all parameters that are not frozen, as one fused kernel for each group of them.

    others: further groups, of parameters that are not the model's, which come last. Raises SettingsError for a group of
    `settings.groups` that matches no parameter.
    """
    groups, rate, decay = [*for_optimiser(model, settings), *others], settings.learning_rate, settings.weight_decay
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, rate, weight_decay=decay, fused=True)
    sgd = torch.optim.SGD(groups, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    for parameter in (p for group in groups for p in group["params"] if settings.momentum):
        # torch makes room for it in the first step, and would leave there whatever lay in memory if just that step is
        # left out (a gradient that is no number, a float16 overflow).
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def learning_rate(step: int, steps_per_epoch: int, settings: Optimisation) -> float:
    """Linear warm-up from warmup_factor to the peak; then half a cosine to the floor, the peak throughout, or steps.

    `step` is 0-based, over all epochs; those of `learning_rate_steps` count from the first, warm-up included.
    """
    o = settings
    warmup = o.warmup_epochs * steps_per_epoch
    if step < warmup:
        return o.learning_rate * (o.warmup_factor + (1 - o.warmup_factor) * step / warmup)
    if o.learning_rate_schedule == "constant":
        return o.learning_rate
    if o.learning_rate_schedule == "step":
        passed = sum(step >= epochs * steps_per_epoch for epochs in o.learning_rate_steps)
        return o.learning_rate * o.learning_rate_step_factor**passed
    decay = (step - warmup) / (o.epochs * steps_per_epoch - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * decay))
    return o.learning_rate * (o.learning_rate_floor + (1 - o.learning_rate_floor) * cosine)
