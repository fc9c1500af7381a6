"""Train one run, from wherever it stands to its result."""

import contextlib
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset, open_dataset
from blurtrain.data.draws import step_seed
from blurtrain.data.loader import (
    Labelled,
    Loader,
    open_loader,
    part_of_rank,
    training_assignment,
    training_order,
)
from blurtrain.distributed import Group, SharedFlags, process_group
from blurtrain.errors import DataError, Stopped, TrainingError
from blurtrain.evaluation.accuracy import accuracy, cache_key, headline, measured
from blurtrain.evaluation.first_look import first_look
from blurtrain.files import publish, write_json
from blurtrain.models import build, check_input
from blurtrain.models.pretrained import load_pretrained
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Attempt, Run, former_id
from blurtrain.settings import DEFAULT_MODEL, Settings, run_id
from blurtrain.training import checkpoint
from blurtrain.training.batch_norm import freeze_statistics
from blurtrain.training.learner import Learner
from blurtrain.training.optimiser import learning_rate
from blurtrain.training.progress import Progress, Stopwatch
from blurtrain.training.stopping import StopRequest, stop_signals

log = logging.getLogger(__name__)


@dataclass
class Training:
    """What one process holds while it works on a run."""

    settings: Settings
    run: Run
    dataset: Dataset
    group: Group
    attempt: Attempt | None  # of the leading process
    stop: StopRequest
    progress: Progress
    loader: Loader
    transform: Transform
    learner: Learner
    smoothing: Smoothing
    flags: SharedFlags
    saved: float = field(default_factory=time.monotonic)

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.dataset.split("train")[0]) // self.settings.optimisation.batch_size


@dataclass
class Position:
    """How far a run is: `step` steps into the 0-based `epoch`, with what was summed in it so far."""

    epoch: int
    step: int
    sums: Tensor
    """float64: loss, correct, images and left-out images of the epoch; what other processes summed is not in it."""


def train(settings: Settings, runs: Path) -> Run:
    """Train, evaluate and publish one run below `runs`; continues an unfinished one, leaves a done one alone.

    Every process of the run calls this. Raises Stopped where a signal has ended it in good order, and other
    BlurtrainErrors for settings, data or a run folder that will not do.
    """
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    check_settings(settings, dataset)
    run = Run(runs / run_id(settings, dataset.data_id))
    if not run.path.exists() and (former := runs / former_id(run.id, settings)).is_dir():
        run, settings = Run(former), settings.model_copy(update={"model": DEFAULT_MODEL})
    threads = settings.loader.threads or run.threads()
    with stop_signals() as stop, process_group(settings, runs, threads) as group:
        if group.broadcast(run.result() is not None if group.is_main else None):
            log.info("%s is already done (`blurtrain evaluate` measures it at other sigmas)", run.path)
        else:
            _attempt(settings, dataset, run, group, stop)
    return run


def _attempt(settings: Settings, dataset: Dataset, run: Run, group: Group, stop: StopRequest) -> None:
    """From the newest checkpoint to the result. A function of its own, so that nothing of it outlives the group."""
    attempt = (
        Run.begin(run.path.parent, run.id, settings).new_attempt(settings, dataset.data_id) if group.is_main else None
    )
    try:
        with Progress(settings, attempt) as progress:
            if attempt:
                checkpoint.clean(run.checkpoints)
            newest = group.broadcast(checkpoint.newest(run.checkpoints, run.id) if group.is_main else None)
            state = checkpoint.load(newest) if newest else None
            training = _begin(settings, run, dataset, group, attempt, stop, progress, state)
            position = _position(training, state)
            _log_start(training, position)
            if not state:
                _look_at_pretrained(training)
            try:
                while position.epoch < settings.optimisation.epochs:
                    _train_epoch(training, position)
                    position = Position(position.epoch + 1, 0, torch.zeros_like(position.sums))
                _finish(training)
            finally:
                with contextlib.suppress(RuntimeError):  # peers that are lost are told of elsewhere
                    training.flags.drain()
    except BaseException as error:
        if attempt:
            attempt.fail(error)
        raise
    finally:
        if attempt:
            attempt.close()


def check_settings(settings: Settings, dataset: Dataset) -> None:
    """Raise DataError (or another BlurtrainError) where settings, network and data, each fine by itself, do not fit
    together."""
    resolution, network = settings.data.resolution, settings.network
    check_input(network.architecture, len(dataset.classes), resolution, network.arguments)
    if settings.optimisation.batch_norm == "frozen":
        with torch.device("meta"):
            freeze_statistics(build(network.architecture, len(dataset.classes), network.arguments))
    if dataset.manifest["stored_size"] < resolution:
        raise DataError(
            f"dataset {dataset.name!r} is stored at {dataset.manifest['stored_size']} px, less than data.resolution="
            f"{resolution}: prepare it with --resolution {resolution}, or set data.resolution"
        )
    for blur in (*settings.curriculum.used(), *settings.levels):
        blur.check(resolution)
    images = dataset.evaluation_images(settings.evaluation.split, resolution)
    measured(len(images.indices), settings.evaluation)
    training_order(dataset.split("train")[0], settings.seed, 0, settings.optimisation.batch_size)  # one whole batch


def _begin(
    settings: Settings,
    run: Run,
    dataset: Dataset,
    group: Group,
    attempt: Attempt | None,
    stop: StopRequest,
    progress: Progress,
    state: dict[str, Any] | None,
) -> Training:
    torch.manual_seed(settings.seed)
    n = settings.network
    network = build(n.architecture, len(dataset.classes), n.arguments, bias=n.bias)
    if settings.network.pretrained and not state:
        pretrained = settings.network.pretrained
        fresh = ", ".join(load_pretrained(network, pretrained)) or "none"
        log.info("weights of %s; others, %s: %s", pretrained.file, pretrained.last_layer, fresh)
    smoothing = Smoothing(network, settings.curriculum)
    learner = Learner(network, settings, group)
    share, side = settings.optimisation.batch_size // group.world, settings.data.resolution
    learner.warm_up(torch.zeros(share // learner.micro_batches, 3, side, side, device=group.device))
    if state:
        learner.load(state)
    loader = _loader(settings, dataset, group)
    transform, flags = Transform.of(settings, dataset), SharedFlags(group, flags=2)
    return Training(
        settings, run, dataset, group, attempt, stop, progress, loader, transform, learner, smoothing, flags
    )


def _loader(settings: Settings, images: Labelled, group: Group) -> Loader:
    reading = settings.loader.model_copy(update={"workers": settings.loader.workers or group.cores})
    return open_loader(reading, images, group.device)


def _position(training: Training, state: dict[str, Any] | None) -> Position:
    sums = torch.zeros(4, dtype=torch.float64, device=training.group.device)
    if state is None:
        return Position(0, 0, sums)
    if training.group.is_main:
        sums += torch.tensor(state["sums"], dtype=torch.float64)
    return Position(state["epoch"], state["step"], sums)


def _log_start(training: Training, position: Position) -> None:
    at, (attempt, group) = position.epoch * training.steps + position.step, (training.attempt, training.group)
    training.progress.begin(position.epoch + position.step / training.steps, at)
    if attempt:
        origin = {"world": group.world, "device": str(group.device), "torch": torch.__version__}
        precision = training.settings.precision.model_dump()
        attempt.record("start", at=at, epoch=position.epoch, **origin, threads=torch.get_num_threads(), **precision)
        place = f"epoch {position.epoch} of {training.settings.optimisation.epochs}, step {position.step}"
        log.info("%s: attempt %d goes on from %s", training.run.path, attempt.number, place)
        if missing := training.settings.curriculum.shortfall(training.settings.optimisation.epochs):
            log.warning("%s", missing)
        split, resolution = training.settings.evaluation.split, training.settings.data.resolution
        if training.dataset.evaluation_images(split, resolution).pixels == "stored":
            log.warning(
                "%s: %s images are evaluated as resized twice, which blurs them: dataset %r holds none of them at %d "
                "px itself (for val and test, `blurtrain data prepare --resolution ...` stores them)",
                *(training.run.path, split, training.dataset.name, resolution),
            )


def _look_at_pretrained(training: Training) -> None:
    """Log how weights from a file behave on these images before the first step, and warn where something is wrong."""
    settings, attempt = training.settings, training.attempt
    if attempt is None or settings.network.pretrained is None:
        return
    training.progress.tick(doing="looking at the pretrained weights")
    o = settings.optimisation
    sharing = (o.batch_norm_images or o.batch_size) if o.batch_norm == "batch" else None
    look = first_look(settings.network, training.dataset, training.transform, sharing, training.group.device)
    if look:
        attempt.record("pretrained", **asdict(look), warnings=look.warnings())
        log.info("%s; %s", look.summary(), look.compared())
        for warning in look.warnings():
            log.warning("%s", warning)
    training.progress.tick(doing="training")


def _train_epoch(training: Training, position: Position) -> None:
    """The rest of the epoch that the run is in; `position` keeps up with it."""
    settings, group, epoch = training.settings, training.group, position.epoch
    o, steps = settings.optimisation, training.steps
    global_order = training_order(training.dataset.split("train")[0], settings.seed, epoch, o.batch_size)
    assignment = training_assignment(settings.curriculum, settings.seed, epoch, o.epochs, global_order, o.batch_size)
    blur = assignment.summary()
    share, first = o.batch_size // group.world, position.step
    # Each pass is a slice of the batch, of which every process has its share.
    slice_size = o.batch_size // o.accumulate
    own = part_of_rank(np.arange(len(global_order)), slice_size, group.rank, group.world)[first * share :]
    order, assignment = global_order[own], assignment.reshape(-1)[own]
    training.smoothing.sigma = settings.curriculum.feature_sigma(epoch)
    training.learner.model.train()
    watch, told = Stopwatch(group.device), position.sums.clone()
    with contextlib.closing(training.loader.epoch(order, share)) as batches:
        for k, batch in enumerate(watch.waiting(batches)):
            at = epoch * steps + position.step
            mine = assignment[k * share :][:share]
            images = training.transform.train(batch.images, batch.indices, epoch, mine)
            if k == 0:
                training.progress.show(images, training.transform, training.learner.network, at, blur)
            torch.manual_seed(step_seed(settings.seed, epoch, position.step, group.rank))
            rate = learning_rate(at, steps, o)
            position.sums += training.learner.step(images, batch.labels, rate, at)
            position.step += 1
            watch.passed(o.batch_size)
            training.progress.tick(epoch=epoch + position.step / steps, **blur)
            if (at + 1) % settings.logging.every_steps == 0:
                values = _measured(training, position.sums - told, global_order, epoch) | watch.lap()
                told = position.sums.clone()
                training.progress.steps(at + 1, epoch + position.step / steps, learning_rate=rate, **blur, **values)
            _stop_or_save(training, position, global_order)
    values = _measured(training, position.sums, global_order, epoch) | watch.total()
    if not values["n"]:
        raise TrainingError(
            f"all {steps} steps of epoch {epoch + 1} were left out: none has a finite gradient; lower "
            "optimisation.learning_rate"
        )
    rate = learning_rate((epoch + 1) * steps - 1, steps, o)
    training.progress.epoch((epoch + 1) * steps, epoch + 1, learning_rate=rate, **blur, **values)


def _measured(training: Training, sums: Tensor, global_order: NDArray[np.int64], epoch: int) -> dict[str, float]:
    """Loss and accuracy of all processes from the sums of each; raises TrainingError where the loss is no number."""
    bad = (training.learner.first_bad >= 0).double()[None]
    loss, correct, n, skipped, lost = training.group.sum(torch.cat([sums, bad])).tolist()
    o = training.settings.optimisation
    if lost and o.non_finite == "stop":
        first = min(step for step in training.group.gather(int(training.learner.first_bad)) if step >= 0)
        step = first - epoch * training.steps
        rows = [training.dataset.store.rows[i]["path"] for i in global_order[step * o.batch_size :][:3]]
        raise TrainingError(
            f"the loss is no finite number any more in step {step + 1} of epoch {epoch + 1}, whose batch of "
            f"{o.batch_size} begins with {', '.join(rows)}; lower optimisation.learning_rate, "
            "or leave such steps out by optimisation.non_finite=skip"
        )
    means = {"loss": loss / n, "top1": 100 * correct / n} if n else {}
    return {**means, "n": int(n), "skipped": int(skipped)}


def _stop_or_save(training: Training, position: Position, global_order: NDArray[np.int64] | None = None) -> None:
    """Save where all processes have come to know that it is time to, or that one was asked to stop; then stop."""
    every = 60 * training.settings.checkpoints.every_minutes
    due = training.group.is_main and global_order is not None and time.monotonic() - training.saved >= every
    stop, save = training.flags(bool(training.stop), due)
    if not stop and not save:
        return
    if global_order is not None:
        _measured(training, position.sums, global_order, position.epoch)  # what is no number must not be saved
    _check_weights(training)
    total = training.group.sum(position.sums.clone()).tolist()
    if training.attempt:
        training.attempt.check()
        progress = {"run": training.run.id, "epoch": position.epoch, "step": position.step, "sums": total}
        at = position.epoch * training.steps + position.step
        keep = training.settings.checkpoints.keep
        checkpoint.save(training.run.checkpoints, at, progress | training.learner.state(), keep)
    training.saved = time.monotonic()
    if stop:
        cause = training.stop.signal.name if training.stop.signal else "a signal to another process"
        epochs = training.settings.optimisation.epochs
        place = f"epoch {position.epoch + 1} of {epochs}" if position.epoch < epochs else "the evaluation"
        raise Stopped(f"{training.run.path}: stopped by {cause} in {place}; the same command goes on from there")


def _check_weights(training: Training) -> None:
    if not training.learner.is_finite():
        raise TrainingError(
            f"{training.run.path}: weights have become infinite or no numbers, and are not saved; lower "
            "optimisation.learning_rate"
        )


def _finish(training: Training) -> None:
    """Weights, evaluation, and last of all the result."""
    settings, run, group, attempt = training.settings, training.run, training.group, training.attempt
    epochs = settings.optimisation.epochs
    _check_weights(training)
    network = training.learner.trained()
    if sigma := settings.curriculum.feature_sigma_at_test(epochs):
        log.info(
            "evaluated with feature maps smoothed by sigma %.3g: the weights alone are not the whole network", sigma
        )
    training.smoothing.sigma = sigma
    end = Position(epochs, 0, torch.zeros(4, dtype=torch.float64, device=group.device))

    def tick() -> None:
        training.progress.tick()
        _stop_or_save(training, end)

    training.progress.tick(doing="evaluating", epoch=float(epochs))
    training.progress.filters(training.learner.network, epochs * training.steps)
    if attempt:
        attempt.check()
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        publish(run.weights, safetensors.torch.save(weights))
    images = training.dataset.evaluation_images(settings.evaluation.split, settings.data.resolution)
    if training.loader.store != images.store:
        del training.loader  # first, as it may hold the training store in the device's memory
        training.loader = _loader(settings, images, group)
    outcome = accuracy(
        network,
        training.dataset,
        training.loader,
        training.transform,
        settings,
        rank=group.rank,
        world=group.world,
        total=group.sum,
        tick=tick,
    )
    if attempt:
        attempt.check()
        path = run.evaluation("accuracy", cache_key(settings, images, epochs))
        write_json(path, {**outcome, "epoch": epochs})
        training.progress.measured(outcome)
        run.finish(
            {
                "run_id": run.id,
                "dataset": settings.dataset,
                "regime": settings.regime,
                "model": settings.model,
                "seed": settings.seed,
                "data_id": training.dataset.data_id,
                "epochs": epochs,
                "accuracy": path.name,
                "headline": headline(outcome),
            }
        )
        attempt.record("done")
