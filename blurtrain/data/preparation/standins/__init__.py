"""Generated stand-ins for the study's datasets: small pictures drawn from a seed, so that everything runs at once.

| kind | what is drawn | tree below `out` |
|---|---|---|
| faces | 10 pairs of siblings; pose, light, expression and background vary | `identity_00/0000.png` |
| objects | 12 Toybox categories x 6 toys; one toy is one texture and set of proportions | `car/car_03/0000.png` |
| imagenet-12 | the same categories, a new toy in every image, before clutter | `car/0000.png` |
| imagenet-100 | 10 surface textures x 10 solids, in random colours | `checks_cone/0000.png` |

facescrub and toybox are faces and objects (of 24 images a toy), in the layouts of those data sets, see `raw`.

Classes differ in fine detail as well as in form, little in mean colour: a network trained on sharp images fails when
they are blurred. Image k of a class is a pure function of (kind, seed, class, k), whatever else is drawn and wherever.
"""

import difflib
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from blurtrain.data.preparation.pool import end_with_parent, without_script
from blurtrain.data.preparation.standins import faces, objects, textures, toys
from blurtrain.data.preparation.standins.raw import DRAWN_AS, write_raw

TREES: tuple[str, ...] = ("faces", "objects", "imagenet-12", "imagenet-100")
KINDS: tuple[str, ...] = (*TREES, *DRAWN_AS)
IMAGES_PER_CLASS = {
    "faces": 40, "objects": 20, "imagenet-12": 90, "imagenet-100": 32, "facescrub": 40, "toybox": 24,
}  # fmt: skip
IDENTITIES = 20
FAMILY = 2  # identities that share head, hair and skin
TOYS_PER_CATEGORY = 6


def draw(
    kind: str,
    out: Path,
    seed: int = 0,
    size: int = 80,
    images_per_class: int | None = None,
    workers: int | None = None,
) -> int:
    """Write one stand-in dataset as a tree of PNG images (RGB, `size` x `size` pixels) below `out`; or as a data set is
    distributed (frames of videos then have even sides).

    `images_per_class` counts images a folder (a toy, for objects); None takes `IMAGES_PER_CLASS`. `workers`
    processes share the work, at most and by default one a usable core. The tree is drawn into `out` + ".partial"
    and renamed when complete; a leftover of an interrupted draw is removed. Returns the number of images.

    Raises ValueError for an unknown kind or a count, size or seed out of range, FileExistsError if `out` exists, and
    DataError where videos are to be written without PyAV.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown stand-in {kind!r}: did you mean {near!r}? (one of {', '.join(KINDS)})")
    count = IMAGES_PER_CLASS[kind] if images_per_class is None else images_per_class
    if count < 1 or size < 16 or seed < 0:
        raise ValueError(f"need images_per_class >= 1, size >= 16, seed >= 0, not {count}, {size}, {seed}")
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists: remove it to draw the stand-in anew")
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    if kind in DRAWN_AS:
        tree = partial.with_name(partial.name + ".tree")
        shutil.rmtree(tree, ignore_errors=True)
        number = draw(DRAWN_AS[kind], tree, seed, size + size % 2 * (kind == "toybox"), count, workers)
        write_raw(kind, tree, partial)
        shutil.rmtree(tree)
        partial.rename(out)
        return number
    folders = class_folders(kind)
    cores = len(os.sched_getaffinity(0))
    processes = max(1, min(workers or cores, cores, len(folders)))
    tasks = [(kind, seed, number, partial / folder, size, count) for number, folder in enumerate(folders)]
    if processes == 1:
        for task in tasks:
            _draw_class(*task)
    else:
        # Spawned, not forked: the caller may hold threads (torch's) that a fork would leave locked.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=end_with_parent) as pool, without_script():
            list(pool.map(_draw_class, *zip(*tasks, strict=True)))
    partial.rename(out)
    return len(folders) * count


def class_folders(kind: str) -> list[str]:
    """The folders of a kind, one a class (one a toy, for objects), in the order of their numbers."""
    if kind == "faces":
        return [f"identity_{i:02d}" for i in range(IDENTITIES)]
    if kind == "objects":
        return [f"{name}/{name}_{i:02d}" for name in toys.BUILDERS for i in range(TOYS_PER_CATEGORY)]
    if kind == "imagenet-12":
        return list(toys.BUILDERS)
    return [f"{texture}_{shape}" for texture in textures.PATTERNS for shape in objects.SOLIDS]


def draw_image(kind: str, seed: int, number: int, k: int, size: int = 80) -> Image.Image:
    """Image k of class `number` (its place in `class_folders(kind)`), as `draw` writes it."""
    return _artist(kind, seed, number)(k, size)


def _artist(kind: str, seed: int, number: int) -> Callable[[int, int], Image.Image]:
    """What draws image k at a size for one class; made once, since an identity or a toy is shared by its images."""

    def generator(*place: int) -> np.random.Generator:
        return np.random.Generator(
            np.random.Philox(np.random.SeedSequence(seed, spawn_key=(TREES.index(kind), *place)))
        )

    if kind == "faces":
        # Families are numbered on from the identities, so that no generator serves twice.
        family = number // FAMILY
        person = faces.random_identity(generator(number), family, generator(IDENTITIES + family))
        return lambda k, size: faces.portrait(person, generator(number, k), size)
    if kind == "objects":
        category = class_folders(kind)[number].split("/")[0]
        toy = toys.instance_parts(category, generator(number))
        return lambda k, size: objects.photograph(toy, generator(number, k), size, cluttered=False)

    def new_object(k: int, size: int) -> Image.Image:
        rng = generator(number, k)
        name = class_folders(kind)[number]
        if kind == "imagenet-12":
            return objects.photograph(toys.instance_parts(name, rng), rng, size, cluttered=True)
        texture, shape = name.split("_")
        coat = objects.random_coat(rng, texture)
        return objects.photograph(objects.solid(shape, rng, coat), rng, size, cluttered=False)

    return new_object


def _draw_class(kind: str, seed: int, number: int, folder: Path, size: int, count: int) -> None:
    folder.mkdir(parents=True)
    draw_class = _artist(kind, seed, number)
    for k in range(count):
        # Level 1 takes less than half the time of the default and gives 7 % more bytes.
        draw_class(k, size).save(folder / f"{k:04d}.png", compress_level=1)
