"""Which part of a network for masks a classifier's weights are for: its encoder, found by names and shapes."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

_COUNTER = "num_batches_tracked"
"""Of batch norm: old files lack it, and no network of ours makes use of it."""


@dataclass(frozen=True)
class Encoder:
    """A part of a network, and the tensors of a file that are its own."""

    path: str
    """Of the part; empty: the whole network."""
    tensors: Mapping[str, Tensor]
    """By their names in the network."""
    left: tuple[str, ...]
    """Names of the file's other tensors: of the classifier behind its features."""


def encoder_in(model: nn.Module, stored: Mapping[str, Tensor]) -> Encoder | None:
    """The part of `model` all of whose tensors are in the file, with more than half of the file's: of several the one
    with most; None where there is none. Names count from the part on, and in the file from its top or from one of
    its topmost parts on (`features.0.weight`)."""
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_COUNTER)}
    count = sum(not name.endswith(_COUNTER) for name in stored)
    best: Encoder | None = None
    for path, _ in model.named_modules():
        below = {name: tensor for name, tensor in own.items() if name.startswith(f"{path}.") or not path}
        for top in ["", *dict.fromkeys(f"{name.partition('.')[0]}." for name in stored if "." in name)]:
            found = {name: top + name[len(path) + bool(path) :] for name in below}
            fits = bool(found) and all(other in stored and alike(own[name], stored[other])
                                       for name, other in found.items())  # fmt: skip
            if fits and 2 * len(found) > count and (best is None or len(found) > len(best.tensors)):
                taken = set(found.values())
                left = tuple(name for name in stored if name not in taken and not name.endswith(_COUNTER))
                best = Encoder(path, {name: stored[other] for name, other in found.items()}, left)
    return best


def alike(first: Tensor, second: Tensor) -> bool:
    """Whether they are of one shape and kind, so that one can take the values of the other."""
    return first.shape == second.shape and first.is_floating_point() == second.is_floating_point()
