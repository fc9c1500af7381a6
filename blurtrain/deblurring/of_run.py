"""Methods that restore by a network that a run has trained: by what they know it, and how they read it."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from blurtrain.blur.blur import Blur
from blurtrain.deblurring.deblurring import Deblurring
from blurtrain.documents import read_yaml
from blurtrain.errors import RunError, SettingsError
from blurtrain.files import read_json, sha256_of
from blurtrain.schema import FileName, Name, Sha256, outside_identity

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORK = "residual-unet"
WEIGHTS = "weights.safetensors"


class OfRun(Deblurring):
    """Base of such methods. The run is a finished one for task=restoration, of the network residual-unet; it is known
    by its weights, wherever it lies."""

    unnamed: ClassVar[frozenset[str]] = frozenset({"run", "sha256"})
    run: FileName = outside_identity(...)
    """Its folder."""
    sha256: Sha256 | None = None
    """Of its weights.safetensors; none: they are taken as they are."""
    title: Name | None = None
    """What the label calls it."""

    @property
    def identity(self) -> dict[str, Any]:
        """See `Deblurring.identity`; of the run its weights, and how its network is built."""
        found = finished(self.run)
        return {
            "deblur": self.label,
            "deblur_file": found.sha256[:16],
            "deblur_network": {"architecture": NETWORK, **found.arguments},
        }

    def check(self, blurs: Sequence[Blur]) -> None:
        """See `Deblurring.check`."""
        super().check(blurs)
        found = finished(self.run)
        if self.sha256 not in (None, found.sha256):
            raise SettingsError(f"{self.run}: is another run than was meant: the sha256 of its weights is "
                                f"{found.sha256}")  # fmt: skip

    def network(self, images: "Tensor") -> "nn.Module":
        """The run's network, in evaluation mode, where `images` are and in their dtype. Raises SettingsError as
        `finished` does."""
        weights = Path(self.run) / WEIGHTS
        if not weights.is_file():
            finished(self.run)
        return _loaded(self.run, weights.stat().st_mtime_ns, str(images.device), images.dtype)


@dataclass(frozen=True)
class Finished:
    """A run that has been trained to its end."""

    weights: Path
    sha256: str
    arguments: Mapping[str, Any]
    """Of its network."""


def finished(folder: str) -> Finished:
    """The run in `folder`. Raises SettingsError, one line, where there is none, or none that restores images by a
    network of ours, or it is not done or damaged."""
    path = Path(folder)
    if not (path / "settings.yaml").is_file():
        raise SettingsError(f"{folder}: {'is no run: it has no settings.yaml' if path.is_dir() else 'no such run'}")
    settings = read_yaml(path / "settings.yaml")
    task, network = settings.get("task") or {}, settings.get("network") or {}
    if (name := task.get("type", "classification")) != "restoration":
        raise SettingsError(f"{folder}: is a run for task={name}: images are restored by one for task=restoration")
    if (architecture := network.get("architecture")) != NETWORK:
        raise SettingsError(f"{folder}: its network is {architecture}: images are restored by {NETWORK}")
    if (settings.get("curriculum") or {}).get("schedule") == "feature-smoothing":
        raise SettingsError(f"{folder}: its feature maps are smoothed, so that its weights alone are not the network")
    try:
        result = read_json(path / "result.json")
    except RunError as error:
        raise SettingsError(str(error)) from None
    weights = path / WEIGHTS
    if result is None or not weights.is_file():
        raise SettingsError(f"{folder}: is not finished: train it to its end first (`blurtrain train` goes on with it)")
    digest = sha256_of(weights)
    if result.get("sha256", {}).get(WEIGHTS, digest) != digest:
        raise SettingsError(f"{weights}: is damaged, or another file: its SHA-256 is not that of result.json")
    return Finished(weights, digest, network.get("arguments") or {})


@functools.lru_cache(maxsize=8)
def _loaded(folder: str, changed: int, device: str, dtype: Any) -> "nn.Module":
    """The network of the run, whose weights were last changed then."""
    import safetensors.torch
    import torch

    from blurtrain.deblurring.residual_unet import build_restoring

    found = finished(folder)
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
        network = build_restoring(found.arguments)
        try:
            network.load_state_dict(safetensors.torch.load(found.weights.read_bytes()))
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise SettingsError(f"{found.weights}: does not fit: {str(error).splitlines()[0]}") from None
        network = network.to(torch.device(device), dtype, memory_format=torch.channels_last)
        return network.eval().requires_grad_(False)
