"""Networks from elsewhere: of torchvision, of timm, or a state dict of one's own, with how they want their images.

Nothing is downloaded: weights come from a file, or from the cache that torchvision or timm have filled before.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import nn

from blurtrain.documents import read_yaml
from blurtrain.errors import DataError, SettingsError, nearest
from blurtrain.models import build
from blurtrain.models.outputs import imagenet_names, imagenet_synonyms
from blurtrain.models.pretrained import load_pretrained
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
    publisher = _publisher(settings.architecture)
    names = _class_names(settings, publisher)
    outputs = settings.outputs or (len(names) if names else 1000)
    if not names and outputs == 1000:
        names = publisher.names or list(imagenet_names()) or None
    names = names or [f"class {number}" for number in range(outputs)]
    if len(names) != outputs:
        raise DataError(f"{settings.classes}: names {len(names)} classes, but there are {outputs} outputs")
    preprocessing = _preprocessing(settings, publisher)
    path = Path(settings.weights) if settings.weights else publisher.cached()
    module = build(settings.architecture, outputs, settings.arguments)
    _load(module, path, settings)
    synonyms = imagenet_synonyms() if outputs == 1000 else None
    origin = f"{settings.architecture} of {path.name}"
    return TrainedNetwork(module.eval(), preprocessing, tuple(names), origin, synonyms)


@dataclass(frozen=True)
class Publisher:
    """What torchvision or timm say of a network and its published weights."""

    name: str
    defaults: Mapping[str, Any]
    """resize, crop, interpolation, mean, sd."""
    names: list[str] | None
    url: str
    file: Path | None
    """Where the weights are, or would be after a download."""

    def cached(self) -> Path:
        if self.file is None or not self.file.exists():
            where = f", or get {self.url}" + (f" to {self.file}" if self.file else "") if self.url else ""
            raise DataError(
                f"{self.name}: its published weights are not on this machine, and nothing is downloaded unasked: give "
                f"network.weights=FILE{where}"
            )
        return self.file


def _publisher(architecture: str) -> Publisher:
    if architecture.startswith("timm/"):
        return _of_timm(architecture)
    if architecture == "alexnet-sup":
        return Publisher(architecture, {}, None, "", None)
    return _of_torchvision(architecture)


def _of_torchvision(architecture: str) -> Publisher:
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)

    # isort: split
    from torchvision.models import get_model_weights, list_models

    name = architecture.removeprefix("torchvision/").replace("-", "")
    if name not in list_models():
        known = nearest(name, [n for n in list_models() if n[:3] == name[:3]] or ["alexnet", "resnet50"])
        raise SettingsError(f"torchvision has no network {name!r}; {known}; those of timm are named timm/NAME")
    published = next(iter(get_model_weights(name)), None)
    if published is None:
        return Publisher(architecture, {}, None, "", None)
    preset = published.transforms()
    defaults = {
        "resize": preset.resize_size[0],
        "crop": preset.crop_size[0],
        "interpolation": preset.interpolation.value,
        "mean": tuple(preset.mean),
        "sd": tuple(preset.std),
    }
    file = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rsplit("/", 1)[-1]
    return Publisher(architecture, defaults, list(published.meta["categories"]), published.url, file)


def _of_timm(architecture: str) -> Publisher:
    with torch.device("meta"):
        about = getattr(build(architecture, 1000), "pretrained_cfg", None) or {}
    side = about.get("input_size", (3, 224, 224))[-1]
    defaults: dict[str, Any] = {"crop": side, "resize": int(side / about.get("crop_pct", 0.875))}
    if about.get("interpolation") in ("bilinear", "bicubic"):
        defaults["interpolation"] = about["interpolation"]
    if "mean" in about:
        defaults |= {"mean": tuple(about["mean"]), "sd": tuple(about["std"])}
    return Publisher(architecture, defaults, None, about.get("url") or "", _cached_of_timm(about))


def _cached_of_timm(about: Mapping[str, Any]) -> Path | None:
    if repository := about.get("hf_hub_id"):
        from huggingface_hub import try_to_load_from_cache

        for file in ("model.safetensors", "pytorch_model.bin"):
            if isinstance(found := try_to_load_from_cache(repository, about.get("hf_hub_filename") or file), str):
                return Path(found)
    url = about.get("url") or ""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1] if url else None


def _class_names(settings: NetworkFile, publisher: Publisher) -> list[str] | None:
    if settings.classes is None:
        return publisher.names if settings.outputs is None else None
    try:
        return Path(settings.classes).read_text().splitlines()
    except OSError as error:
        raise DataError(f"network.classes={settings.classes}: cannot be read: {error.strerror}") from None


def _preprocessing(settings: NetworkFile, publisher: Publisher) -> Preprocessing:
    own = settings.model_dump(include={"resize", "crop", "interpolation", "mean", "sd"}, exclude_none=True)
    if "crop" in own and "resize" not in own and "crop" in publisher.defaults:
        share = publisher.defaults["resize"] / publisher.defaults["crop"]
        own["resize"] = round(own["crop"] * share)
    chosen = {"interpolation": "bilinear", **publisher.defaults, **own}
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
    if path.suffix == ".bin":
        raise DataError(f"{path}: is pickled; give network.weights=FILE as .safetensors or .pth")
    if other := load_pretrained(module, Pretrained(file=str(path), sha256=digest)):
        raise DataError(f"{path}: {other[0]} is for another number of classes: say network.outputs or network.classes")
