"""The filters of the first layer, over the stages of training whose weights were kept.

Each filter is scaled by itself, in the same way: grey is 0, and the largest of its absolute weights in any channel lies
at the end of the scale. So what is seen is its form, and not how strong it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures.style import COLUMN, PAGE, SMALL, STYLE, grid, one_line
from blurtrain.errors import RunError
from blurtrain.run import Run

MOST_STAGES, MOST_RUNS = 6, 6


@dataclass(frozen=True)
class Filters:
    """The first layer of one run at one stage."""

    layer: str
    """Its name in the file of weights."""
    weights: NDArray[np.float32]
    """[N, channels, height, width]."""


def first_layer(path: Path) -> Filters:
    """Of a file of weights, the convolution that looks at the image: the first in the file, in the order of the layers'
    names, that takes three channels (or one) and is more than one weight wide.

    Raises RunError where there is none, or where the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
            for channels in (3, 1):
                names = [name for name, s in shapes.items() if len(s) == 4 and s[1] == channels and s[2] > 1]
                if names:
                    name = min(names, key=_in_order)
                    return Filters(name, file.get_tensor(name).astype(np.float32))
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    raise RunError(f"{path}: has no convolution of images, so there are no filters to draw")


def _in_order(name: str) -> list[tuple[bool, int, str]]:
    """features.3 before features.10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]


def stages_of(run: Run) -> dict[int | None, Path]:
    """Files of weights by epoch, in order; None: those of the end."""
    found: dict[int | None, Path] = {epoch: run.stage(epoch) for epoch in run.kept_epochs()}
    if run.weights.exists():
        found[None] = run.weights
    return found


def filters_figure(runs: Sequence[tuple[str, int, Run]]) -> Figure | None:
    """A row a run, with its title and how many epochs it has, a column a stage. None where no file can be read."""
    rows = [(title, _stages(epochs, run)) for title, epochs, run in runs[:MOST_RUNS]]
    rows = [(title, found) for title, found in rows if found]
    if not rows:
        return None
    epochs = _few(sorted({epoch for _, found in rows for epoch in found}))
    width = PAGE if len(epochs) > 2 else COLUMN
    side = min(1.5, (width - 0.35) / len(epochs))
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(rows), len(epochs), width, side + 0.2)
        for row, ((title, found), places) in enumerate(zip(rows, axes, strict=True)):
            for epoch, place in zip(epochs, places, strict=True):
                place.set(xticks=[], yticks=[])
                for spine in place.spines.values():
                    spine.set_visible(False)
                if epoch in found:
                    place.imshow(mosaic(found[epoch].weights), interpolation="none", vmin=0, vmax=1, cmap="gray")
                else:
                    place.text(0.5, 0.5, "not kept", ha="center", va="center", fontsize=SMALL)
                if row == 0:
                    place.set_title(f"epoch {epoch}", pad=3)
            places[0].set_ylabel(one_line(title))
    return figure


def _stages(epochs: int, run: Run) -> dict[int, Filters]:
    found = {}
    for epoch, path in stages_of(run).items():
        try:
            found[epochs if epoch is None else epoch] = first_layer(path)
        except RunError:  # of another kind of network, or half-written: then there is nothing to be seen of it
            continue
    return found


def mosaic(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Filters [N, C, h, w] side by side, scaled as this module says, as an image [H, W, 3] (or [H, W] of one channel)
    in 0..1."""
    count, channels, height, width = weights.shape
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = 0.5 + 0.5 * np.divide(weights, largest, out=np.zeros(weights.shape), where=largest > 0)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    if height < 8:  # so that the gaps between them stay small beside them
        scaled = scaled.repeat(math.ceil(8 / height), axis=2).repeat(math.ceil(8 / width), axis=3)
        height, width = scaled.shape[2:]
    gap = 1
    image = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for k, one in enumerate(scaled):
        y, x = k // columns * (height + gap), k % columns * (width + gap)
        image[y : y + height, x : x + width] = one.transpose(1, 2, 0)
    return image if channels == 3 else image[..., 0]


def _few(epochs: Sequence[int]) -> list[int]:
    """The first, the last, and others evenly between."""
    if len(epochs) <= MOST_STAGES:
        return [*epochs]
    return [epochs[round(k * (len(epochs) - 1) / (MOST_STAGES - 1))] for k in range(MOST_STAGES)]
