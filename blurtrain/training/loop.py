"""The training of one run, epoch by epoch, from wherever it stands."""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blurtrain.data.dataset import Dataset
from blurtrain.data.draws import step_seed
from blurtrain.data.loader import Labelled, Loader
from blurtrain.data.pixel_check import PixelCheck
from blurtrain.data.targets import targets_of
from blurtrain.data.training_batches import TrainingBatches
from blurtrain.distributed import Group, SharedFlags
from blurtrain.errors import Stopped, TrainingError
from blurtrain.evaluation.images import Images
from blurtrain.files import publish
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Attempt, Run
from blurtrain.settings import Settings
from blurtrain.training import checkpoint
from blurtrain.training.learner import Learner
from blurtrain.training.optimiser import learning_rate
from blurtrain.training.progress import Progress, Stopwatch
from blurtrain.training.stopping import StopRequest
from blurtrain.training.validation import Validator, look

log = logging.getLogger(__name__)
_UNTIL_CHECKED = 10.0
"""Seconds until a save is tried again that was due before the images had been checked."""


@dataclass
class Position:
    """How far a run is: `step` steps into the 0-based `epoch`, with what was summed in it so far."""

    epoch: int
    step: int
    sums: Tensor
    """[3 + counts], float64: the loss, the task's counts, images and skipped images of the epoch; what other processes
    summed is not in it."""


@dataclass
class Training:
    """What one process holds while it works on a run."""

    settings: Settings
    run: Run
    dataset: Dataset
    pixels: PixelCheck
    """Nothing is saved or published before it has passed, or a run would go on from what is wrong."""
    group: Group
    attempt: Attempt | None  # of the main process
    stop: StopRequest
    progress: Progress
    batches: TrainingBatches
    learner: Learner
    smoothing: Smoothing
    flags: SharedFlags
    validator: Validator
    counts: tuple[str, ...]
    """Of the task, see `Task.counts`."""
    open_loader: Callable[[Labelled], Loader]
    val_loader: Loader | None = None
    saved: float = field(default_factory=time.monotonic)

    @property
    def epochs(self) -> int:
        """Of the whole training, as the settings say."""
        return self.settings.optimisation.epochs

    def position(self, epoch: int) -> Position:
        """At the beginning of an epoch."""
        sums = torch.zeros(3 + len(self.counts), dtype=torch.float64, device=self.group.device)
        return Position(epoch, 0, sums)


def train_epochs(training: Training, position: Position, until: int) -> int:
    """The epochs that are left until so many are done, or as many as early stopping lets; how many there were from the
    beginning on."""
    while position.epoch < until and not training.validator.stops:
        _train_epoch(training, position)
        position = training.position(position.epoch + 1)
        if not training.pixels.passed:
            training.pixels.has_passed()
        _after_epoch(training, position)
    return position.epoch


def _train_epoch(training: Training, position: Position) -> None:
    """The rest of the epoch that the run is in; `position` keeps up with it."""
    settings, group, o = training.settings, training.group, training.settings.optimisation
    steps, learner, progress = training.batches.steps, training.learner, training.progress
    epoch = training.batches.epoch(position.epoch, position.step)
    blur, global_order = epoch.assignment.summary(), epoch.global_order
    if epoch.resolution != settings.data.resolution:
        blur["resolution"] = epoch.resolution
    training.smoothing.sigma = settings.curriculum.feature_sigma(position.epoch)
    learner.model.train()
    watch, before = Stopwatch(group.device), position.sums.clone()
    with contextlib.closing(epoch.read(watch.waiting)) as batches:
        for images, targets, step, views in batches:
            at = position.epoch * steps + step
            if step == epoch.first:
                progress.show(images, training.batches.transform, learner.network, at, blur)
            torch.manual_seed(step_seed(settings.seed, position.epoch, step, group.rank))
            rate = learning_rate(at, steps, o)
            position.sums += learner.step(images, targets, rate, at, views)
            position.step = step + 1
            done = position.epoch + position.step / steps
            watch.passed(o.batch_size)
            progress.tick(epoch=done, **blur)
            if (at + 1) % settings.logging.every_steps == 0:
                values = _means(training, position.sums - before, position.epoch, global_order) | watch.lap()
                before = position.sums.clone()
                progress.steps(at + 1, done, learning_rate=rate, **blur, **values)
            stop_or_save(training, position, global_order)
    values = _means(training, position.sums, position.epoch, global_order) | watch.total()
    if not values["n"]:
        raise TrainingError(
            f"all {steps} steps of epoch {position.epoch + 1} were skipped: none has a finite gradient; lower "
            "optimisation.learning_rate"
        )
    at = (position.epoch + 1) * steps
    rate, metrics = learning_rate(at - 1, steps, o), learner.task.summary(values)
    progress.epoch(at, position.epoch + 1, metrics, learning_rate=rate, **blur, **values)


def _after_epoch(training: Training, position: Position) -> None:
    """Keep the weights where this is a named epoch, and look at the val split where that is due."""
    settings, epoch = training.settings, position.epoch
    if epoch in settings.checkpoints.keep_epochs:
        _publish_weights(training, training.run.stage(epoch))
    if not (blurs := training.validator.due(epoch)):
        return
    images = Images.whole_split(training.dataset, "val", settings.data.resolution, settings.evaluation.batch_size)
    if training.val_loader is None:
        own = training.batches.loader
        training.val_loader = own if own.store == images.source.store else training.open_loader(images.source)
    training.progress.tick(doing="validating")
    training.smoothing.sigma = settings.curriculum.feature_sigma_at_test(epoch)
    learner, transform, tick = training.learner, training.batches.transform, training.progress.tick
    targets = targets_of(learner.task.targets, transform, lambda: images.source.masks)
    looked_at = (learner.trained(), images, training.val_loader, transform, targets, blurs)
    levels, n = look(*looked_at, learner.task, training.counts, learner.loss, training.group, tick)
    training.progress.validated(epoch * training.batches.steps, epoch, levels, n, images.source.pixels)
    if training.validator.take(epoch, levels):
        _publish_weights(training, training.run.best)
    training.progress.tick(doing="training")


def _publish_weights(training: Training, path: Path) -> None:
    training.pixels.has_passed(wait=True)
    check_weights(training)
    if training.attempt:
        training.attempt.check()
        publish(path, serialised(training.learner.trained()))


def serialised(network: nn.Module) -> bytes:
    """All parameters and buffers, as safetensors."""
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def _means(training: Training, sums: Tensor, epoch: int, global_order: NDArray[np.int64]) -> dict[str, float]:
    """Loss and metrics of all processes from the sums of each; raises TrainingError where a loss is not finite."""
    task, bad = training.learner.task, (training.learner.first_bad >= 0).double()[None]
    loss, *counted, n, skipped, lost = training.group.sum(torch.cat([sums, bad])).tolist()
    o = training.settings.optimisation
    if lost and o.non_finite == "stop":
        first = min(step for step in training.group.gather(int(training.learner.first_bad)) if step >= 0)
        step = first - epoch * training.batches.steps
        rows = [r["path"] for r in training.dataset.store.rows_at(global_order[step * o.batch_size :][:3])]
        raise TrainingError(
            f"the loss is NaN or infinite in step {step + 1} of epoch {epoch + 1}, whose batch of "
            f"{o.batch_size} begins with {', '.join(rows)}; lower optimisation.learning_rate, "
            "or skip such steps by optimisation.non_finite=skip"
        )
    means = {"loss": loss / n, **task.means(dict(zip(training.counts, counted, strict=True)), int(n))} if n else {}
    return {**means, "n": int(n), "skipped": int(skipped)}


def stop_or_save(training: Training, position: Position, global_order: NDArray[np.int64] | None = None) -> None:
    """Save where all processes have come to know that it is time to, or that one was asked to stop; then raise
    Stopped."""
    every = 60 * training.settings.checkpoints.every_minutes
    due = training.group.is_main and global_order is not None and time.monotonic() - training.saved >= every
    stop, save = training.flags(bool(training.stop), due)
    if not stop and not save:
        return
    if checked := training.pixels.has_passed():
        if global_order is not None:
            _means(training, position.sums, position.epoch, global_order)  # a loss that is NaN must not be saved
        _save(training, position)
    else:
        training.saved = time.monotonic() - every + _UNTIL_CHECKED
    if stop:
        cause = training.stop.signal.name if training.stop.signal else "a signal to another process"
        ended = global_order is None
        place = "the evaluation" if ended else f"epoch {position.epoch + 1} of {training.epochs}"
        then = (
            "goes on from there"
            if checked
            else "goes on from before: this attempt saved nothing, as its images were not all checked yet"
        )
        raise Stopped(f"{training.run.path}: stopped by {cause} in {place}; the same command {then}")


def pause(training: Training, epochs: int) -> None:
    """Save at the end of an epoch, its look at the val split included, for a later attempt to go on from."""
    training.pixels.has_passed(wait=True)
    _save(training, training.position(epochs))
    if training.attempt:
        training.attempt.record("paused", at=epochs * training.batches.steps, epoch=epochs)
    log.info("%s: paused after epoch %d of %d", training.run.path, epochs, training.epochs)


def _save(training: Training, position: Position) -> None:
    """By all processes together."""
    check_weights(training)
    total = training.group.sum(position.sums.clone()).tolist()
    if training.attempt:
        training.attempt.check()
        progress = {"run": training.run.id, "epoch": position.epoch, "step": position.step, "sums": total}
        at = position.epoch * training.batches.steps + position.step
        state = progress | training.learner.state() | {"validation": training.validator.state()}
        checkpoint.save(training.run.checkpoints, at, state, training.settings.checkpoints.keep)
    training.saved = time.monotonic()


def check_weights(training: Training) -> None:
    """Raise TrainingError where weights are NaN or infinite: such are neither saved nor published."""
    if not training.learner.is_finite():
        raise TrainingError(
            f"{training.run.path}: weights have become NaN or infinite, and are not saved; lower "
            "optimisation.learning_rate"
        )
