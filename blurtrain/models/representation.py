"""What a network has made of an image just before its last layer, or at a layer that is named."""

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from blurtrain.errors import SettingsError, nearest


def watch(network: nn.Module, layer: str, setting: str, keep: Callable[[Tensor], None]) -> RemovableHandle:
    """Have `keep` called with what a module of the network gives; `layer` empty: with what the last linear layer is
    given. Raises SettingsError, of `setting`, where there is none."""
    modules = dict(network.named_modules())
    if layer:
        if layer not in modules:
            known = [name for name in modules if name]
            raise SettingsError(f"{setting}={layer}: the network has no such module; {nearest(layer, known)}")
        return modules[layer].register_forward_hook(lambda _, __, output: keep(output))
    linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
    if not linear:
        raise SettingsError(f"{setting}: the network has no linear layer: name the module whose output is meant")
    return linear[-1].register_forward_pre_hook(lambda _, given: keep(given[0]))


@contextlib.contextmanager
def representing(
    network: nn.Module, call: Callable[[Tensor], Tensor], layer: str, setting: str
) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function that gives the representation [N, features] of what `call` gives to the network, with its gradients;
    see `watch`."""
    kept: list[Tensor] = []
    handle = watch(network, layer, setting, kept.append)

    def of(images: Tensor) -> Tensor:
        kept.clear()
        call(images)
        return kept.pop().flatten(1)

    try:
        yield of
    finally:
        handle.remove()
