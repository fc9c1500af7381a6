"""Whether a network takes images of another size than those it is built for."""

import torch
from torch import nn

from blurtrain.errors import SettingsError


def check_side(network: nn.Module, side: int, setting: str) -> None:
    """Raises SettingsError, one line that names `setting`, where the network does not take images of `side` pixels."""
    example = next(network.parameters())
    was_training = network.training
    network.eval()  # nothing random, no statistics
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, side, side, dtype=example.dtype, device=example.device))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(
            f"{setting}: the network does not take images of {side} px ({reason}): set more, or leave it out"
        ) from None
    finally:
        network.train(was_training)
