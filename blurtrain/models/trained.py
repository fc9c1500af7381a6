"""A network as it was trained: with how its images are prepared, what its classes are called, and where it is from."""

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.preprocessing import Preprocessing as Preprocessing
from blurtrain.errors import RunError
from blurtrain.files import read_json
from blurtrain.models import build_network
from blurtrain.models.normalisation import as_published
from blurtrain.models.outputs import outputs_of, places_of
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Run, saved_checkpoints
from blurtrain.settings import Settings, run_id


@dataclass(frozen=True)
class TrainedNetwork:
    """What predicts and is measured; it knows nothing of measures."""

    module: nn.Module
    """From normalised images [N, 3, S, S] to logits [N, outputs]; in evaluation mode."""
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    """Names of the logits, in their order."""
    origin: str
    """What it is and where it is from, in words."""
    synonyms: tuple[frozenset[str], ...] | None = None
    """Other names of each class, such as WordNet ids; none are known where there is none."""
    outputs: tuple[int, ...] | None = None
    """Which of the module's outputs are meant, in the order of `classes`; none: all."""
    fresh: Callable[[], nn.Module] | None = None
    """Makes a module of the same architecture, freshly initialised from torch's random state; none: it is not known how
    it is made."""
    temperature: float = 1.0
    """By which `predict` divides the logits, so that probabilities are calibrated."""

    @property
    def device(self) -> torch.device:
        """The device that the module's weights lie on."""
        return next(self.module.parameters()).device

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of normalised images [N, 3, H, W], of which the central square is looked at."""
        shown = self.preprocessing.cropped(images).to(next(self.module.parameters()).dtype)
        found = self.module(shown)
        return found if self.outputs is None else found[:, list(self.outputs)]

    def maps(self, images: Tensor) -> Tensor:
        """Of a network for masks: logits [N, classes, H, W] of normalised images [N, 3, H, W], whole."""
        found: Tensor = self.module(images.to(next(self.module.parameters()).dtype))
        return found

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Probabilities [N, classes] (float32) of uint8 images [N, 3, H, W] that are resized already."""
        shown = self.preprocessing.normalised(images.to(self.device))
        return (self.logits(shown).float() / self.temperature).softmax(1)

    def to(self, device: torch.device) -> "TrainedNetwork":
        """The same on another device, channels last in memory."""
        return replace(self, module=self.module.to(device, memory_format=torch.channels_last))

    def restricted(self, classes: Sequence[str]) -> "TrainedNetwork":
        """The same for these classes alone, found by name or synonym, so that chance is 1 in so many.

        The same network where the names are its own. Raises DataError where a class is not among its own.
        """
        if tuple(classes) == self.classes:
            return self
        chosen = places_of(classes, self.classes, self.synonyms, f"{self.origin}:")
        outputs = chosen if self.outputs is None else tuple(self.outputs[place] for place in chosen)
        synonyms = None if self.synonyms is None else tuple(self.synonyms[place] for place in chosen)
        return replace(self, classes=tuple(classes), synonyms=synonyms, outputs=outputs)

    def digest(self) -> str:
        """16 hex digits of a hash of all that a prediction is of: weights, outputs, preprocessing, temperature."""
        content = hashlib.sha256(repr(self.module).encode())
        calibrated = [] if self.temperature == 1 else [self.temperature]
        content.update(json.dumps([self.preprocessing.identity(), self.outputs, *calibrated]).encode())
        for name, tensor in self.module.state_dict().items():
            content.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return content.hexdigest()[:16]


# --- of a run -------------------------------------------------------------------------------------------------------


def of_run(folder: str | Path, epoch: int | None = None, data: str | Path | None = None) -> TrainedNetwork:
    """The network of a run: as it was published at its end, or as it was after `epoch` epochs.

    `data`: folder of prepared datasets, by default as the settings say; its dataset gives class names and, where the
    settings do not, the normalisation. Raises RunError where there are no such weights, or the data are others.
    """
    run = Run(Path(folder).resolve())
    settings = run.settings
    dataset = open_dataset(Path(data or settings.data.root), settings.dataset)
    if run_id(settings, dataset.data_id) != run.id:
        raise RunError(f"{folder}: was not trained on this dataset {dataset.name!r} in {dataset.folder.parent}")
    return load_run(run, as_published(settings), dataset, epoch)


def load_run(run: Run, settings: Settings, dataset: Dataset, epoch: int | None = None) -> TrainedNetwork:
    """As `of_run`, of a run whose settings (`as_published`) and dataset are open already. Raises RunError where the
    weights do not fit the settings."""
    epochs = last_epoch(run, settings)
    outputs = outputs_of(settings.network, dataset.classes)
    count = settings.task.outputs(len(outputs.names))
    model = build_network(settings.network, count)
    weights = _weights(run, epochs if epoch is None else epoch, epochs)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{run.path}: its weights do not fit its settings: {_first_line(error)}") from None
    Smoothing(model, settings.curriculum).sigma = settings.curriculum.feature_sigma_at_test(epoch or epochs)
    if epoch not in (None, epochs):
        return trained(model, settings, dataset, f"{run.id} after {epoch} epochs")
    calibration = read_json(run.calibration) or {"temperature": 1.0}
    return replace(trained(model, settings, dataset, run.id), temperature=calibration["temperature"])


def trained(model: nn.Module, settings: Settings, dataset: Dataset, origin: str) -> TrainedNetwork:
    """`model`, as it stands, as the network of a run with these settings on this dataset."""
    outputs = outputs_of(settings.network, dataset.classes)
    preprocessing = preprocessing_of(settings, dataset)
    count = settings.task.outputs(len(outputs.names))
    fresh = functools.partial(build_network, settings.network, count)
    return TrainedNetwork(model.eval(), preprocessing, outputs.names, f"run {origin}", outputs.synonyms, fresh=fresh)


def preprocessing_of(settings: Settings, dataset: Dataset) -> Preprocessing:
    """How the network of a run with these settings on this dataset is shown images."""
    side = settings.data.resolution
    mean, sd = settings.data.mean or dataset.manifest["mean"], settings.data.sd or dataset.manifest["sd"]
    return Preprocessing(side, side, tuple(mean), tuple(sd), view=dataset.view_of_images)


def last_epoch(run: Run, settings: Settings) -> int:
    """The epoch that the run's final weights are of: of a done one, which may have been stopped early, as it says."""
    return int((run.result() or {}).get("epochs", settings.optimisation.epochs))


def _weights(run: Run, epoch: int, epochs: int) -> dict[str, Tensor]:
    if epoch == epochs and run.weights.exists():
        return _read(run, run.weights)
    if run.stage(epoch).exists():
        return _read(run, run.stage(epoch))
    if ((run.result() or {}).get("best") or {}).get("epoch") == epoch and run.best.exists():
        return _read(run, run.best)
    for path in saved_checkpoints(run.checkpoints):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # damaged, or removed a moment ago by the training: another one may do
            continue
        if (state["epoch"], state["step"]) == (epoch, 0):
            return state.get("average", state["model"])
    if epoch == epochs:
        raise RunError(f"{run.path}: has no {run.weights.name}: the run has not been trained to its end")
    there = ", ".join(map(str, [*run.kept_epochs(), *([epochs] if run.weights.exists() else [])])) or "none"
    raise RunError(
        f"{run.path}: has no weights of epoch {epoch} (there are: {there}); checkpoints.keep_epochs keeps them"
    )


def _read(run: Run, path: Path) -> dict[str, Tensor]:
    """Weights of a run, which are to be those that it has published."""
    try:
        content = path.read_bytes()
        known = (run.result() or {}).get("sha256", {}).get(str(path.relative_to(run.path)))
        if known not in (None, hashlib.sha256(content).hexdigest()):
            raise RunError(
                f"{path}: is damaged, or another file: its SHA-256 is not that of result.json; restore it, or remove "
                "the run and train it again"
            )
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, RuntimeError, OSError) as error:
        cause = _first_line(error)
        raise RunError(f"{path}: cannot be read: {cause}; remove the run, and train it again") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def describe(network: TrainedNetwork) -> dict[str, Any]:
    """What one needs to know to use its weights elsewhere, as plain values."""
    return {
        "origin": network.origin,
        "classes": list(network.classes),
        "preprocessing": {**asdict(network.preprocessing), "pixels": "RGB / 255, then minus mean, divided by sd"},
        "temperature": network.temperature,
    }


def alone(network: TrainedNetwork) -> nn.Module:
    """A module of its own, on the processor, from the network's input to the logits of `classes`: for export."""

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network.module).cpu().float().eval()
            self.outputs = None if network.outputs is None else torch.tensor(network.outputs)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(images)
            return logits if self.outputs is None else logits[:, self.outputs]

    return Alone()
