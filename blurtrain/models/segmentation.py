"""Networks for masks: those of torchvision, and of segmentation-models-pytorch as smp/NAME."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blurtrain.errors import SettingsError, nearest
from blurtrain.settings import SEGMENTATION

_STRIDES = {"fcn": 8, "deeplabv3": 8, "lraspp": 16}
"""Of torchvision's networks, by how their names begin: pixels from one place of their maps to the next. (Those on
MobileNetV3 have 16, and 8 does not harm.)"""


class MapNetwork(nn.Module):
    """A network for images whose sides are multiples of its `stride`, for images of any size: what they lack at the
    bottom and on the right is reflected, and cut off the logits again.

    From images [N, 3, H, W] to logits [N, classes, H, W]. Of several outputs, that named `out` counts; smaller ones are
    resized, bilinear.
    """

    def __init__(self, network: nn.Module, stride: int):
        super().__init__()
        self.network, self.stride = network, stride

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes, H, W] of images [N, 3, H, W]."""
        height, width = images.shape[-2:]
        shown = _filled(_filled(images, 2, self.stride), 3, self.stride)
        found = self.network(shown)
        logits: Tensor = found["out"] if isinstance(found, Mapping) else found
        if logits.shape[-2:] != shown.shape[-2:]:
            logits = nn.functional.interpolate(logits, shown.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]


def _filled(images: Tensor, axis: int, stride: int) -> Tensor:
    """Reflected at the end of an axis until it is a multiple of `stride`, however short it is."""
    side = images.shape[axis]
    if not (lacking := -side % stride):
        return images
    period = max(2 * side - 2, 1)
    place = torch.arange(side + lacking, device=images.device) % period
    return images.index_select(axis, torch.minimum(place, period - place).clamp(max=side - 1))


def of_torchvision(name: str) -> Callable[..., nn.Module]:
    """What makes one of torchvision's networks for masks."""

    def make(**arguments: Any) -> nn.Module:
        from torchvision.models import get_model

        network = get_model(name, weights=None, weights_backbone=None, **arguments)
        return MapNetwork(network, next(stride for kind, stride in _STRIDES.items() if name.startswith(kind)))

    return make


def is_of_masks(architecture: str) -> bool:
    """Whether a network of this name gives a map, for each pixel one logit a class."""
    return architecture.startswith("smp/") or architecture in SEGMENTATION


def of_smp(name: str) -> Callable[..., nn.Module]:
    """What makes a network of segmentation-models-pytorch; `encoder_name` is one of its arguments. Raises SettingsError
    where that is not installed, or has no such network or encoder."""
    try:
        import segmentation_models_pytorch as smp
        from segmentation_models_pytorch.encoders import get_encoder_names
    except ImportError as error:
        raise SettingsError(
            f"network.architecture=smp/{name} needs segmentation-models-pytorch ({error}): "
            "pip install 'blurtrain[segmentation]'"
        ) from error
    known = list(smp.MODEL_ARCHITECTURES_MAPPING)
    if name not in known:
        raise SettingsError(f"segmentation-models-pytorch has no network {name!r}; {nearest(name, known)}")

    def make(num_classes: int, **arguments: Any) -> nn.Module:
        encoder = str(arguments.get("encoder_name", "resnet34"))
        if encoder not in (encoders := get_encoder_names()) and not encoder.startswith("tu-"):
            raise SettingsError(
                f"network.arguments.encoder_name={encoder}: {nearest(encoder, encoders)}, or any network of timm as "
                "tu-NAME"
            )
        taken = {*inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[name].__init__).parameters} - {"self", "kwargs"}
        if not encoder.startswith("tu-") and (unknown := [name for name in arguments if name not in taken]):
            raise SettingsError(f"network.arguments.{unknown[0]}: unknown to smp/{name}; {nearest(unknown[0], taken)}")
        network = smp.create_model(name, **{"encoder_name": encoder, **arguments}, encoder_weights=None,
                                   classes=num_classes)  # fmt: skip
        # Decoders that go on from few stages of an encoder want what all of these want.
        return MapNetwork(network, 32)

    return make
