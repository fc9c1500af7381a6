"""Measure a run that has its weights, without training anything."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import open_dataset
from blurtrain.data.loader import open_loader
from blurtrain.device import claim_device, cores
from blurtrain.documents import merge, parse_overrides
from blurtrain.errors import BlurtrainError, RunError
from blurtrain.evaluation.accuracy import accuracy, cache_key
from blurtrain.files import read_json, write_json
from blurtrain.models import build
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Run
from blurtrain.schema import validate
from blurtrain.settings import Settings, check_levels, run_id


def evaluate(folder: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Accuracy of the finished run in `folder`, with `evaluation.*` overridden; kept in its `evaluations/`.

    Raises RunError where there are no weights, or an override would make it another run.
    """
    run = Run(folder.resolve())
    settings = validate(merge(run.settings.model_dump(), parse_overrides(overrides)), "evaluate", Settings)
    if overrides:
        check_levels(settings, "evaluate")
    if not run.weights.exists():
        raise RunError(f"{folder}: has no {run.weights.name}: the run has not been trained to its end")
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    if run_id(settings, dataset.data_id) != run.id:
        raise RunError(
            f"{folder}: with these overrides, or this data in {settings.data.root}, it would be another run; "
            "only evaluation.*, loader.* and data.root may be overridden"
        )
    images = dataset.evaluation_images(settings.evaluation.split, settings.data.resolution)
    path = run.evaluation("accuracy", cache_key(settings, images, settings.optimisation.epochs))
    if (known := read_json(path)) is not None:
        return {"pixels": images.pixels, **known}  # which measurements of before there were test stores do not say
    torch.set_num_threads(settings.loader.threads or len(cores()))
    device = claim_device()
    model = build(settings.network.architecture, len(dataset.classes), settings.network.arguments)
    try:
        model.load_state_dict(safetensors.torch.load_file(run.weights))
    except (safetensors.SafetensorError, RuntimeError) as error:
        cause = str(error).splitlines()[0]
        raise RunError(f"{run.weights}: cannot be read: {cause}; remove the run, and train it again") from None
    sigma = settings.curriculum.feature_sigma_at_test(settings.optimisation.epochs)
    Smoothing(model, settings.curriculum).sigma = sigma
    loader = open_loader(settings.loader, images, device)
    outcome = accuracy(
        model.to(device, memory_format=torch.channels_last), dataset, loader, Transform.of(settings, dataset), settings
    )
    outcome["epoch"] = settings.optimisation.epochs
    write_json(path, outcome)
    return outcome


def evaluate_each(
    folders: Sequence[Path], overrides: Sequence[str] = ()
) -> Iterator[tuple[Path, dict[str, Any] | str]]:
    """`evaluate` for one run after the other: each with its outcome, or with what is wrong with it; one that cannot be
    evaluated keeps none of the others."""
    for folder in folders:
        try:
            yield folder, evaluate(folder, overrides)
        except BlurtrainError as error:
            yield folder, str(error)
