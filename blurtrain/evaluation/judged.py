"""What networks say of the same files, each shown them in its own way, beside what these are."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.device import cores
from blurtrain.errors import DataError
from blurtrain.models.prediction import BATCH, read
from blurtrain.models.trained import TrainedNetwork


@dataclass(frozen=True)
class Judged:
    """One network on some files."""

    network: str
    """What it is."""
    classes: tuple[str, ...]
    files: tuple[str, ...]
    scenes: tuple[str, ...]
    """What each file shows."""
    labels: NDArray[np.int64]
    """[n]: places in `classes`."""
    probabilities: NDArray[np.float64]
    """[n, classes], at the network's temperature."""


def judged(network: TrainedNetwork, root: Path, files: Sequence[tuple[str, str, str]]) -> Judged:
    """A network on files below `root`: path, class and scene of each. Raises DataError for a class that it does not
    know, and for a file that cannot be read."""
    if unknown := sorted({label for _, label, _ in files} - {*network.classes}):
        raise DataError(f"{network.origin}: does not know {unknown[0]!r}; it knows {', '.join(network.classes)}")
    found = []
    with ThreadPoolExecutor(len(cores())) as pool:
        for start in range(0, len(files), BATCH):
            some = [path for path, _, _ in files[start : start + BATCH]]
            pixels = list(pool.map(lambda path: read(root / path, network.preprocessing), some))
            for path, image in zip(some, pixels, strict=True):
                if isinstance(image, str):
                    raise DataError(f"{root / path}: {image}")
            found.append(network.predict(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)).double().cpu().numpy())
    labels = np.array([network.classes.index(label) for _, label, _ in files], np.int64)
    paths, _, scenes = zip(*files, strict=True)
    return Judged(network.origin, network.classes, paths, scenes, labels, np.concatenate(found))
