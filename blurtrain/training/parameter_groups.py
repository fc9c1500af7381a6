"""Which parameters have a learning rate or weight decay of their own, and which are frozen, by patterns of names."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from blurtrain.errors import SettingsError, nearest
from blurtrain.settings import Optimisation, ParameterGroup

NEAR = 10  # names that an error shows, of networks with hundreds of them


def assigned(names: Sequence[str], groups: Sequence[ParameterGroup]) -> list[list[str]]:
    """The names of each group's parameters, in their order, and at the end those of no group; the first match counts.

    Raises SettingsError for a group that is left without any.
    """
    left, found = list(names), []
    for k, group in enumerate(groups):
        own = [name for name in left if fnmatchcase(name, group.match)]
        if not own:
            raise SettingsError(f"optimisation.groups.{k}.match={group.match}: {_why_none(group.match, names)}")
        left = [name for name in left if name not in own]
        found.append(own)
    return [*found, left]


def _why_none(pattern: str, names: Sequence[str]) -> str:
    if any(fnmatchcase(name, pattern) for name in names):
        return "earlier groups have all that it matches"
    close = difflib.get_close_matches(pattern, names, NEAR, cutoff=0)
    return f"no parameter has such a name; {nearest(pattern, close)} of {len(names)}"


def freeze(network: nn.Module, settings: Optimisation) -> None:
    """Take the gradient from the parameters of frozen groups. Before DistributedDataParallel wraps the network.

    Raises SettingsError where nothing would be left to train, and as `assigned`.
    """
    parameters = dict(network.named_parameters())
    for group, names in zip(settings.groups, assigned(list(parameters), settings.groups)[:-1], strict=True):
        for name in names if group.frozen else ():
            parameters[name].requires_grad_(False)
    if settings.groups and not any(parameter.requires_grad for parameter in parameters.values()):
        raise SettingsError("optimisation.groups: all parameters are frozen, nothing is left to train")


def for_optimiser(network: nn.Module, settings: Optimisation) -> list[dict[str, Any]]:
    """What an optimiser of torch is given: all parameters alike, or a group each for those of a kind.

    Parameters of frozen groups are not among them. `learning_rate_factor` is for `set_learning_rate`.
    """
    if not settings.groups:
        return [{"params": list(network.parameters())}]
    parameters, groups = dict(network.named_parameters()), []
    rest = ParameterGroup(match="*")
    for group, names in zip([*settings.groups, rest], assigned(list(parameters), settings.groups), strict=True):
        if names and not group.frozen:
            decay = settings.weight_decay if group.weight_decay is None else group.weight_decay
            own = [parameters[name] for name in names]
            groups.append({"params": own, "weight_decay": decay, "learning_rate_factor": group.learning_rate_factor})
    return groups


def in_order(names: Sequence[str], groups: Sequence[ParameterGroup]) -> list[str]:
    """The names of a network's parameters as an optimiser numbers them: those of frozen groups are not among them."""
    if not groups:
        return list(names)
    rest = ParameterGroup(match="*")
    return [name for group, own in zip([*groups, rest], assigned(names, groups), strict=True) if not group.frozen
            for name in own]  # fmt: skip


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """`rate` for all parameters, times the factor of their group (there is none without groups)."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("learning_rate_factor", 1)
