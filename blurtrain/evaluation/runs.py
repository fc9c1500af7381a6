"""Measure runs: at their end, at any later time, or at a kept epoch of a training that goes on; nothing is trained."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.deblurring import Deblurring
from blurtrain.device import claim_device, cores
from blurtrain.distributed import Group
from blurtrain.documents import merge, parse_overrides
from blurtrain.errors import BlurtrainError, RunError
from blurtrain.evaluation.cached import about, conditions, measure_each, together
from blurtrain.evaluation.former import former_rows
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.named import BY_PROTOCOL, check_deblurred, check_task
from blurtrain.evaluation.plan import Plan
from blurtrain.evaluation.progress import ticking
from blurtrain.evaluation.subject import Row, Subject
from blurtrain.evaluation.views import blurred_at
from blurtrain.models.normalisation import as_published
from blurtrain.models.outputs import outputs_of
from blurtrain.models.trained import last_epoch, load_run, preprocessing_of
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
    plan = together(group, lambda: _plan(run, settings, dataset, epoch))
    ready = list[Subject]()

    def opened(name: str) -> Subject:
        """Once, however many measures are taken."""
        if not ready:
            ready.append(plan.opened(group))
        return ticking(ready[0], f"{run.id}: {name}")

    measures, at = settings.measures, plan.identity["epoch"]
    return measure_run(run, settings, dataset, plan.images, at, measures, group, opened)


def evaluate_stages(folder: Path, overrides: Sequence[str] = (), *, group: Group | None = None) -> list[Document]:
    """`evaluate_run` after each epoch of which the weights were kept, and at the end if the run has been trained to it.

    Raises RunError where there are no weights at all.
    """
    run = Run(folder.resolve())
    at: list[int | None] = [*run.kept_epochs()]
    if run.weights.exists() or not at:
        last = last_epoch(run, run.settings)
        at = [*(epoch for epoch in at if epoch != last), None]
    return [document for epoch in at for document in evaluate_run(folder, overrides, epoch=epoch, group=group)]


def run_plan(folder: Path, overrides: Sequence[str] = (), *, epoch: int | None = None) -> Plan:
    """The network of the run in `folder` as `evaluate_run` measures it; raises as that does."""
    return _plan(*open_run(folder, overrides, epoch), epoch)


def _plan(run: Run, settings: Settings, dataset: Dataset, epoch: int | None) -> Plan:
    outputs = outputs_of(settings.network, dataset.classes)
    at = last_epoch(run, settings) if epoch is None else epoch
    return Plan.of(
        name=run.id if epoch is None else f"{run.id} after {epoch} epochs",
        identity={"run": run.id, "epoch": at, **_smoothed(settings, at)},
        load=lambda: load_run(run, settings, dataset, epoch),
        classes=outputs.names,
        preprocessing=preprocessing_of(settings, dataset),
        transform=Transform.of(settings, dataset),
        images=Images.of(dataset, settings.evaluation, settings.data.resolution),
        evaluation=settings.evaluation,
        blurs=settings.levels,
        reading=settings.loader,
        targets=outputs.targets,
    )


def _smoothed(settings: Settings, epoch: int) -> dict[str, float]:
    sigma = settings.curriculum.feature_sigma_at_test(epoch)
    return {"smoothed": sigma} if sigma else {}


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
    """All `measures` after `epoch` epochs, as `settings.evaluation` says: first of blurred images as they are, then by
    each method of deblurring. `opened` gives what is measured."""
    protocol = settings.evaluation.protocol
    transform = blurred_at(Transform.of(settings, dataset), protocol)
    seen = preprocessing_of(settings, dataset)
    outputs = len(outputs_of(settings.network, dataset.classes).names)
    documents: list[Document] = []
    together(group, lambda: check_task(measures, settings.task))
    together(group, lambda: check_deblurred(measures, settings.evaluation.deblur))
    for deblur in (None, *settings.evaluation.deblur):
        shown = replace(transform, deblur=deblur)

        def former(deblur: Deblurring | None = deblur) -> list[Row]:
            return [] if protocol or deblur else former_rows(run, settings, images.source, epoch)

        def subject(name: str, deblur: Deblurring | None = deblur) -> Subject:
            found = opened(name if deblur is None else f"{name}, {deblur.label}")
            return found.deblurred(deblur)

        documents += measure_each(
            measures,
            settings.levels,
            settings.evaluation.per_image,
            run.evaluations,
            {**conditions(images, shown, epoch, protocol, seen), **_smoothed(settings, epoch)},
            about(images, outputs),
            group,
            subject,
            BY_PROTOCOL if protocol else "",
            lambda kind, options: kind.of_run(settings, options),
            former,
        )
    return [document | {"file": Path(document["file"]).name} for document in documents]


def open_run(folder: Path, overrides: Sequence[str], epoch: int | None) -> tuple[Run, Settings, Dataset]:
    """A run to be measured, see `evaluate_run`, with its settings as overridden, and its dataset. Raises RunError where
    it was not trained to its end, or would be another run with these overrides, or this data."""
    run = Run(folder.resolve())
    own = run.settings  # of a folder that is no run, this says so
    if epoch is None and not run.weights.exists():
        kept = ", ".join(map(str, run.kept_epochs()))
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


def evaluate_each(
    folders: Sequence[Path],
    overrides: Sequence[str] = (),
    *,
    epoch: int | None = None,
    stages: bool = False,
    group: Group,
) -> Iterator[tuple[Path, list[Document] | str]]:
    """`evaluate_run`, or `evaluate_stages`, for one run after the other: each with its documents, or with what is wrong
    with it; one that cannot be evaluated keeps none of the others."""
    for folder in folders:
        try:
            if stages:
                yield folder, evaluate_stages(folder, overrides, group=group)
            else:
                yield folder, evaluate_run(folder, overrides, epoch=epoch, group=group)
        except BlurtrainError as error:
            yield folder, str(error)


def alone() -> Group:
    """This process by itself."""
    return Group(0, 1, claim_device(), len(cores()))
