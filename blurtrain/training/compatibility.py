"""Whether the parts of a run fit together: settings, network and data, and the settings of its processes."""

import hashlib
from pathlib import Path

import torch

from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import training_order
from blurtrain.data.targets import masks_of
from blurtrain.distributed import Group
from blurtrain.errors import DataError, RunError, SettingsError, TrainingError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.views import check_protocol, check_whole
from blurtrain.models import build_network, check_input
from blurtrain.models.dropout import drop_features
from blurtrain.models.outputs import outputs_of
from blurtrain.settings import Settings
from blurtrain.training.batch_norm import freeze_statistics
from blurtrain.training.parameter_groups import freeze

_OWN = ("data.root", "loader", "logging", "network.pretrained.file", "network.frontend.file")
"""Settings that may differ between the processes of a run: where things lie on their machine, and how they are read."""


def check_settings(settings: Settings, dataset: Dataset) -> None:
    """Raise DataError (or another BlurtrainError) where settings, network and data, each fine by itself, do not fit
    together."""
    if not dataset.squared and settings.augmentation.scaled is None:
        raise DataError(
            f"dataset {dataset.name!r} keeps the aspect of its images: train on it with augmentation.scaled, or "
            "prepare it with --aspect square"
        )
    _check_crop(settings, dataset)
    resolution, network, o = settings.data.resolution, settings.network, settings.optimisation
    stopping = settings.early_stopping.blurs if settings.early_stopping else ()
    outputs = settings.task.outputs(len(outputs_of(network, dataset.classes).names))
    shape = () if settings.task.targets == "labels" else settings.task.output_shape(outputs, resolution)
    check_input(network.architecture, outputs, resolution, network.arguments, shape, network.antialias)
    if settings.task.targets == "masks":
        masks_of(dataset.masks)
    if o.batch_norm == "frozen" or o.groups or network.dropout:
        with torch.device("meta"):
            model = build_network(network, outputs)
            model = freeze_statistics(model) if o.batch_norm == "frozen" else model
        freeze(model, o)
        drop_features(model, network.dropout)
    if dataset.manifest["stored_size"] < resolution:
        raise DataError(
            f"dataset {dataset.name!r} is stored at {dataset.manifest['stored_size']} px, less than data.resolution="
            f"{resolution}: prepare it with --resolution {resolution}, or set data.resolution"
        )
    if dataset.view_of_images == "mosaic" and (stored := dataset.manifest["stored_size"]) != resolution:
        raise DataError(
            f"dataset {dataset.name!r} has mosaics of {stored} px, whose tiles are pixels as they are: set "
            f"data.resolution={stored}, or prepare it with --resolution {resolution}"
        )
    protocol = settings.evaluation.protocol
    for blur in (*settings.curriculum.used(), *settings.validation.blurs, *stopping):
        blur.check(resolution)
    for blur in settings.levels:
        blur.check(protocol.defined_at if protocol else resolution)
    if protocol and settings.task.targets == "masks":
        check_whole(protocol)
    elif protocol and settings.task.targets == "labels":
        with torch.random.fork_rng(devices=[]):
            model = build_network(network, outputs).eval()
        check_protocol(model, resolution, network.architecture, protocol)
    Images.of(dataset, settings.evaluation, resolution)
    training_order(dataset.split("train")[0], settings.seed, 0, o.batch_size)  # one whole batch
    if settings.early_stopping or settings.validation.every_epochs:
        _check_validation(settings, dataset)


def _check_crop(settings: Settings, dataset: Dataset) -> None:
    """Of images that keep their aspect by the geometric mean of their sides, the smaller one may be too small."""
    scaled, store, crop = settings.augmentation.scaled, dataset.store, settings.data.resolution
    if scaled is None or store.squared:
        return
    least = int(store.sides[dataset.split("train")[0]].min() * scaled.least() / store.size)
    if least < crop:
        raise SettingsError(
            f"augmentation.scaled: the smallest image of dataset {dataset.name!r} then has some {least} pixels, less "
            f"than the crop of data.resolution={crop}: give larger object_scales or network_scales, or a smaller crop"
        )


def _check_validation(settings: Settings, dataset: Dataset) -> None:
    try:
        dataset.split("val")
    except DataError as error:
        which = "early_stopping" if settings.early_stopping else "validation.every_epochs"
        raise SettingsError(f"{which}: looks at the val split: {error}") from None


def check_expected(run_id: str, expected: str | None, settings: Settings, runs: Path) -> None:
    """Raise RunError where a job was submitted for another run than settings and data give by now."""
    if expected not in (None, run_id):
        raise RunError(
            f"{runs / str(expected)}: since this run was submitted, dataset {settings.dataset!r} in "
            f"{settings.data.root} was prepared anew, or its settings changed: it would be {run_id}; submit again"
        )


def agree(group: Group, run_id: str, data_id: str, settings: Settings, until: int) -> None:
    """Raise TrainingError, on every process, where they would not train the same run: nothing is written before."""
    everywhere = group.gather((run_id, data_id, _digest(settings), until))
    for what, values in zip(("run", "data", "settings", "last epoch"), zip(*everywhere, strict=True), strict=True):
        if len(set(values)) > 1:
            other = next(rank for rank, value in enumerate(values) if value != values[0])
            raise TrainingError(
                f"the processes of this run have different {what}: rank 0 has {values[0]}, rank {other} has "
                f"{values[other]}; start all with the same settings, on the same prepared data"
            )


def _digest(settings: Settings) -> str:
    document = settings.model_dump(mode="json")
    for name in _OWN:
        *sections, last = name.split(".")
        here = document
        for section in sections:
            here = here.get(section) or {}
        here.pop(last, None)
    return hashlib.sha256(repr(document).encode()).hexdigest()[:12]
