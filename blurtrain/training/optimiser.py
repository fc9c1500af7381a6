"""Optimiser by settings, and the learning rate as a pure function of the step."""

import math

import torch
from torch import nn

from blurtrain.settings import Optimisation


def build_optimiser(model: nn.Module, settings: Optimisation) -> torch.optim.Optimizer:
    """Adam or SGD with an L2 penalty on all parameters, each as one fused kernel."""
    if settings.optimiser == "adam":
        return torch.optim.Adam(
            model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
    sgd = torch.optim.SGD(
        model.parameters(),
        settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    for parameter in model.parameters() if settings.momentum else ():
        # torch makes room for it in the first step, and would leave there whatever lay in memory if just that step is
        # left out (a gradient that is no number, a float16 overflow).
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def learning_rate(step: int, steps_per_epoch: int, settings: Optimisation) -> float:
    """Linear warm-up from warmup_factor to the peak, then a half cosine that ends at zero, or the peak throughout.

    `step` is 0-based, over all epochs.
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return settings.learning_rate * (settings.warmup_factor + (1 - settings.warmup_factor) * step / warmup)
    if settings.learning_rate_schedule == "constant":
        return settings.learning_rate
    decay = (step - warmup) / (settings.epochs * steps_per_epoch - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * decay))
