"""`blurtrain bench train`: how much of a network's own speed is left when it is fed and its images are blurred."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blurtrain.bench import medians
from blurtrain.blur.assignment import Assignment
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import open_loader, training_order
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.device import ask_for_determinism, cores
from blurtrain.distributed import Group
from blurtrain.models import build
from blurtrain.settings import Settings, compose
from blurtrain.training.learner import Learner

SIGMA = 8.0
_LEAST_BATCHES = 64  # that a loader is asked for at a time: an epoch of a large dataset, and not one of a few steps


@dataclass(frozen=True)
class Bench:
    """What is measured: `steps` steps at a time, `repeats` times, of which the median counts."""

    architecture: str = "resnet-18"
    resolution: int = 64
    batch: int = 64
    arithmetic: str = "bfloat16"
    compile: bool = False
    deterministic: bool = True
    """As training is. On a GPU without it: whichever kernels are fastest, and memory that is not cleared."""
    crop_and_blur: str = "plain"
    colour: bool = True
    """As by the default augmentation. Without it crop and blur are one operator (`precision.crop_and_blur`)."""
    loader: str = "auto"
    images: Path | None = None
    data: Path | None = None
    """Folder where the prepared images stay for the next time; none: a temporary one."""
    steps: int = 8
    repeats: int = 7


def bench_train(device: torch.device, bench: Bench) -> list[dict[str, Any]]:
    """Rows of {what, images_per_second, of_fixed_batch, gpu_memory_gib}: the ratio is to the speed on one fixed batch.

    The rows named "... alone" are stages of the pipeline by themselves. "blur" is what sigma 8 costs more than clear
    images on their own fastest path, and its ratio is the share of a step that it takes; "augmentation" is all that is
    done to a batch before the network sees it. gpu_memory_gib: peak, on a GPU.
    """
    with (
        opened(bench) as (settings, dataset),
        contextlib.closing(Pipeline(settings, dataset, device, bench.deterministic)) as pipeline,
    ):
        return _measured(pipeline, bench)


@contextlib.contextmanager
def opened(bench: Bench) -> Iterator[tuple[Settings, Dataset]]:
    """The settings of a training as `bench` says, and its dataset, prepared if that has not been done."""
    with contextlib.ExitStack() as stack:
        folder = bench.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blurtrain-bench-")))
        source = {"images": str(bench.images.resolve())} if bench.images else {"standin": "objects"}
        recipe = Recipe.model_validate({**source, "resolution": bench.resolution})
        dataset, _ = prepare(folder, "bench", recipe)
        yield _settings(bench, folder), dataset


def _settings(bench: Bench, root: Path) -> Settings:
    return compose(
        {
            "dataset": "bench",
            "regime": "clear",
            "model": "bench",
            "data": {"root": str(root), "resolution": bench.resolution},
            "network": {"architecture": bench.architecture},
            "precision": {
                "arithmetic": bench.arithmetic,
                "compile": bench.compile,
                "crop_and_blur": bench.crop_and_blur,
            },
            "optimisation": {"batch_size": bench.batch},
            "augmentation": {} if bench.colour else {"colour": 0},
            "loader": {"kind": bench.loader},
        },
        "bench",
    )


class Pipeline:
    """A network on `device`, and the batches that it is trained on, endlessly, as a training has them, until it is
    closed."""

    def __init__(self, settings: Settings, dataset: Dataset, device: torch.device, deterministic: bool = True):
        if deterministic:
            ask_for_determinism()
        torch.set_num_threads(len(cores()))
        network = build(settings.network.architecture, len(dataset.classes))
        group = Group(0, 1, device)
        self.device, self.learner = device, Learner(network, settings.optimisation, settings.precision, group)
        self.transform = Transform.of(settings, dataset)
        self.source = self._endless(settings, dataset)

    def _endless(self, settings: Settings, dataset: Dataset) -> Generator[tuple[int, Batch]]:
        loader, size = open_loader(settings.loader, dataset, self.device), settings.optimisation.batch_size
        indices, _ = dataset.split("train")
        epoch, each = 0, len(indices) // size or 1
        while True:
            epochs = range(epoch, epoch + -(-_LEAST_BATCHES // each))
            order = np.concatenate([training_order(indices, settings.seed, e, size) for e in epochs])
            for k, batch in enumerate(loader.epoch(order, size)):
                yield epochs[k // each], batch
            epoch = epochs.stop

    def augmented(self, batch: Batch, epoch: int, sigma: float, transform: Transform | None = None) -> Tensor:
        """The images of a batch, [N, 3, H, W], as a training has them at `sigma` (pixels at 224), by the pipeline's own
        transform, or another one."""
        same = Assignment.gaussian(np.full(len(batch.indices), sigma))
        return (transform or self.transform).train(batch.images, batch.indices, epoch, same)

    def learn(self, images: Tensor, labels: Tensor) -> None:
        """One step of the optimiser, at a learning rate of 1e-4, on images [N, 3, H, W] with labels [N]."""
        self.learner.step(images, labels, 1e-4, 0)

    def step(self, sigma: float, transform: Transform | None = None) -> None:
        """One step of training: read, augment, blur, learn."""
        epoch, batch = next(self.source)
        self.learn(self.augmented(batch, epoch, sigma, transform), batch.labels)

    def close(self) -> None:
        """End what reads: left to the garbage collector, torch waits five seconds for each of its processes."""
        self.source.close()


def _measured(pipeline: Pipeline, bench: Bench) -> list[dict[str, Any]]:
    _, fixed = next(pipeline.source)
    shown, sigma = pipeline.augmented(fixed, 0, 0.0), SIGMA
    once = {
        "one fixed batch in memory": lambda: pipeline.learn(shown, fixed.labels),
        "whole pipeline, clear": lambda: pipeline.step(0.0),
        "whole pipeline, sigma 8": lambda: pipeline.step(sigma),
        "loader alone": lambda: next(pipeline.source),
        "augmentation alone, clear": lambda: pipeline.augmented(fixed, 0, 0.0),
        "augmentation alone, sigma 8": lambda: pipeline.augmented(fixed, 0, sigma),
    }

    def repeated(act: Callable[[], object]) -> Callable[[], object]:
        return lambda: [act() for _ in range(bench.steps)]

    functions = {what: repeated(act) for what, act in once.items()}
    milliseconds = medians(functions, pipeline.device, bench.repeats, enough=120.0)
    fixed_step = milliseconds["one fixed batch in memory"]
    images = bench.batch * bench.steps
    rows: list[dict[str, Any]] = [
        {"what": what, "images_per_second": 1000 * images / taken, "of_fixed_batch": fixed_step / taken}
        for what, taken in milliseconds.items()
    ]
    for row in rows:
        row["gpu_memory_gib"] = peak_memory(functions[row["what"]], pipeline.device)
    augmentation = milliseconds["augmentation alone, sigma 8"]
    shares = {
        "augmentation at sigma 8, of a step": augmentation,
        "blur, of a step": augmentation - milliseconds["augmentation alone, clear"],
    }
    for what, taken in shares.items():
        share = {"images_per_second": None, "of_fixed_batch": taken / fixed_step, "gpu_memory_gib": None}
        rows.append({"what": what, **share})
    about = {"architecture": bench.architecture, "resolution": bench.resolution, "batch": bench.batch,
             "arithmetic": bench.arithmetic, "compile": bench.compile, "deterministic": bench.deterministic,
             "crop_and_blur": bench.crop_and_blur, "colour": bench.colour,
             "device": str(pipeline.device), "loader": bench.loader}  # fmt: skip
    return [{**about, **row} for row in rows]


def peak_memory(act: Callable[[], object], device: torch.device) -> float | None:
    """GiB that torch has allocated at most while `act` ran, on a GPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    act()
    torch.cuda.synchronize(device)
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 3)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    first = rows[0]
    lines = [
        "{architecture}, {resolution} px, batches of {batch}, {arithmetic}, {device}, loader {loader}".format(**first)
    ]
    lines += [f"{'what':36} {'images/s':>9}   of a fixed batch's   GPU memory, GiB"]
    for row in rows:
        speed = "" if row["images_per_second"] is None else f"{row['images_per_second']:.0f}"
        memory = "" if row["gpu_memory_gib"] is None else f"{row['gpu_memory_gib']:.2f}"
        lines.append(f"{row['what']:36} {speed:>9}   {row['of_fixed_batch']:<18.3f} {memory:>17}".rstrip())
    return "\n".join(lines)
