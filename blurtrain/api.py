"""What a notebook or a script of one's own calls: `blurtrain.prepare`, `train`, `load_network` and `evaluate`.

As a library blurtrain handles no signals, configures no logging, and leaves torch as it was: what a training switches
for its whole process (deterministic algorithms, threads, the random state) is put back when it ends.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurtrain.documents import merge
from blurtrain.run import Run
from blurtrain.schema import validate
from blurtrain.settings import Settings, compose, load

if TYPE_CHECKING:
    from blurtrain.data.dataset import Dataset
    from blurtrain.models.trained import TrainedNetwork

    _Network = Run | TrainedNetwork | str | Path


def prepare(images: str | Path | None, name: str, data: str | Path = "data", **recipe: Any) -> "Dataset":
    """Make a folder of images into the dataset `name` below `data`; returns it. Does nothing where it is there already.

    images: None where `recipe` has a standin, whose images are drawn. recipe: further fields of
    `blurtrain.data.preparation.Recipe`, e.g. resolution=64. Raises DataError.
    """
    from blurtrain.data.preparation import Recipe, prepare

    document = recipe if images is None else {**recipe, "images": str(Path(images).resolve())}
    return prepare(Path(data), name, validate(document, "prepare", Recipe))[0]


def train(
    settings: Settings | Mapping[str, Any] | str | Path,
    runs: str | Path = "runs",
    *,
    until_epoch: int | None = None,
    **overrides: Any,
) -> Run:
    """Train one run below `runs`, or continue it; returns its run directory. A done one is left alone.

    settings: a file, its content as a mapping, or a `Settings`. until_epoch: pause once so many epochs are done, from
    the beginning of the run on; a later call goes on. overrides: settings by section, over those, e.g. seed=1,
    optimisation={"epochs": 10}. Raises SettingsError, DataError, RunError or TrainingError.
    """
    from blurtrain.data.prepared_size import at_prepared_size

    resolved = at_prepared_size(_settings(settings, overrides))  # before torch: a mistake is answered at once
    from blurtrain.device import state_kept
    from blurtrain.training.train import train

    with state_kept():
        return train(resolved, Path(runs), until_epoch=until_epoch)


def load_network(
    network: Run | str | Path, *, epoch: int | None = None, data: str | Path | None = None, **settings: Any
) -> "TrainedNetwork":
    """The network of a run, with its preprocessing and class names; or one that is no run, by its name or file.

    network: a run (directory); or `torchvision/NAME`, `timm/NAME`, a file of weights, or of settings, which `settings`
    come on top of (see `blurtrain.models.published.NetworkFile`). epoch, data: of a run, after so many epochs, with its
    dataset in another folder. Raises RunError, SettingsError or DataError.
    """
    from blurtrain.models.published import network_named
    from blurtrain.models.trained import of_run

    place = network.path if isinstance(network, Run) else Path(network)
    if (place / "settings.yaml").exists():
        return of_run(place, epoch, data)
    return network_named(str(network), settings)


def evaluate(
    network: "_Network | list[_Network] | tuple[_Network, ...]",
    measures: Sequence[str] = ("accuracy",),
    blurs: Sequence[Any] | None = None,
    **conditions: Any,
) -> list[dict[str, Any]]:
    """Measure a run, or any trained network, or several as one; returns rows, as `pandas.DataFrame` takes them.

    See `blurtrain.evaluation.evaluate`, to which all arguments go.
    """
    from blurtrain.device import state_kept
    from blurtrain.evaluation import evaluate

    def place(one: "_Network") -> "TrainedNetwork | str | Path":
        return one.path if isinstance(one, Run) else one

    measured = [place(one) for one in network] if isinstance(network, list | tuple) else place(network)
    with state_kept():
        return evaluate(measured, measures, blurs, **conditions)


def _settings(settings: Settings | Mapping[str, Any] | str | Path, overrides: Mapping[str, Any]) -> Settings:
    if isinstance(settings, Settings):
        whole: Settings = validate(merge(settings.model_dump(), overrides), "settings", Settings)
        return whole
    if isinstance(settings, Mapping):
        return compose(merge(settings, overrides), "settings")
    return load(settings, overrides)
