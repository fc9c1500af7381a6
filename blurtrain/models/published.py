"""Networks from elsewhere: of torchvision, of timm, or a state dict of one's own, with how they want their images.

Nothing is downloaded: weights come from a file, or from the cache that torchvision or timm have filled before.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_validator
from torch import nn

from blurtrain.documents import read_yaml
from blurtrain.errors import DataError, SettingsError
from blurtrain.models import build
from blurtrain.models.outputs import imagenet_names, imagenet_synonyms
from blurtrain.models.pretrained import load_pretrained
from blurtrain.models.records import Record, record_of
from blurtrain.models.trained import Preprocessing, TrainedNetwork
from blurtrain.schema import Section, validate
from blurtrain.settings import Pretrained

WEIGHTS = (".safetensors", ".pt", ".pth")
Triple = tuple[float, float, float]


class NetworkFile(Section):
    """A network that no run of ours has trained. What is left out is as its publisher says."""

    architecture: str
    """alexnet-sup, torchvision/NAME, timm/NAME, or a name that settings know."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of timm or torchvision for the network, e.g. {pad_type: same}."""
    weights: str | None = None
    """A state dict as .safetensors, .pt or .pth; none: the published weights, from the cache of torchvision or timm."""
    classes: str | None = None
    """A text file with the name of a class a line; none: as published, or ImageNet's where there are 1000 outputs."""
    outputs: int | None = Field(None, ge=1)
    """How many classes; none: as many as there are names, or 1000."""
    resize: int | None = Field(None, ge=8)
    """The smaller side of the image is resized to so many pixels ..."""
    crop: int | None = Field(None, ge=8)
    """... of which the network sees the central square."""
    interpolation: Literal["bilinear", "bicubic"] | None = None
    mean: Triple | None = None
    sd: Triple | None = None
    """Normalisation, of pixels in 0..1."""

    @field_validator("arguments")
    @classmethod
    def _not_other_settings(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if taken := {"num_classes", "weights", "pretrained"} & set(arguments):
            raise ValueError(f"{taken.pop()} is said by other settings")
        return arguments


def network_named(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> TrainedNetwork:
    """A network by name (`timm/NAME`, `torchvision/NAME`), by a state dict file (with `architecture` in `settings`), or
    by a YAML file of such settings; `settings` are those of `NetworkFile`, and come on top.

    Raises SettingsError and DataError, one line each, where it is unknown, or its weights are not here.
    """
    document: dict[str, Any] = {}
    if Path(name).suffix in (".yaml", ".yml"):
        document = read_yaml(Path(name))
    elif Path(name).suffix in WEIGHTS:
        document = {"weights": name}
        if "architecture" not in settings:
            raise SettingsError(f"{name}: is a file of weights: say of what, by network.architecture=timm/NAME, say")
    else:
        document = {"architecture": name}
    return load_network(validate({**document, **settings}, name, NetworkFile))


def load_network(settings: NetworkFile) -> TrainedNetwork:
    """The network with its weights, preprocessing and class names; raises as `network_named`."""
    record = record_of(settings.architecture)
    names = _class_names(settings, record)
    outputs = settings.outputs or (len(names) if names else 1000)
    if not names and outputs == 1000:
        names = record.classes or list(imagenet_names()) or None
    names = names or [f"class {number}" for number in range(outputs)]
    if len(names) != outputs:
        raise DataError(f"{settings.classes}: names {len(names)} classes, but there are {outputs} outputs")
    preprocessing = _preprocessing(settings, record)
    path = Path(settings.weights) if settings.weights else record.cached()
    fresh = functools.partial(build, settings.architecture, outputs, settings.arguments)
    module = fresh()
    _load(module, path, settings)
    synonyms = imagenet_synonyms() if outputs == 1000 else None
    origin = f"{settings.architecture} of {path.name}"
    return TrainedNetwork(module.eval(), preprocessing, tuple(names), origin, synonyms, fresh=fresh)


def _class_names(settings: NetworkFile, record: Record) -> list[str] | None:
    if settings.classes is None:
        return record.classes if settings.outputs is None else None
    try:
        return Path(settings.classes).read_text().splitlines()
    except OSError as error:
        raise DataError(f"network.classes={settings.classes}: cannot be read: {error.strerror}") from None


def _preprocessing(settings: NetworkFile, record: Record) -> Preprocessing:
    own = settings.model_dump(include={"resize", "crop", "interpolation", "mean", "sd"}, exclude_none=True)
    if "crop" in own and "resize" not in own and "crop" in record.preprocessing:
        share = record.preprocessing["resize"] / record.preprocessing["crop"]
        own["resize"] = round(own["crop"] * share)
    chosen = {"interpolation": "bilinear", **record.preprocessing, **own}
    chosen.setdefault("crop", chosen.get("resize"))
    chosen.setdefault("resize", chosen["crop"])
    if lacking := [name for name in ("resize", "mean", "sd") if chosen.get(name) is None]:
        raise SettingsError(
            f"{settings.architecture}: nothing published says its {lacking[0]}: network.{lacking[0]}=..."
        )
    if chosen["crop"] > chosen["resize"]:
        raise SettingsError(f"network.crop={chosen['crop']} is more than network.resize={chosen['resize']}")
    return Preprocessing(**chosen, keep_aspect=True)


def _load(module: nn.Module, path: Path, settings: NetworkFile) -> None:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"network.weights={path}: cannot be read: {error.strerror}") from None
    if other := load_pretrained(module, Pretrained(file=str(path), sha256=digest)):
        raise DataError(f"{path}: {other[0]} is for another number of classes: say network.outputs or network.classes")
