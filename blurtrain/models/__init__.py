"""Networks by name."""

import difflib
from typing import Literal

import torch
from torch import nn

from blurtrain.errors import DataError, SettingsError, nearest


def build(architecture: str, classes: int, *, bias: Literal["zero", "uniform"] = "zero") -> nn.Module:
    """A freshly initialised network, drawn from torch's random state: images [N, 3, H, W] to logits [N, classes].

    `architecture` is one of `settings.ARCHITECTURES`, or timm/NAME; `bias` is of alexnet-sup alone (see `AlexNetSup`).
    Raises SettingsError where timm has no such NAME.
    """
    if architecture == "alexnet-sup":
        from blurtrain.models.alexnet import AlexNetSup

        return AlexNetSup(classes, bias)
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision, which timm imports too)

    if architecture.startswith("timm/"):
        return _build_timm(architecture.removeprefix("timm/"), classes)
    from torchvision.models import get_model

    return get_model(architecture.replace("-", ""), num_classes=classes)


def _build_timm(name: str, classes: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise SettingsError(f"network.architecture=timm/{name} needs timm ({error}): pip install timm") from error
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0)
        raise SettingsError(f"timm has no network {name!r}; {nearest(name, close)} of {len(timm.list_models())}")
    try:
        return timm.create_model(name, pretrained=False, num_classes=classes)
    except RuntimeError as error:  # as timm says that NAME is known, but not the tag in NAME.TAG
        raise SettingsError(f"timm/{name}: {error}") from error


def check_input(architecture: str, classes: int, resolution: int) -> None:
    """Raise DataError where the network cannot take images of `resolution` pixels a side.

    Found out by sending two through on torch's meta device, which follows shapes without computing: some tenths of a
    second, no memory, and no draw from the random state.
    """
    with torch.device("meta"):
        network = build(architecture, classes).train()
    if refusal := _refusal(network, resolution):
        sides = sorted(range(32, 513, 32), key=lambda side: abs(side - resolution))
        fitting = next((side for side in sides if not _refusal(network, side)), None)
        cure = f"the nearest multiple of 32 that it takes is {fitting}" if fitting else "choose another of either"
        raise DataError(f"{architecture} cannot take data.resolution={resolution} ({refusal}): {cure}")


def _refusal(network: nn.Module, side: int) -> str:
    try:
        with torch.no_grad():
            network(torch.empty(2, 3, side, side, device="meta"))
    except Exception as error:  # each network has its own way to refuse
        return str(error).split("\n")[0].rstrip(". ") or type(error).__name__
    return ""
