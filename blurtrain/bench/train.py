"""`blurtrain bench train`: how much of a network's own speed is left when it is fed and its images are blurred."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blurtrain.bench import medians
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.catalog import Dataset, Recipe, prepare
from blurtrain.data.loader import open_loader, training_order
from blurtrain.device import cores
from blurtrain.models import build
from blurtrain.settings import Settings, compose
from blurtrain.training.distributed import Group
from blurtrain.training.learner import Learner

SIGMA = 8.0


@dataclass(frozen=True)
class Bench:
    """What is measured: `steps` steps at a time, `repeats` times, of which the median counts."""

    architecture: str = "resnet-18"
    resolution: int = 64
    batch: int = 64
    arithmetic: str = "bfloat16"
    compile: bool = False
    loader: str = "auto"
    images: Path | None = None
    steps: int = 8
    repeats: int = 7


def bench_train(device: torch.device, bench: Bench) -> list[dict[str, Any]]:
    """Rows of {what, images_per_second, of_fixed_batch}: the last is the ratio to the speed on one fixed batch.

    The rows named "... alone" are stages of the pipeline by themselves. "blur" is what sigma 8 costs more than clear
    images on their own fastest path, and its ratio is the share of a step that it takes.
    """
    with tempfile.TemporaryDirectory(prefix="blurtrain-bench-") as folder:
        source = {"images": str(bench.images.resolve())} if bench.images else {"standin": "objects"}
        recipe = Recipe.model_validate({**source, "resolution": bench.resolution})
        dataset, _ = prepare(Path(folder), "bench", recipe)
        return _measured(_settings(bench, Path(folder)), dataset, device, bench)


def _settings(bench: Bench, root: Path) -> Settings:
    return compose(
        {
            "dataset": "bench",
            "regime": "clear",
            "model": "bench",
            "data": {"root": str(root), "resolution": bench.resolution},
            "network": {"architecture": bench.architecture},
            "precision": {"arithmetic": bench.arithmetic, "compile": bench.compile},
            "optimisation": {"batch_size": bench.batch},
            "loader": {"kind": bench.loader},
        },
        "bench",
    )


def _measured(settings: Settings, dataset: Dataset, device: torch.device, bench: Bench) -> list[dict[str, Any]]:
    torch.set_num_threads(len(cores()))
    learner = Learner(build(bench.architecture, len(dataset.classes)), settings, Group(0, 1, device))
    transform = Transform.of(settings, dataset)
    loader = open_loader(settings.loader, dataset, device)
    indices, _ = dataset.split("train")

    def endless() -> Iterator[tuple[int, Batch]]:
        epoch = 0
        while True:
            order = training_order(indices, settings.seed, epoch, bench.batch)
            yield from ((epoch, batch) for batch in loader.epoch(order, bench.batch))
            epoch += 1

    source, scaled = endless(), SIGMA * bench.resolution / settings.blur.reference_resolution
    _, fixed = next(source)

    def augmented(batch: Batch, epoch: int, sigma: float) -> Tensor:
        return transform.train(batch.images, batch.indices, epoch, sigma)

    shown = augmented(fixed, 0, 0.0)

    def fed(sigma: float) -> None:
        for _ in range(bench.steps):
            epoch, batch = next(source)
            learner.step(augmented(batch, epoch, sigma), batch.labels, 1e-4, 0)

    def repeated(act: Any) -> Any:
        return lambda: [act() for _ in range(bench.steps)]

    milliseconds = medians(
        {
            "one fixed batch in memory": repeated(lambda: learner.step(shown, fixed.labels, 1e-4, 0)),
            "whole pipeline, clear": lambda: fed(0.0),
            "whole pipeline, sigma 8": lambda: fed(scaled),
            "loader alone": repeated(lambda: next(source)),
            "augmentation alone, clear": repeated(lambda: augmented(fixed, 0, 0.0)),
            "augmentation alone, sigma 8": repeated(lambda: augmented(fixed, 0, scaled)),
        },
        device,
        bench.repeats,
        enough=120.0,
    )
    whole = milliseconds["one fixed batch in memory"]
    images = bench.batch * bench.steps
    rows = [
        {"what": what, "images_per_second": 1000 * images / taken, "of_fixed_batch": whole / taken}
        for what, taken in milliseconds.items()
    ]
    blur = milliseconds["augmentation alone, sigma 8"] - milliseconds["augmentation alone, clear"]
    rows.append({"what": "blur, of a step", "images_per_second": None, "of_fixed_batch": blur / whole})
    about = {"architecture": bench.architecture, "resolution": bench.resolution, "batch": bench.batch,
             "arithmetic": bench.arithmetic, "device": str(device), "loader": bench.loader}  # fmt: skip
    return [{**about, **row} for row in rows]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    first = rows[0]
    lines = [
        "{architecture}, {resolution} px, batches of {batch}, {arithmetic}, {device}, loader {loader}".format(**first)
    ]
    lines += [f"{'what':32} {'images/s':>9}   of a fixed batch's"]
    for row in rows:
        speed = "" if row["images_per_second"] is None else f"{row['images_per_second']:.0f}"
        lines.append(f"{row['what']:32} {speed:>9}   {row['of_fixed_batch']:.3f}")
    return "\n".join(lines)
