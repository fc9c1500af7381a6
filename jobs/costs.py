"""What a grid will cost, as far as past runs (or the user) say how fast such runs are. An estimate, with its source."""

import contextlib
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blurtrain.data.dataset import open_dataset
from blurtrain.errors import BlurtrainError
from blurtrain.files import read_json
from blurtrain.run import Run
from jobs.grid import Member

LOOKED_AT = 5
"""So many past runs of one kind are looked at."""


@dataclass(frozen=True)
class Cost:
    """`gpu_hours` of training for `known` runs; of `unknown` ones the cost is not known."""

    gpu_hours: float
    known: int
    unknown: int
    source: str

    def __str__(self) -> str:
        if not self.known:
            return "GPU hours unknown: no past run of these datasets and models here; say --images-per-second"
        rest = f", and {self.unknown} runs of unknown cost" if self.unknown else ""
        return f"about {self.gpu_hours:.3g} GPU hours for {self.known} runs{rest} (estimate from {self.source})"


def cost(members: Sequence[Member], runs: Path, images_per_second: float | None = None) -> Cost:
    """What training these members from the start would take; evaluation and start-up not counted."""
    speeds: dict[tuple[str, str, str], float | None] = {}
    sizes: dict[tuple[str, str], int] = {}
    hours, known = 0.0, 0
    for member in members:
        settings = member.settings
        kind = settings.dataset, settings.model, settings.network.architecture
        place = settings.data.root, settings.dataset
        if kind not in speeds:
            speeds[kind] = images_per_second or _past_speed(runs, *kind)
        if place not in sizes:
            sizes[place] = open_dataset(Path(place[0]), place[1]).manifest.get("counts", {}).get("train", 0)
        speed = speeds[kind]
        if speed and sizes[place]:
            known += 1
            # Of one GPU: twice as many take half the time, and cost the same.
            hours += sizes[place] * settings.optimisation.epochs / speed / 3600
    source = f"--images-per-second {images_per_second:g}" if images_per_second else f"past runs in {runs}"
    return Cost(hours, known, len(members) - known, source)


def _past_speed(runs: Path, dataset: str, model: str, architecture: str) -> float | None:
    """Median images per second and GPU of past runs of the same dataset and network; None if there are none."""
    speeds = []
    for run in itertools.islice(_past_runs(runs, dataset, model, architecture), LOOKED_AT):
        world = 1
        for event in run.journal():
            if event["event"] == "start":
                world = event.get("world", 1)
            if event["event"] == "epoch" and "images_per_second" in event:
                speeds.append(event["images_per_second"] / world)
    return statistics.median(speeds) if speeds else None


def _past_runs(runs: Path, dataset: str, model: str, architecture: str) -> Iterator[Run]:
    for path in runs.glob(f"{dataset}-*/result.json"):
        try:
            result = read_json(path) or {}
        except BlurtrainError:
            continue
        run = Run(path.parent)
        if (result.get("dataset"), result.get("model")) != (dataset, model):
            continue
        with contextlib.suppress(BlurtrainError):
            if run.settings.network.architecture == architecture:  # a name may have stood for something else
                yield run
