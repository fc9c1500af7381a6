"""What torchvision and timm say of the weights that they publish, and where their caches have these.

A name is `torchvision/NAME` or `timm/NAME`, for the first weights of a network that the library lists (timm: its
default), or with the weights' own name behind: `torchvision/resnet50.IMAGENET1K_V2`, `timm/resnet50.tv_in1k`.
Nothing is downloaded here.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blurtrain.errors import DataError, SettingsError, nearest

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Record:
    """Of one set of weights."""

    name: str
    preprocessing: Mapping[str, Any]
    """resize, crop, interpolation, mean, sd, as far as they are said."""
    classes: list[str] | None = None
    url: str = ""
    hub: tuple[str, str] | None = None
    """Repository on the Hugging Face hub, and file in it (empty: one of HUB_FILES)."""

    @property
    def file(self) -> Path | None:
        """Where the weights are, or None where they are in no cache."""
        if self.hub:
            from huggingface_hub import try_to_load_from_cache

            for name in [self.hub[1]] if self.hub[1] else HUB_FILES:
                if isinstance(found := try_to_load_from_cache(self.hub[0], name), str):
                    return Path(found)
        return self.of_url if self.url and self.of_url.exists() else None

    @property
    def of_url(self) -> Path:
        """Where what is at `url` is, or would be."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1]

    def cached(self) -> Path:
        """`file`; raises DataError where there is none."""
        if found := self.file:
            return found
        if not self.url and not self.hub:
            raise DataError(f"{self.name}: no weights of it are published; give a FILE that holds some")
        raise DataError(
            f"{self.name}: its published weights are not on this machine, and nothing is downloaded unasked: "
            f"`blurtrain weights fetch {self.name}` gets them, where there is internet; or give a FILE that holds them"
        )


def record_of(name: str) -> Record:
    """Raises SettingsError, one line, where the library does not know the name; of a network that it has published no
    weights of, the record is empty."""
    if name == "alexnet-sup":
        return Record(name, {})
    return _of_timm(name) if name.startswith("timm/") else _of_torchvision(name)


def records_in_cache() -> Iterator[Record]:
    """All published weights that are on this machine."""
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)

    # isort: split
    from torchvision.models import get_model_weights, list_models

    for model in list_models():
        for weights in get_model_weights(model):
            if (record := _torchvision_record(f"torchvision/{model}.{weights.name}", weights)).file:
                yield record
    try:
        import timm
    except ImportError:
        return
    for model in timm.list_pretrained():
        if (record := _of_timm(f"timm/{model}")).file:
            yield record


def _of_torchvision(name: str) -> Record:
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)

    # isort: split
    from torchvision.models import get_model_weights, list_models

    model, _, tag = name.removeprefix("torchvision/").partition(".")
    model = model.replace("-", "")
    if model not in list_models():
        known = nearest(model, [n for n in list_models() if n[:3] == model[:3]] or ["alexnet", "resnet50"])
        raise SettingsError(f"torchvision has no network {model!r}; {known}; those of timm are named timm/NAME")
    weights = {w.name: w for w in get_model_weights(model)}
    if tag and tag not in weights:
        raise SettingsError(f"{name}: torchvision has no weights {tag!r} of it; {nearest(tag, weights)}")
    if not weights:
        return Record(name, {})
    return _torchvision_record(name, weights[tag] if tag else next(iter(weights.values())))


def _torchvision_record(name: str, weights: Any) -> Record:
    preset = weights.transforms()
    said = {
        "resize": getattr(preset, "resize_size", [None])[0],
        "crop": getattr(preset, "crop_size", [None])[0],
        "interpolation": getattr(getattr(preset, "interpolation", None), "value", None),
        "mean": tuple(preset.mean) if hasattr(preset, "mean") else None,
        "sd": tuple(preset.std) if hasattr(preset, "std") else None,
    }
    said = {key: value for key, value in said.items() if value is not None}
    return Record(name, said, list(weights.meta.get("categories") or []) or None, weights.url)


def _of_timm(name: str) -> Record:
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision, which timm imports)

    # isort: split
    try:
        import timm
    except ImportError as error:
        raise SettingsError(f"{name} needs timm ({error}): pip install timm") from error

    model = name.removeprefix("timm/")
    if not timm.is_model(model.partition(".")[0]):
        close = difflib.get_close_matches(model, timm.list_models(), n=5, cutoff=0)
        raise SettingsError(f"timm has no network {model!r}; {nearest(model, close)}")
    try:
        said = timm.get_pretrained_cfg(model)
    except RuntimeError as error:  # as timm says that it has not this tag
        raise SettingsError(f"{name}: {error}") from error
    if said is None:
        return Record(name, {})
    side = said.input_size[-1]
    preprocessing: dict[str, Any] = {"crop": side, "resize": int(side / said.crop_pct)}
    if said.interpolation in ("bilinear", "bicubic"):
        preprocessing["interpolation"] = said.interpolation
    preprocessing |= {"mean": tuple(said.mean), "sd": tuple(said.std)}
    hub = (said.hf_hub_id, said.hf_hub_filename or "") if said.hf_hub_id else None
    return Record(name, preprocessing, None, said.url or "", hub)
