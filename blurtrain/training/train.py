"""Train one run, from wherever it stands to its result."""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.blur.curriculum import feature_sigma, scaled, sigmas
from blurtrain.data.augment import Transform
from blurtrain.data.catalog import Dataset, open_dataset
from blurtrain.data.draws import curriculum_draws, uniform
from blurtrain.data.loader import Loader, open_loader, share_of_rank, training_order
from blurtrain.device import available_cores
from blurtrain.errors import DataError, TrainingError
from blurtrain.evaluation.accuracy import accuracy, cache_key, headline
from blurtrain.models import SMALLEST_INPUT, build
from blurtrain.models.smoothing import Smoothing
from blurtrain.run import Attempt, Run, publish, write_json
from blurtrain.settings import Settings, run_id
from blurtrain.training import checkpoint
from blurtrain.training.distributed import Group, process_group
from blurtrain.training.optimiser import build_optimiser, learning_rate
from blurtrain.training.progress import Progress

log = logging.getLogger(__name__)


@dataclass
class Training:
    """What one process holds while it works on a run."""

    settings: Settings
    dataset: Dataset
    loader: Loader
    transform: Transform
    group: Group
    model: nn.Module
    optimiser: torch.optim.Optimizer
    smoothing: Smoothing
    attempt: Attempt | None  # of the leading process


def train(settings: Settings, runs: Path) -> Run:
    """Train, evaluate and publish one run below `runs`; continues an unfinished one, leaves a done one alone.

    Under torchrun every process calls this. Raises BlurtrainErrors for settings, data or a run folder that will not do.
    """
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    check_settings(settings, dataset)
    run = Run(runs / run_id(settings, dataset.data_id))
    threads = settings.loader.threads or run.threads()
    with process_group(settings.loader.model_copy(update={"threads": threads})) as group:
        if group.agree(run.result() is not None if group.leads else None):
            log.info("%s is already done (`blurtrain evaluate` measures it at other sigmas)", run.path)
        else:
            _attempt(settings, dataset, run, group)
    return run


def _attempt(settings: Settings, dataset: Dataset, run: Run, group: Group) -> None:
    """From the newest checkpoint to the result. A function of its own, so that nothing of it outlives the group."""
    if group.leads:
        Run.begin(run.path.parent, run.id, settings)
    newest = group.agree(checkpoint.newest(run.checkpoints) if group.leads else None)
    state = checkpoint.load(newest) if newest else None
    first, epochs = state["epoch"] if state else 0, settings.optimisation.epochs
    attempt = run.new_attempt(settings, dataset.data_id) if group.leads else None
    try:
        if attempt:
            attempt.beat(epoch=first, epochs=epochs)
        training = _begin(settings, dataset, group, attempt, state)
        if attempt:
            origin = {"world": group.world, "device": str(group.device), "torch": torch.__version__}
            attempt.record("start", epoch=first, **origin, threads=torch.get_num_threads())
            log.info("%s: attempt %d from epoch %d of %d", run.path, attempt.number, first, epochs)
        saved = time.monotonic()
        with Progress(settings, attempt, first) as progress:
            for epoch in range(first, epochs):
                _train_epoch(training, epoch, progress)
                if attempt and time.monotonic() - saved >= 60 * settings.checkpoints.every_minutes:
                    _save(training, run, epoch + 1)
                    saved = time.monotonic()
            _finish(training, run, progress)
    except BaseException as error:
        if attempt:
            attempt.fail(error)
        raise
    finally:
        if attempt:
            attempt.close()


def check_settings(settings: Settings, dataset: Dataset) -> None:
    """Raise DataError where settings and data, each fine by itself, do not fit together."""
    resolution, architecture = settings.data.resolution, settings.network.architecture
    if resolution < SMALLEST_INPUT[architecture]:
        raise DataError(f"{architecture} needs data.resolution >= {SMALLEST_INPUT[architecture]}, not {resolution}")
    if dataset.manifest["stored_size"] < resolution:
        raise DataError(
            f"dataset {dataset.name!r} is stored at {dataset.manifest['stored_size']} px, less than data.resolution="
            f"{resolution}: prepare it with --resolution {resolution}, or set data.resolution"
        )
    dataset.split(settings.evaluation.split)
    training_order(dataset.split("train")[0], settings.seed, 0, settings.optimisation.batch_size)  # one whole batch


def _begin(
    settings: Settings, dataset: Dataset, group: Group, attempt: Attempt | None, state: dict[str, Any] | None
) -> Training:
    torch.manual_seed(settings.seed)
    model: nn.Module = build(settings.network.architecture, len(dataset.classes)).to(
        group.device, memory_format=torch.channels_last
    )
    optimiser = build_optimiser(model, settings.optimisation)
    smoothing = Smoothing(model, settings.curriculum)
    if state:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    if group.world > 1:
        model = nn.parallel.DistributedDataParallel(_with_shared_batch_norm(model, group))
    loader = open_loader(settings.loader.kind, dataset, group.device, settings.loader.workers or available_cores())
    transform = Transform.of(settings, dataset)
    return Training(settings, dataset, loader, transform, group, model, optimiser, smoothing, attempt)


def _with_shared_batch_norm(model: nn.Module, group: Group) -> nn.Module:
    """Statistics over the global batch, as one process would take them; torch has that for GPUs only."""
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model
    if group.device.type != "cuda":
        raise TrainingError("batch norm over several processes needs GPUs: train this network with one process")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _train_epoch(training: Training, epoch: int, progress: Progress) -> None:
    settings, group = training.settings, training.group
    o = settings.optimisation
    indices, _ = training.dataset.split("train")
    everyone = training_order(indices, settings.seed, epoch, o.batch_size)
    blur = sigmas(settings.curriculum, epoch, o.epochs, curriculum_draws(settings.seed, epoch, everyone))
    varied, mean_sigma = bool(np.ptp(blur)), float(blur.mean())
    order, blur = (share_of_rank(x, o.batch_size, group.rank, group.world) for x in (everyone, blur))
    steps, share = len(indices) // o.batch_size, o.batch_size // group.world
    training.smoothing.sigma = feature_sigma(settings.curriculum, epoch)
    # What draws from torch's random state (dropout, say) starts each epoch from the same place, resumed or not.
    torch.manual_seed(int(uniform(settings.seed, epoch, np.array([2**31 + group.rank]), 1)[0, 0] * 2**63))
    sums = torch.zeros(3, dtype=torch.float64, device=group.device)  # loss, correct, images
    began = time.monotonic()
    training.model.train()
    for k, batch in enumerate(training.loader.epoch(order, share)):
        sigma = scaled(blur[k * share : (k + 1) * share], settings.data.resolution, settings.blur.reference_resolution)
        images = training.transform.train(batch.images, batch.indices, epoch, sigma if varied else float(sigma[0]))
        if k == 0:
            progress.show(images, training.transform, epoch, mean_sigma)
        rate = learning_rate(epoch * steps + k, steps, o)
        sums += _step(training, images, batch.labels, rate)
        progress.step(epoch, k + 1, steps)
    loss, correct, n = group.sum(sums).tolist()
    if not math.isfinite(loss):
        raise TrainingError(f"the loss became {loss} in epoch {epoch + 1}; lower optimisation.learning_rate?")
    seconds = time.monotonic() - began
    progress.epoch(
        epoch + 1,
        loss=loss / n,
        top1=100 * correct / n,
        n=int(n),
        learning_rate=rate,
        sigma=mean_sigma,
        images_per_second=n / seconds,
    )


def _step(training: Training, images: Tensor, labels: Tensor, rate: float) -> Tensor:
    """One optimiser step at learning rate `rate`; returns sums over the batch of loss, correct images and images."""
    for group in training.optimiser.param_groups:
        group["lr"] = rate
    logits = training.model(images.contiguous(memory_format=torch.channels_last))
    loss = cross_entropy(logits, labels)
    training.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    training.optimiser.step()
    correct = (logits.argmax(1) == labels).sum()
    n = torch.full_like(loss, len(labels), dtype=torch.float64)
    return torch.stack([loss.detach().double() * len(labels), correct.double(), n])


def _network(training: Training) -> nn.Module:
    model = training.model
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _save(training: Training, run: Run, epoch: int) -> None:
    assert training.attempt
    training.attempt.check()
    state = {"epoch": epoch, "model": _network(training).state_dict(), "optimiser": training.optimiser.state_dict()}
    checkpoint.save(run.checkpoints, epoch, state, training.settings.checkpoints.keep)


def _finish(training: Training, run: Run, progress: Progress) -> None:
    """Weights, evaluation, and last of all the result."""
    settings, group, attempt = training.settings, training.group, training.attempt
    epochs = settings.optimisation.epochs
    model = _network(training)
    if attempt:
        attempt.check()
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        publish(run.weights, safetensors.torch.save(weights))
    outcome = accuracy(
        model,
        training.dataset,
        training.loader,
        training.transform,
        settings,
        rank=group.rank,
        world=group.world,
        total=group.sum,
        tick=progress.tick,
    )
    if attempt:
        attempt.check()
        path = run.evaluation("accuracy", cache_key(settings, epochs))
        write_json(path, {**outcome, "epoch": epochs})
        progress.measured(outcome)
        run.finish(
            {
                "run_id": run.id,
                "dataset": settings.dataset,
                "regime": settings.regime,
                "model": settings.model,
                "seed": settings.seed,
                "epochs": epochs,
                "accuracy": path.name,
                "headline": headline(outcome),
            }
        )
        attempt.record("done")
