"""A folder of photos of the four blur types, made from folders of sharp photos.

<out>/train|val/<class>/<photo>~<number>.jpg
<out>/photos.csv        of each: class, split, scene, the folder of its photo, the photo whose
                        subject it shows, the second photo in it, how it is blurred
"""

import csv
import io
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from blurtrain.data.preparation.blurred import optics
from blurtrain.data.preparation.blurred.camera import photographed
from blurtrain.data.preparation.blurred.composites import scene_with
from blurtrain.data.preparation.blurred.photos import Photo, photos_in, stream
from blurtrain.data.preparation.pool import end_with_parent, without_script
from blurtrain.device import cores
from blurtrain.errors import DataError
from blurtrain.files import publish, read_json, write_json

TITLES = ("file", "class", "split", "scene", "folder", "subject", "other", "how")


class Drawing(NamedTuple):
    """How photos are drawn: what they are, beside the sharp photos, a function of."""

    each: int = 1
    """Photos that are made of each sharp photo for each class."""
    val: float = 0.15
    """Share of the scenes of each folder that are for validation."""
    seed: int = 0
    sizes: optics.Sizes = optics.Sizes()


class Drawn(NamedTuple):
    """One drawn photo."""

    content: bytes
    """A JPEG file."""
    subject: str
    """The name of the photo whose subject it shows; "": a shape."""
    other: str
    """The name of the second photo that it shows; "": none."""
    how: str
    """How it is blurred, in words."""


def draw_blurred(folders: Sequence[Path], out: Path, drawing: Drawing, workers: int | None = None) -> list[Path]:
    """Write photos of all classes made from all photos below some folders into the folder `out`, which is new; returns
    them. What is interrupted goes on where it was.

    Scenes (near duplicates) are found and split first: what is on one side is never shown on the other, nor is a
    subject or background borrowed from there. Raises DataError where `out` exists, where photos cannot be used, and
    where an interrupted call was for something else.
    """
    if drawing.each < 1 or not 0 < drawing.val < 1:
        raise DataError(f"each={drawing.each} must be at least 1, and val={drawing.val:g} between 0 and 1")
    if out.exists():
        raise DataError(f"{out}: is there already; remove it, or name another folder")
    photos = photos_in(folders, drawing.val, drawing.seed)
    partial = out.with_name(f".{out.name}.partial")
    request = json.loads(json.dumps({"photos": photos, "drawing": drawing}))
    if (former := read_json(partial / "request.json")) not in (None, request):
        raise DataError(f"{partial}: was begun from other photos, or otherwise; remove it")
    (partial / "rows").mkdir(parents=True, exist_ok=True)
    if former is None:
        write_json(partial / "request.json", request)
    for split in ("train", "val"):
        for name in optics.CLASSES:
            (partial / split / name).mkdir(parents=True, exist_ok=True)
    left = [k for k, photo in enumerate(photos) if not _rows_of(partial, photo).exists()]
    context = multiprocessing.get_context("spawn")
    processes = min(workers or len(cores()), max(1, len(left)))
    with (
        tqdm(total=len(photos), initial=len(photos) - len(left), desc="drawing", unit="photo", disable=None) as bar,
        ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(photos, partial, drawing)) as pool,
        without_script(),
    ):
        for _ in pool.map(_draw_all, left, chunksize=4):
            bar.update()
    rows = [row for photo in photos for row in json.loads(_rows_of(partial, photo).read_text())]
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([TITLES, *rows])
    publish(partial / "photos.csv", table.getvalue())
    for photo in photos:
        _rows_of(partial, photo).unlink()
    (partial / "rows").rmdir()
    (partial / "request.json").unlink()
    partial.rename(out)
    return [out / row[0] for row in rows]


def _rows_of(partial: Path, photo: Photo) -> Path:
    return partial / "rows" / f"{photo.name}.json"


class _Work(NamedTuple):
    photos: list[Photo]
    partial: Path
    drawing: Drawing


_work: _Work


def _begin(photos: list[Photo], partial: Path, drawing: Drawing) -> None:
    global _work
    end_with_parent()
    torch.set_num_threads(1)
    _work = _Work(photos, partial, drawing)


def _draw_all(k: int) -> None:
    """All that is made of photo k; its rows come last, and say that it is done."""
    photo, rows = _work.photos[k], []
    for name in optics.CLASSES:
        for number in range(_work.drawing.each):
            content, *how = drawn(photo, name, number, _work.photos, _work.drawing)
            file = f"{photo.split}/{name}/{photo.name}~{number}.jpg"
            (_work.partial / file).write_bytes(content)
            rows.append([file, name, photo.split, photo.scene, photo.folder, *how])
    publish(_rows_of(_work.partial, photo), json.dumps(rows))


def drawn(photo: Photo, name: str, number: int, photos: Sequence[Photo], drawing: Drawing) -> Drawn:
    """Photo `number` of a class that is made of a sharp photo. photos: all, of which others are shown with it."""
    rng = stream(drawing.seed, name, photo.name, number)
    kind = optics.kind_of(name, rng)
    composite = scene_with(photo, photos, rng, kind.layered)
    blurred = kind.draw(composite.scene, rng, drawing.sizes)
    return Drawn(photographed(blurred.light, rng), composite.subject, composite.other, blurred.how)
