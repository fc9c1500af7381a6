"""Train one run, from wherever it stands to its result."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.loader import Labelled, Loader, open_loader
from blurtrain.data.pixel_check import PixelCheck
from blurtrain.data.targets import targets_of
from blurtrain.data.training_batches import TrainingBatches
from blurtrain.device import fast_arithmetic
from blurtrain.distributed import Group, SharedFlags, process_group
from blurtrain.errors import SettingsError
from blurtrain.evaluation.first_look import first_look
from blurtrain.models import build_network
from blurtrain.models.dropout import drop_features
from blurtrain.models.frontend import WithFrontend, behind_frontend, load_frontend
from blurtrain.models.normalisation import as_published, remarks
from blurtrain.models.outputs import outputs_of
from blurtrain.models.pretrained import load_pretrained
from blurtrain.models.sides import check_side
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Attempt, Run, as_begun, existing
from blurtrain.settings import Settings, run_id
from blurtrain.training import checkpoint
from blurtrain.training.compatibility import agree, check_expected, check_settings
from blurtrain.training.learner import Learner
from blurtrain.training.loop import Position, Training, pause, train_epochs
from blurtrain.training.progress import Progress
from blurtrain.training.publication import publish_run
from blurtrain.training.start import check_start, start_state, take_over
from blurtrain.training.stopping import StopRequest
from blurtrain.training.validation import Validator

log = logging.getLogger(__name__)


def train(
    settings: Settings,
    runs: Path,
    expected_id: str | None = None,
    listen: Callable[[], contextlib.AbstractContextManager[StopRequest]] = StopRequest.never,
    until_epoch: int | None = None,
) -> Run:
    """Train, evaluate and publish one run below `runs`; continues an unfinished one, leaves a done one alone.

    Every process of the run calls this; all agree on the run before anything is written. `expected_id`: the run that a
    job was submitted for, which settings and data must still give. `listen`: how it is asked to save and end
    (`stop_signals`), then it raises Stopped; from when its processes have joined on, as one that has nothing to save
    yet, and may be waiting for peers that never come, is to be ended at once. `until_epoch`: pause once so many epochs
    are done, from the beginning of the run on, with all saved and nothing published; does nothing where they are done
    already. Other BlurtrainErrors are of settings, data or a run folder that will not do.
    """
    if until_epoch is not None and until_epoch < 1:
        raise SettingsError(f"until_epoch={until_epoch}: must be 1 or more, epochs from the beginning of the run on")
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    own_id = run_id(settings, dataset.data_id)
    check_expected(own_id, expected_id, settings, runs)
    as_published(settings)  # what it refuses, before anything is written
    check_settings(settings, dataset)
    own_id, settings = as_begun(own_id, settings, existing(runs))
    run = Run(runs / own_id)
    threads, epochs = settings.loader.threads or run.threads(), settings.optimisation.epochs
    until = epochs if until_epoch is None else min(until_epoch, epochs)
    with contextlib.ExitStack() as listening, process_group(runs, threads) as group:
        stop = listening.enter_context(listen())  # until the group has been left
        agree(group, run.id, dataset.data_id, settings, until)
        done, saved = group.broadcast((run.result() is not None, run.saved_step()) if group.is_main else None)
        if settings.start and not done and not saved:
            check_start(settings, settings.start, dataset, runs)
        if done:
            log.info("%s is already done (`blurtrain evaluate` measures it at other sigmas)", run.path)
        elif until < epochs and group.broadcast(_is_trained(run, settings, dataset, until) if group.is_main else None):
            log.info("%s: epoch %d of %d is already done", run.path, until, epochs)
        else:
            stores = [store for store in (dataset.store, dataset.test_store) if store]
            with PixelCheck(stores, group) as pixels:
                if pixels.is_small:
                    pixels.has_passed(wait=True)
                _attempt(settings, dataset, run, group, stop, until, pixels)
    return run


def _is_trained(run: Run, settings: Settings, dataset: Dataset, epoch: int) -> bool:
    """Whether so many epochs are done, and the run has gone on since or is paused there."""
    steps = len(dataset.split("train")[0]) // settings.optimisation.batch_size
    if run.saved_step() < epoch * steps or not (newest := checkpoint.newest(run.checkpoints, run.id)):
        return bool(settings.start and settings.start.epoch >= epoch)
    state = checkpoint.load(newest)
    # One that was killed just before it could log that it paused does so now.
    return (state["epoch"], state["step"]) > (epoch, 0) or (
        state["epoch"] == epoch and [*run.journal()][-1]["event"] == "paused"
    )


def _attempt(
    settings: Settings, dataset: Dataset, run: Run, group: Group, stop: StopRequest, until: int, pixels: PixelCheck
) -> None:
    """From the newest checkpoint to the result, or to a pause after epoch `until`. A function of its own, so that
    nothing of it outlives the group."""
    attempt = (
        Run.begin(run.path.parent, run.id, settings).new_attempt(settings, dataset.data_id) if group.is_main else None
    )
    settings = as_published(settings)
    try:
        o, start = settings.optimisation, settings.start
        steps = len(dataset.split("train")[0]) // o.batch_size
        stands = run.saved_step() / steps or (float(start.epoch) if start else 0.0)
        with Progress(o.epochs, attempt, settings.logging.tensorboard, stands) as progress:
            if attempt:
                checkpoint.clean(run.checkpoints)
            newest = group.broadcast(checkpoint.newest(run.checkpoints, run.id) if group.is_main else None)
            state = checkpoint.load(newest) if newest else None
            if state is None and settings.start:
                state = start_state(settings.start, run.path.parent)
            training = _begin(settings, run, dataset, group, attempt, stop, progress, state, pixels)
            position = _position(training, state)
            _log_start(training, position)
            if not state:
                _look_at_pretrained(training)
            try:
                epochs = train_epochs(training, position, until)
                if epochs == until < training.epochs:
                    pause(training, epochs)
                else:
                    publish_run(training, epochs)
            finally:
                with contextlib.suppress(RuntimeError):  # lost peers are reported elsewhere
                    training.flags.drain()
    except BaseException as error:
        if attempt:
            attempt.fail(error)
        raise
    finally:
        if attempt:
            attempt.close()


def _begin(
    settings: Settings,
    run: Run,
    dataset: Dataset,
    group: Group,
    attempt: Attempt | None,
    stop: StopRequest,
    progress: Progress,
    state: dict[str, Any] | None,
    pixels: PixelCheck,
) -> Training:
    o, n, task = settings.optimisation, settings.network, settings.task
    torch.manual_seed(settings.seed)
    outputs = outputs_of(n, dataset.classes)
    count = task.outputs(len(outputs.names))
    network, transform = build_network(n, count), Transform.of(settings, dataset)
    if isinstance(network, WithFrontend) and n.frontend:
        network.normalise_by(transform.mean, transform.sd)
        if n.frontend.file and not state:
            load_frontend(network, n.frontend)
    if n.pretrained and not state:
        fresh = ", ".join(load_pretrained(behind_frontend(network), n.pretrained)) or "none"
        log.info("weights of %s; others, %s: %s", n.pretrained.source, n.pretrained.last_layer, fresh)
    if reduced := settings.data.reduced:
        check_side(network, reduced.least_resolution, "data.reduced.least_resolution")
    drop_features(network, n.dropout)
    smoothing = Smoothing(network, settings.curriculum)
    learner = Learner(network, o, settings.precision, group, task, settings.loss)
    per_rank, side = o.batch_size // group.world, settings.data.resolution
    learner.warm_up(torch.zeros(per_rank // learner.micro_batches, 3, side, side, device=group.device))
    validator = Validator(settings.validation, settings.early_stopping, o.epochs, task)
    if state and settings.start and state["run"] == settings.start.run:
        take_over(state, Run(run.path.parent / settings.start.run).settings, settings, learner, validator)
    elif state:
        learner.load(state)
        validator.load(state.get("validation"))
    reading = settings.loader.model_copy(update={"workers": settings.loader.workers or group.cores})

    def opened(images: Labelled) -> Loader:
        return open_loader(reading, images, group.device, outputs.targets)

    batches = TrainingBatches(
        opened(dataset),
        transform,
        settings.curriculum,
        dataset.split("train")[0],
        seed=settings.seed,
        batch_size=o.batch_size,
        epochs=o.epochs,
        micro_batches=o.accumulate,
        rank=group.rank,
        world=group.world,
        targets=targets_of(task.targets, transform, lambda: dataset.masks),
        views=learner.views,
        reduced=settings.data.reduced,
    )
    flags = SharedFlags(group, 2)
    return Training(
        settings, run, dataset, pixels, group, attempt, stop, progress, batches, learner, smoothing, flags, validator,
        task.counts(count), opened,
    )  # fmt: skip


def _position(training: Training, state: dict[str, Any] | None) -> Position:
    position = training.position(state["epoch"] if state else 0)
    if state:
        position.step = state["step"]
        if training.group.is_main:
            position.sums += torch.tensor(state["sums"], dtype=torch.float64, device=training.group.device)
    return position


def _log_start(training: Training, position: Position) -> None:
    at, (attempt, group) = position.epoch * training.batches.steps + position.step, (training.attempt, training.group)
    training.progress.begin(position.epoch + position.step / training.batches.steps, at)
    if attempt:
        origin = {"world": group.world, "device": str(group.device), "torch": torch.__version__}
        origin["threads"] = torch.get_num_threads()
        before = [event for event in training.run.journal() if event["event"] == "start"][-1:]
        attempt.record("start", at=at, epoch=position.epoch, **origin, **training.settings.precision.model_dump())
        place = f"epoch {position.epoch} of {training.settings.optimisation.epochs}, step {position.step}"
        how = f"goes on from {place}" if at else "begins"
        log.info("%s: attempt %d %s", training.run.path, attempt.number, how)
        otherwise = {k: [event[k], now] for event in before for k, now in origin.items() if event.get(k, now) != now}
        if otherwise and at:
            attempt.record("resumed otherwise", at=at, changed=otherwise)
            log.warning(
                "%s: goes on with other %s: sums are rounded otherwise, so that its weights may differ in their last "
                "digits from those of a run that was not interrupted",
                training.run.path,
                ", ".join(f"{k} ({now}, before {then})" for k, (then, now) in otherwise.items()),
            )
        if changed := attempt.changed_sources():
            attempt.record("sources changed", at=at, parts=changed)
            log.warning(
                "%s: the source of %s has changed since the last attempt", training.run.path, ", ".join(changed)
            )
        if training.settings.precision.arithmetic == "bfloat16" and fast_arithmetic(group.device) != "bfloat16":
            log.warning(
                "%s: %s has no instructions for bfloat16: the network is faster with precision.arithmetic=float32",
                training.run.path,
                "this GPU" if group.device.type == "cuda" else "this processor",
            )
        if missing := training.settings.curriculum.shortfall(training.settings.optimisation.epochs):
            log.warning("%s", missing)
        if reason := training.batches.transform.without_fused(group.device):
            log.warning("precision.crop_and_blur=fused cannot be had, so that plain is taken: %s", reason)
        evaluation = training.settings.evaluation
        split, protocol = evaluation.split, evaluation.protocol
        resolution = protocol.defined_at if protocol else training.settings.data.resolution
        if training.dataset.evaluation_images(split, resolution).pixels == "stored":
            log.warning(
                "%s: %s images are evaluated as resized twice, which blurs them: dataset %r holds none of them at %d "
                "px itself (for val and test, `blurtrain data prepare --resolution ...` stores them)",
                *(training.run.path, split, training.dataset.name, resolution),
            )


def _look_at_pretrained(training: Training) -> None:
    """Log how weights from a file behave on these images before the first step, and warn where something is wrong."""
    settings, attempt = training.settings, training.attempt
    if attempt is None or settings.network.pretrained is None or settings.task.targets != "labels":
        return
    said, doubtful = remarks(settings)
    if said:
        log.info("%s", said)
    training.progress.tick(doing="looking at the pretrained weights")
    o = settings.optimisation
    sharing = (o.batch_norm_images or o.batch_size) if o.batch_norm == "batch" and o.epochs else None
    look = first_look(settings.network, training.dataset, training.batches.transform, sharing, training.group.device)
    warnings = [*([doubtful] if doubtful else []), *(look.warnings() if look else [])]
    if look:
        attempt.record("pretrained", **asdict(look), warnings=warnings)
        log.info("%s; %s", look.summary(), look.compared())
    for warning in warnings:
        log.warning("%s", warning)
    training.progress.tick(doing="training")
