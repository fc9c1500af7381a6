"""What a grid will cost, as far as past runs, `make gpu` on a card, or the user say how fast such runs are: an
estimate, with its source."""

import contextlib
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurtrain.data.dataset import open_dataset
from blurtrain.errors import BlurtrainError, SettingsError
from blurtrain.files import read_json
from blurtrain.run import Run
from jobs.grid import Member

WHOLE_STEP = "whole pipeline, sigma 8"
"""The row of `make gpu` that is like training: images are fed, augmented and blurred."""
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
            return (
                f"GPU hours unknown: nothing of these models at these resolutions in {self.source}; say "
                "--images-per-second, or --measured gpu.json of `make gpu`"
            )
        rest = f", and {self.unknown} runs of unknown cost" if self.unknown else ""
        return f"about {self.gpu_hours:.3g} GPU hours for {self.known} runs{rest} (estimate from {self.source})"


def cost(
    members: Sequence[Member], runs: Path, images_per_second: float | None = None, measured: Path | None = None
) -> Cost:
    """What training these members from the start would take; evaluation and start-up not counted.

    measured: `gpu.json` of `make gpu`, which says how fast a card is; else past runs in `runs` do. Raises SettingsError
    where it is no such file.
    """
    speeds: dict[tuple[Any, ...], float | None] = {}
    gpu = _Measured.of(measured) if measured else None
    sizes: dict[tuple[str, str], int] = {}
    hours, known = 0.0, 0
    for member in members:
        settings = member.settings
        network, side = settings.network.architecture, settings.data.resolution
        kind = settings.dataset, settings.model, network, side
        place = settings.data.root, settings.dataset
        if kind not in speeds:
            known_speed = gpu.speed(network, side) if gpu else _past_speed(runs, *kind[:3])
            speeds[kind] = images_per_second or known_speed
        if place not in sizes:
            sizes[place] = open_dataset(Path(place[0]), place[1]).manifest.get("counts", {}).get("train", 0)
        speed = speeds[kind]
        if speed and sizes[place]:
            known += 1
            # Of one GPU: twice as many take half the time, and cost the same.
            hours += sizes[place] * settings.optimisation.epochs / speed / 3600
    source = gpu.words if gpu else f"past runs in {runs}"
    source = f"--images-per-second {images_per_second:g}" if images_per_second else source
    return Cost(hours, known, len(members) - known, source)


@dataclass(frozen=True)
class _Measured:
    """What `make gpu` measured of one."""

    words: str
    speeds: dict[tuple[str, int], float]
    """Images per second by network and resolution, of whole steps at sigma 8."""

    @classmethod
    def of(cls, path: Path) -> "_Measured":
        try:
            document = read_json(path)
            rows = [row for part in document["parts"] for row in part["rows"] or ()]  # type: ignore[index]
            speeds = {
                (row["architecture"], int(row["resolution"])): float(row["images_per_second"])
                for row in rows
                if row.get("what") == WHOLE_STEP and row.get("images_per_second")
            }
            return cls(f"{path}, {document['machine']['card']}, {document['date']}", speeds)  # type: ignore[index]
        except (KeyError, TypeError, ValueError, AttributeError, BlurtrainError):
            raise SettingsError(f"{path}: is no gpu.json, as `make gpu` writes it on a machine with a GPU") from None

    def speed(self, network: str, side: int) -> float | None:
        return self.speeds.get((network, side))


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
