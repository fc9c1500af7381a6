"""What a measure finds of networks that are only drawn, not trained: what is to be seen beside any number that weights
alone might give."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from blurtrain.errors import SettingsError
from blurtrain.evaluation.subject import Row, Subject
from blurtrain.models.trained import TrainedNetwork

T = TypeVar("T")


def check_draws(network: TrainedNetwork, draws: int) -> None:
    """Raise SettingsError where networks like it are to be drawn, and it is not known how it is made."""
    if draws and network.fresh is None:
        raise SettingsError(
            f"{network.origin}: it is not known how it is initialised, so there is no random baseline: give draws=0, "
            "or a TrainedNetwork with `fresh`"
        )


def drawn(network: TrainedNetwork, seed: int) -> TrainedNetwork:
    """The same architecture as it is initialised where `seed` is set, on the same device; leaves the random state as it
    was."""
    assert network.fresh is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = network.fresh().eval()
    return replace(network, module=module).to(network.device)


def with_draws(
    subject: Subject, draws: int, look: Callable[[TrainedNetwork], T], depends: Hashable
) -> tuple[T, list[T]]:
    """What `look` sees in the network, and in as many draws of it, by seeds from 0 on; shared among the processes of
    the group, which all call this and get the same.

    depends: all that what is seen depends on beside the network. Draws are the same for every network of an
    architecture, so they are looked at once for many runs, or stages of a run, that are measured one after the other.
    """
    group, network = subject.group, subject.network
    key = (repr(network.fresh), repr(network.module), draws, group.world, str(group.device), depends)
    known = _KNOWN.get(key)
    jobs: list[int | None] = [None, *range(0 if known else draws)]
    found = list[tuple[int, T]]()
    for turn in range(0, len(jobs), group.world):
        place = turn + group.rank
        if place < len(jobs):
            seed = jobs[place]
            found.append((place, look(network if seed is None else drawn(network, seed))))
        subject.tick()
    every = sorted((pair for part in group.gather(found) for pair in part), key=lambda pair: pair[0])
    if known:
        return every[0][1], known[1]
    others = [one for _, one in every[1:]]
    while len(_KNOWN) >= MOST_KNOWN:
        _KNOWN.pop(next(iter(_KNOWN)))
    _KNOWN[key] = network.fresh, others
    return every[0][1], others


MOST_KNOWN = 4
_KNOWN: dict[Hashable, tuple[Any, list[Any]]] = {}
"""What was seen in draws, by what it depends on; with what made them, so that its name is no other's."""


def random_rows(about: Mapping[str, object], metric: str, values: Sequence[float | None]) -> list[Row]:
    """`METRIC.random`, the mean over draws, and `METRIC.random_sd`, the standard deviation of single draws; None where
    a draw has no finite value."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not values:
        return []
    complete = len(known) == len(values)
    mean = float(np.mean(known)) if complete else None
    sd = float(np.std(known, ddof=1)) if complete and len(known) > 1 else None
    return [
        {"metric": f"{metric}.random", **about, "n": len(values), "value": mean},
        {"metric": f"{metric}.random_sd", **about, "n": len(values), "value": sd},
    ]
