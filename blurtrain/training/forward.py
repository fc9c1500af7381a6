"""The network as a loss sees it."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from blurtrain.models.representation import watch

Arithmetic = Callable[[], contextlib.AbstractContextManager[Any]]


class Forward:
    """See `blurtrain.tasks.loss.Network`."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, arithmetic: Arithmetic = contextlib.nullcontext):
        """dtype: of the weights, in which outputs come."""
        self.network, self.dtype, self.arithmetic = network, dtype, arithmetic
        self.model: nn.Module = network
        """What is called: the same, compiled or over several processes."""
        self.second: nn.Module | None = None
        """The opponent of the loss, where it has one."""
        self._features: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        with self.arithmetic():
            outputs = self.model(images)
        return outputs.to(self.dtype)

    def watch(self, layer: str) -> None:
        """Let `features` give what this module gives; empty: what the last linear layer is given. Raises SettingsError
        where there is none."""
        watch(self.network, layer, "loss.layer", self._keep)

    def _keep(self, features: Tensor) -> None:
        if torch.is_grad_enabled():
            self._features = features

    def features(self) -> Tensor:
        """See `Network`."""
        assert self._features is not None
        features, self._features = self._features, None
        return features

    def tested(self, images: Tensor) -> Tensor:
        """See `Network`."""
        training = self.network.training
        self.network.eval()
        try:
            with self.arithmetic():
                return self.network(images).to(self.dtype)
        finally:
            self.network.train(training)

    def opponent(self, images: Tensor) -> Tensor:
        """See `Network`."""
        assert self.second is not None
        outputs: Tensor = self.second(images.to(self.dtype))
        return outputs
