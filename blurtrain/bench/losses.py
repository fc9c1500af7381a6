"""`blurtrain bench losses`: what a step of each loss costs beside one of plain cross-entropy, and what it decodes."""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import torch

from blurtrain.bench import medians
from blurtrain.bench.train import Bench, opened
from blurtrain.blur.curricula import Uniform
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import open_loader
from blurtrain.data.training_batches import TrainingBatch, TrainingBatches
from blurtrain.device import ask_for_determinism, cores
from blurtrain.distributed import Group
from blurtrain.models import build
from blurtrain.settings import Settings
from blurtrain.tasks import Loss
from blurtrain.tasks.adversarial import AdversarialBlur, ProposedBlur
from blurtrain.tasks.loss import CrossEntropy
from blurtrain.tasks.views import FeatureDistance, JensenShannon, SupervisedContrastive
from blurtrain.training.learner import Learner

PLAIN = "cross-entropy"
RATE = 1e-4


def losses_of(batch: int) -> dict[str, Loss]:
    """What is measured, by name, of batches of so many images: the plain one first."""
    return {
        PLAIN: CrossEntropy(),
        "jensen-shannon": JensenShannon(),
        "jensen-shannon blurred_views=2": JensenShannon(blurred_views=2),
        "feature-distance": FeatureDistance(),
        "supervised-contrastive": SupervisedContrastive(among=batch),
        "adversarial-blur": AdversarialBlur(),
        "proposed-blur": ProposedBlur(),
    }


class Training:
    """Steps of a training by one loss, each image at a sigma of its own, endlessly, until it is closed."""

    def __init__(self, settings: Settings, dataset: Dataset, device: torch.device, loss: Loss):
        torch.manual_seed(0)
        self.decoded, self.learnt = 0, 0
        """Images, so far."""
        network = build(settings.network.architecture, len(dataset.classes))
        self.learner = Learner(
            network, settings.optimisation, settings.precision, Group(0, 1, device), settings.task, loss
        )
        self.learner.model.train()
        self.source = self._endless(settings, dataset, device, loss)

    def _endless(
        self, settings: Settings, dataset: Dataset, device: torch.device, loss: Loss
    ) -> Generator[TrainingBatch]:
        batches = TrainingBatches(
            open_loader(settings.loader, dataset, device),
            Transform.of(settings, dataset),
            Uniform(schedule="uniform", low=0, high=8),
            dataset.split("train")[0],
            seed=0,
            batch_size=settings.optimisation.batch_size,
            epochs=settings.optimisation.epochs,
            views=loss.views,
        )
        for epoch in itertools.cycle(range(settings.optimisation.epochs)):
            yield from batches.epoch(epoch).read(self._counted)

    def _counted(self, read: Iterable[Batch]) -> Iterator[Batch]:
        for batch in read:
            self.decoded += len(batch.indices)
            yield batch

    def step(self) -> None:
        """One step of training: read, augment, blur, learn."""
        images, targets, step, views = next(self.source)
        self.learner.step(images, targets, RATE, step, views)
        self.learnt += len(targets)

    def close(self) -> None:
        """See `Pipeline`."""
        self.source.close()


def bench_losses(device: torch.device, bench: Bench) -> list[dict[str, Any]]:
    """Rows of {loss, views, ms, of_plain, decoded}: a step, as a multiple of a plain one, all taking turns; and images
    read from the store for each image that was learnt from, in the same steps.

    views: of each image, beside that of the curriculum. `bench.steps` steps count as one.
    """
    if bench.deterministic:
        ask_for_determinism()
    torch.set_num_threads(len(cores()))
    with opened(bench) as (settings, dataset), contextlib.ExitStack() as stack:
        losses = losses_of(bench.batch)
        trainings = {
            name: stack.enter_context(contextlib.closing(Training(settings, dataset, device, loss)))
            for name, loss in losses.items()
        }

        def steps(training: Training) -> None:
            for _ in range(bench.steps):
                training.step()

        functions = {name: (lambda one=one: steps(one)) for name, one in trainings.items()}
        taken = medians(functions, device, bench.repeats, enough=120.0)
    about = {"architecture": bench.architecture, "resolution": bench.resolution, "batch": bench.batch,
             "arithmetic": bench.arithmetic, "device": str(device)}  # fmt: skip
    return [
        {
            **about,
            "loss": name,
            "views": len(losses[name].views),
            "ms": round(taken[name] / bench.steps, 1),
            "of_plain": round(taken[name] / taken[PLAIN], 3),
            "decoded": round(one.decoded / one.learnt, 3),
        }
        for name, one in trainings.items()
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = ["{architecture}, {resolution} px, batches of {batch}, {arithmetic}, {device}".format(**rows[0])]
    lines.append(f"{'loss':32} {'further views':>13} {'ms a step':>10} {'of plain':>9} {'decoded an image':>17}")
    lines += [
        f"{row['loss']:32} {row['views']:13} {row['ms']:10.1f} {row['of_plain']:9.2f} {row['decoded']:17.2f}"
        for row in rows
    ]
    return "\n".join(lines)
