"""Dropout before the last layer of any network, without a module of its own: the names of its weights stay."""

import functools
from typing import Any

from torch import nn
from torch.nn.functional import dropout

from blurtrain.errors import SettingsError
from blurtrain.models.pretrained import logits_layer


def drop_features(network: nn.Module, probability: float) -> None:
    """From now on, what the last layer of `network` is given is dropped with `probability` in training mode.

    Kept features are scaled by 1 / (1 - probability) (Srivastava et al. 2014), drawn from torch's random state; copies
    of the network do the same. Probability 0 leaves the network as it is. Raises SettingsError where there is no linear
    or convolutional layer.
    """
    if probability == 0:
        return
    _, last = logits_layer(network)
    if last is None:
        raise SettingsError(
            f"network.dropout={probability:g}: there is no linear or convolutional layer to put it before; leave it out"
        )
    last.register_forward_pre_hook(functools.partial(_drop, probability))


def _drop(probability: float, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return (dropout(given[0], probability), *given[1:]) if layer.training else None
