"""Networks by name."""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from blurtrain.deblurring.residual_unet import build_restoring
from blurtrain.errors import DataError, SettingsError, nearest
from blurtrain.parts import is_part_name
from blurtrain.settings import Antialias, Network


def build(
    architecture: str,
    classes: int,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    *,
    bias: Literal["zero", "uniform"] = "zero",
    antialias: Antialias | None = None,
) -> nn.Module:
    """A freshly initialised network, drawn from torch's random state: images [N, 3, H, W] to logits [N, classes].

    `architecture` is one of `settings.ARCHITECTURES`, timm/NAME, or the user's own (see `build_own`); or one for masks,
    which gives logits [N, classes, H, W] (`blurtrain.models.segmentation`). `arguments` go to torchvision's get_model,
    to timm's or segmentation-models-pytorch's create_model, or to the user's class or function; `bias` is of
    alexnet-sup alone (see `AlexNetSup`); `antialias`: how it samples (`blurtrain.models.antialias`), which draws
    nothing. Raises SettingsError where there is no such network, or it does not take the arguments.
    """
    if antialias is None:
        return _plain(architecture, classes, arguments, bias)
    from blurtrain.models.antialias import antialias as change
    from blurtrain.models.antialias import pool_class

    if "aa_layer" in arguments:
        raise SettingsError("network.arguments.aa_layer: cannot be set beside network.antialias, which sets it")
    own = {"aa_layer": pool_class(antialias)}
    takes = architecture.startswith("timm/") and _timm_takes(architecture, classes, {**arguments, **own})
    network = _plain(architecture, classes, {**arguments, **own} if takes else arguments, bias)
    change(network, antialias, architecture)
    return network


def build_network(network: Network, outputs: int) -> nn.Module:
    """`build`, as these settings say, behind a front-end where they ask for one; what they say of weights and dropout
    is for others. The front-end is drawn last."""
    plain = build(network.architecture, outputs, network.arguments, bias=network.bias, antialias=network.antialias)
    if network.frontend is None:
        return plain
    from blurtrain.models.frontend import WithFrontend

    return WithFrontend(plain, network.frontend)


def _timm_takes(architecture: str, classes: int, arguments: Mapping[str, Any]) -> bool:
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            _plain(architecture, classes, arguments, "zero")
    except SettingsError:
        return False
    return True


def _plain(
    architecture: str, classes: int, arguments: Mapping[str, Any], bias: Literal["zero", "uniform"]
) -> nn.Module:
    """As `build` says, with all its strides."""
    if is_part_name(architecture):
        from blurtrain.models.own import build_own

        return build_own(architecture, classes, arguments)
    if architecture == "alexnet-sup":
        from blurtrain.models.alexnet import AlexNetSup

        return AlexNetSup(classes, bias)
    if architecture == "residual-unet":
        return build_restoring(arguments)
    from blurtrain.models import segmentation, torchvision_ops  # noqa: F401  (before torchvision, which timm imports)

    if architecture == "blur-type":
        make: Callable[..., nn.Module] = _blur_type
        reserved = {"features_only", "out_indices"}
    elif architecture.startswith("timm/"):
        make, reserved = _of_timm(architecture.removeprefix("timm/"))
    elif architecture.startswith("smp/"):
        make, reserved = segmentation.of_smp(architecture.removeprefix("smp/")), {"encoder_weights", "classes"}
    elif segmentation.is_of_masks(architecture):
        name = architecture.removeprefix("torchvision/")
        make, reserved = segmentation.of_torchvision(name), {"weights", "weights_backbone", "progress", "aux_loss"}
    else:
        from torchvision.models import get_model

        make, reserved = (
            functools.partial(get_model, architecture.removeprefix("torchvision/").replace("-", "")),
            {"weights", "progress"},
        )
    for name in arguments:
        if _is_reserved(name, reserved):
            raise SettingsError(
                f"network.arguments.{name}: cannot be set: weights come from network.pretrained, classes and channels "
                "from the data, device and precision from where and how the run computes"
            )
    try:
        return make(num_classes=classes, **arguments)
    except SettingsError:
        raise
    except Exception as error:  # each network has its own way to refuse
        if not arguments:
            raise
        raise _refused(architecture, make, classes, arguments, reserved, error) from error


def _blur_type(
    num_classes: int, backbone: str = "mobilenetv2_100", levels: Sequence[int] = (1, 2, 3), **arguments: Any
) -> nn.Module:
    """levels: of timm's feature maps, 0 at stride 2, 1 at 4, ...; there is nothing behind the last. Arguments that are
    not of the network itself go to timm, for its backbone."""
    from blurtrain.models.blur_type import BlurType

    own = {name: arguments.pop(name) for name in ("width", "heads") if name in arguments}
    make, _ = _of_timm(backbone)
    maps = make(features_only=True, out_indices=tuple(levels), **arguments)
    stages = [feature.get("stage") for feature in maps.feature_info.get_dicts()]
    if (
        isinstance(getattr(maps, "blocks", None), nn.Sequential) and None not in stages
    ):  # timm keeps all blocks of this family
        maps.blocks = maps.blocks[: max(stages)]
    return BlurType(maps, maps.feature_info.channels(), num_classes, **own)


def _of_timm(name: str) -> tuple[Callable[..., nn.Module], set[str]]:
    """What makes the network, and the arguments by which timm would find weights, or make something else of it."""
    try:
        import timm
    except ImportError as error:
        raise SettingsError(f"network.architecture=timm/{name} needs timm ({error}): pip install timm") from error
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0)
        raise SettingsError(f"timm has no network {name!r}; {nearest(name, close)} of {len(timm.list_models())}")

    def make(**arguments: Any) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=False, **arguments)
        except RuntimeError as error:  # as timm says that NAME is known, but not the tag in NAME.TAG
            raise SettingsError(f"timm/{name}: {error}") from error

    return make, set(inspect.signature(timm.create_model).parameters) - {"kwargs"}


def _is_reserved(name: str, reserved: set[str]) -> bool:
    """Whether an argument would find weights, or say again what other settings say."""
    return name in reserved | {"num_classes", "in_chans", "in_channels", "device", "dtype"} or name.startswith(
        "pretrained"
    )


def _refused(
    architecture: str,
    make: Callable[..., nn.Module],
    classes: int,
    arguments: Mapping[str, Any],
    reserved: set[str],
    error: Exception,
) -> SettingsError:
    """Why the network cannot be made with `arguments`: which one it does not know, and those that it does."""
    said = str(error).split("\n")[0]
    unknown = next((name for name in arguments if re.search(rf"unexpected keyword argument '{name}'", said)), None)
    if unknown is None:
        return SettingsError(f"network.arguments={dict(arguments)}: {architecture} cannot be made with them ({said})")
    with torch.device("meta"):
        plain = make(num_classes=classes)
    signatures = [inspect.signature(kind) for kind in type(plain).__mro__ if issubclass(kind, nn.Module)]
    # Those without a default are for the function of the network's name, which knows them.
    optional = {p.name for s in signatures for p in s.parameters.values() if p.default is not p.empty}
    known = {name for name in optional if not _is_reserved(name, reserved)}
    return SettingsError(f"network.arguments.{unknown}: unknown to {architecture}; {nearest(unknown, known)}")


def check_input(
    architecture: str,
    classes: int,
    resolution: int,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    shape: tuple[int, ...] = (),
    antialias: Antialias | None = None,
) -> None:
    """Raise DataError where the network cannot take images of `resolution` pixels a side, or gives for one what is not
    of `shape`; (): one logit a class.

    Found out by sending two through on torch's meta device, which follows shapes without computing: some tenths of a
    second, no memory, and no draw from the random state. A user's own network, which may compute what that device
    cannot follow, gets two black images on the processor.
    """
    own, wanted = is_part_name(architecture), shape or (classes,)
    device = torch.device("cpu" if own else "meta")
    with torch.random.fork_rng(devices=[]):
        with device:
            network = build(architecture, classes, arguments, antialias=antialias).train()
        if refusal := _refusal(network, resolution, device):
            sides = sorted(range(32, 513, 32), key=lambda side: abs(side - resolution))
            fitting = next((side for side in sides if not _refusal(network, side, device)), None)
            cure = f"the nearest multiple of 32 that it takes is {fitting}" if fitting else "choose another of either"
            cure += ", or leave out network.arguments" * bool(arguments)
            raise DataError(f"{architecture} cannot take data.resolution={resolution} ({refusal}): {cure}")
        if not arguments and not own and not shape:
            return
        outcome = network(torch.zeros(2, 3, resolution, resolution, device=device))
    if not isinstance(outcome, Tensor) or outcome.shape != (2, *wanted):
        if own:
            gave = f"a {type(outcome).__name__}" if not isinstance(outcome, Tensor) else f"{list(outcome.shape)}"
            what = "logits" if not shape else "outputs"
            raise SettingsError(f"network {architecture}: gave {gave} for two images, not {what} {[2, *wanted]}")
        if shape:
            gave = f"{list(outcome.shape)}" if isinstance(outcome, Tensor) else f"a {type(outcome).__name__}"
            raise SettingsError(
                f"network.architecture={architecture}: gives {gave} for two images, and the task wants {[2, *wanted]}: "
                "choose a network for it"
            )
        raise SettingsError(f"network.arguments={dict(arguments)}: {architecture} then gives no longer one logit a "
                            "class; leave out what changes its outcome")  # fmt: skip


def _refusal(network: nn.Module, side: int, device: torch.device) -> str:
    try:
        with torch.no_grad():
            network(torch.zeros(2, 3, side, side, device=device))
    except Exception as error:  # each network has its own way to refuse
        return str(error).split("\n")[0].rstrip(". ") or type(error).__name__
    return ""
