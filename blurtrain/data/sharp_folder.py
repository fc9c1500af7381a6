"""How sharp the images of a folder are: measures of each file, a summary of each folder below, and a contact sheet."""

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from blurtrain.data.contact_sheet import contact_sheet, tile
from blurtrain.data.decode import opened
from blurtrain.data.image_files import image_files
from blurtrain.data.preparation.pool import without_script
from blurtrain.data.sharpness import MEASURES, sharpness
from blurtrain.errors import DataError

BLURRIEST = 3
"""Files that a summary names."""
SIDE = 192
"""Pixels of a tile of the contact sheet."""


@dataclass(frozen=True)
class Looked:
    """One image file."""

    path: str
    """Below the folder."""
    width: int
    height: int
    values: dict[str, float]
    """By measure; NaN where there is nothing to measure."""

    @property
    def folder(self) -> str:
        """The folder that it lies in, below the one that was looked at; . is that one."""
        return Path(self.path).parent.as_posix()


def look_at(
    folder: Path, most: int | None, processes: int, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[list[Looked], dict[str, str]]:
    """The images below `folder`, by path, or `most` of them that are evenly apart; and why others cannot be measured.

    Raises DataError where there is no image, or none that can be measured.
    """
    paths = image_files(folder)
    if most is not None and most < len(paths):
        paths = [paths[k] for k in np.linspace(0, len(paths) - 1, most).round().astype(int).tolist()]
    found, wrong = list[Looked](), dict[str, str]()
    tasks = [(folder, path.as_posix()) for path in paths]
    several = min(processes, math.ceil(len(tasks) / 64))  # it takes a second to start one
    with contextlib.ExitStack() as stack:
        each: Iterable[Looked | str] = map(_look, tasks)
        if several > 1:
            stack.enter_context(without_script())
            pool = stack.enter_context(ProcessPoolExecutor(several, get_context("forkserver")))
            each = pool.map(_look, tasks, chunksize=8)
        for done, one in enumerate(each):
            if isinstance(one, Looked):
                found.append(one)
            else:
                wrong[paths[done].as_posix()] = one
            progress(done + 1, len(paths))
    if not found:
        path, why = next(iter(wrong.items()))
        raise DataError(f"{folder}: none of {len(paths)} images can be measured; {path}: {why}")
    return found, wrong


def _look(task: tuple[Path, str]) -> Looked | str:
    """An image file; or what is wrong with it."""
    folder, path = task
    try:
        pixels = np.asarray(opened((folder / path).read_bytes()))
        return Looked(path, pixels.shape[1], pixels.shape[0], sharpness(pixels))
    except (DataError, ValueError, OSError) as error:
        return str(error)


def summary(images: Sequence[Looked], by: str) -> list[dict[str, Any]]:
    """A row a folder: {folder, n, pixels (median of the smaller side), MEASURE: {median, q1, q3, n}, blurriest}; the
    last one of all together, where there are several. by: the measure that says which files are blurriest."""
    folders: dict[str, list[Looked]] = {}
    for one in images:
        folders.setdefault(one.folder, []).append(one)
    rows = [_summary(folder, own, by) for folder, own in folders.items()]
    return rows if len(rows) == 1 else [*rows, _summary("all", images, by)]


def _summary(folder: str, images: Sequence[Looked], by: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "folder": folder,
        "n": len(images),
        "pixels": float(np.median([min(one.width, one.height) for one in images])),
    }
    for name in MEASURES:
        values = [one.values[name] for one in images if not math.isnan(one.values[name])]
        q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75]).tolist() if values else (None, None, None)
        row[name] = {"median": median, "q1": q1, "q3": q3, "n": len(values)}
    return row | {"blurriest": [one.path for one in ordered(images, by)[:BLURRIEST]]}


def ordered(images: Sequence[Looked], by: str) -> list[Looked]:
    """From blurred to sharp; those without a value are left out."""
    known = [one for one in images if not math.isnan(one.values[by])]
    return sorted(known, key=lambda one: (MEASURES[by].sharper * one.values[by], one.path))


def sheet(folder: Path, images: Sequence[Looked], by: str, most: int = 48, columns: int = 6) -> bytes:
    """A PNG: parts of images at their own resolution, from blurred to sharp, of at most so many evenly apart. Raises
    DataError where the measure is defined of none."""
    known = ordered(images, by)
    if not known:
        raise DataError(f"{folder}: {by} is defined of none of {len(images)} images: sort by another measure")
    count = min(most, len(known))
    chosen = [known[k] for k in np.linspace(0, len(known) - 1, count).round().astype(int).tolist()]
    tiles = []
    for one in chosen:
        pixels = np.asarray(opened((folder / one.path).read_bytes()))
        value = f"{by} {one.values[by]:.{MEASURES[by].digits}f}, {one.width} x {one.height}"
        tiles.append((tile(pixels, SIDE), (value, one.path)))
    return contact_sheet(tiles, columns, SIDE)
