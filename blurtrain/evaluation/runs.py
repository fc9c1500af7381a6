"""Measure runs: at their end, at any later time, or at a kept epoch of a training that goes on; nothing is trained."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.loader import open_loader
from blurtrain.device import claim_device, cores
from blurtrain.distributed import Group
from blurtrain.documents import merge, parse_overrides
from blurtrain.errors import BlurtrainError, RunError
from blurtrain.evaluation.accuracy import Accuracy
from blurtrain.evaluation.cached import about, conditions, measure_named, measured, together
from blurtrain.evaluation.former import former_rows
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.outcomes import Outcomes
from blurtrain.evaluation.progress import ticking
from blurtrain.evaluation.subject import Subject
from blurtrain.evaluation.views import blurred_at
from blurtrain.models.normalisation import as_published
from blurtrain.models.outputs import outputs_of
from blurtrain.models.trained import kept_epochs, last_epoch, load_run, preprocessing_of
from blurtrain.run import Run
from blurtrain.schema import validate
from blurtrain.settings import Settings, check_levels, run_id

Document = dict[str, Any]


def evaluate_run(
    folder: Path, overrides: Sequence[str] = (), *, epoch: int | None = None, group: Group | None = None
) -> list[Document]:
    """Measure the run in `folder`, with `evaluation.*` overridden; kept in its `evaluations/`. A document a measure.

    epoch: after so many epochs, of which the weights must have been kept; by default at its end. group: the processes
    that share the work, which all call this; by default this one alone. Raises RunError
    where there are no such weights, or an override would make it another run.
    """
    group = group or alone()
    run, settings, dataset = together(group, lambda: open_run(folder, overrides, epoch))
    torch.set_num_threads(settings.loader.threads or group.cores)
    at = last_epoch(run, settings) if epoch is None else epoch
    images = together(group, lambda: Images.of(dataset, settings.evaluation, settings.data.resolution))
    together(group, lambda: outputs_of(settings.network, dataset.classes))
    ready = list[Subject]()

    def opened() -> Subject:
        """Once, however many measures are taken."""
        if not ready:
            ready.append(subject_of(run, settings, dataset, images, epoch, group))
        return ready[0]

    measures = settings.evaluation.measures
    shown = lambda name: ticking(opened(), f"{run.id}: {name}")  # noqa: E731
    return measure_run(run, settings, dataset, images, at, measures, group, shown)


def measure_run(
    run: Run,
    settings: Settings,
    dataset: Dataset,
    images: Images,
    epoch: int,
    measures: Sequence[str],
    group: Group,
    opened: Callable[[str], Subject],
) -> list[Document]:
    """All `measures` after `epoch` epochs, as `settings.evaluation` says; `opened` gives what is measured."""
    protocol = settings.evaluation.protocol
    transform = blurred_at(Transform.of(settings, dataset), protocol)
    seen = preprocessing_of(settings, dataset)
    outputs = len(outputs_of(settings.network, dataset.classes).names)
    smoothed = settings.curriculum.feature_sigma_at_test(epoch)
    found = []
    for name in measures:
        kind, source = together(group, lambda name=name: measure_named(name, protocol))  # type: ignore[misc]
        depends = {"measure": kind.name, **source, **conditions(images, transform, epoch, protocol, seen)}
        outcomes = Outcomes(
            run.evaluations, depends | ({"smoothed": smoothed} if smoothed else {}), about(images, outputs)
        )
        document = measured(
            kind.of_run(settings),
            outcomes,
            settings.levels,
            settings.evaluation.per_image,
            group,
            lambda name=name: opened(name),  # type: ignore[misc]
            lambda kind=kind: (  # type: ignore[misc]
                former_rows(run, settings, images.source, epoch) if kind is Accuracy and protocol is None else []
            ),
        )
        found.append(document | {"file": outcomes.path.name})
    return found


def open_run(folder: Path, overrides: Sequence[str], epoch: int | None) -> tuple[Run, Settings, Dataset]:
    """A run to be measured, see `evaluate_run`, with its settings as overridden, and its dataset."""
    run = Run(folder.resolve())
    own = run.settings  # of a folder that is no run, this says so
    if epoch is None and not run.weights.exists():
        kept = ", ".join(map(str, kept_epochs(run)))
        cure = f"; --epoch N measures one that is kept: {kept}" if kept else ""
        raise RunError(f"{folder}: has no {run.weights.name}: the run has not been trained to its end{cure}")
    settings = validate(merge(own.model_dump(), parse_overrides(overrides)), "evaluate", Settings)
    if overrides:
        check_levels(settings.evaluation, settings.blur, "evaluate")
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    if run_id(settings, dataset.data_id) != run.id:
        raise RunError(
            f"{folder}: with these overrides, or this data in {settings.data.root}, it would be another run; "
            "only evaluation.*, loader.* and data.root may be overridden"
        )
    return run, as_published(settings), dataset


def subject_of(
    run: Run, settings: Settings, dataset: Dataset, images: Images, epoch: int | None, group: Group
) -> Subject:
    """The network of a run after `epoch` epochs (none: at its end), with what it is measured on."""
    network = load_run(run, settings, dataset, epoch).to(group.device)
    reading = settings.loader.model_copy(update={"workers": settings.loader.workers or group.cores})
    targets = outputs_of(settings.network, dataset.classes).targets
    loader = open_loader(reading, images.source, group.device, targets)
    return Subject.of(network, images, loader, Transform.of(settings, dataset), group, settings.evaluation)


def evaluate_each(
    folders: Sequence[Path], overrides: Sequence[str] = (), *, epoch: int | None = None, group: Group
) -> Iterator[tuple[Path, list[Document] | str]]:
    """`evaluate_run` for one run after the other: each with its documents, or with what is wrong with it; one that
    cannot be evaluated keeps none of the others."""
    for folder in folders:
        try:
            yield folder, evaluate_run(folder, overrides, epoch=epoch, group=group)
        except BlurtrainError as error:
            yield folder, str(error)


def alone() -> Group:
    """This process by itself."""
    return Group(0, 1, claim_device(), len(cores()))
