"""`blurtrain bench loader`: how fast training images come, the original study's way and ours, and what waits for what.

All of it on the same images, in the same process, turn by turn. Nothing is trained.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurtrain.bench import medians
from blurtrain.bench.original import original_blur, original_loader
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.cores import image_by_image
from blurtrain.blur.kernels import gaussian_radius
from blurtrain.blur.operators import by_image
from blurtrain.data import erasing
from blurtrain.data.augment import Transform
from blurtrain.data.colour import DRAWS, colour, colour_image, drawn
from blurtrain.data.dataset import Dataset
from blurtrain.data.draws import uniform
from blurtrain.data.loader import Loader, open_loader
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.preparation.readers import Tree
from blurtrain.device import cores
from blurtrain.errors import DataError
from blurtrain.settings import Augmentation, BlurUnits
from blurtrain.settings import Loader as LoaderSettings

SIGMA = 8.0  # at 224 px
TRUNCATE = 2.0
"""Sigmas at which the original's kernel is cut (33 taps at sigma 8), and ours at 4, where it is as good as whole."""
AUGMENTATIONS = (Augmentation(colour=0.0), Augmentation(colour=0.2, erasing=0.5))
"""Crop and flip alone, and all that the study has."""
KINDS = ("ffcv", "resident", "pytorch")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Images = list[tuple[Tensor, NDArray[np.int64]]]


@dataclass(frozen=True)
class Bench:
    """What is measured: epochs of `count` images, `repeats` times, of which the median counts."""

    images: Path | None = None
    count: int = 1000
    resolution: int = 224
    batch: int = 64
    repeats: int = 3

    def quick(self) -> "Bench":
        """To see that all is there, not how fast it is."""
        return replace(self, count=24, resolution=64, batch=8, repeats=1)


def bench_loader(
    device: torch.device, bench: Bench, report: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Rows of {what, loader, dtype, colour, erasing, sigma, taps, images_per_second, of_original}.

    `of_original` is how many times as fast as the original's way, with the same augmentation and, where there is blur,
    its own kernel. Rows named "... alone" are stages by themselves, of one batch after the other that is already
    in memory. `report` gets what is being measured. Raises DataError for images that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="blurtrain-bench-") as folder:
        images = Path(folder) / "images"
        report(f"{bench.count} images")
        if bench.images:
            _linked(bench.images, images, bench.count)
        else:
            photographs(images, bench.count)
        recipe = Recipe(images=str(images), resolution=bench.resolution, val=0, test=0)
        dataset, _ = prepare(Path(folder) / "data", "bench", recipe)
        torch.set_num_threads(len(cores()))
        return _measured(images, dataset, device, bench, report)


def _linked(source: Path, folder: Path, count: int) -> None:
    """At most `count` images of a tree, spread over it, as links in class folders."""
    found = Tree().samples(source).labelled
    for k in np.unique(np.linspace(0, len(found) - 1, count).astype(int)):
        link = folder / found[k].label / f"{k}{Path(found[k].file).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / found[k].file).resolve())


def photographs(folder: Path, count: int) -> None:
    """JPEGs of the sizes and about the detail of ImageNet's: noise at all scales, 300 x 270 to 500 x 375 pixels."""
    for k in range(count):
        rng = np.random.default_rng(k)
        width, height = rng.integers((300, 270), (501, 376)).tolist()
        pixels = np.full((height, width, 3), 128.0)
        for scale in (4, 8, 16, 32, 64, 128, 256):
            noise = rng.integers(0, 256, (height // (512 // scale) + 2, width // (512 // scale) + 2, 3), dtype=np.uint8)
            pixels += (np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)) - 127.5) * (
                2 / scale**0.5
            )
        path = folder / f"class{k % 4}" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)


def _measured(
    images: Path, dataset: Dataset, device: torch.device, bench: Bench, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    functions: dict[str, Callable[[], object]] = {}

    def add(function: Callable[[], object], what: str, **about: Any) -> None:
        none = {"loader": None, "dtype": "float32", "colour": None, "erasing": None}
        none |= {"sigma": None, "taps": None}
        rows.append({"what": what, **none, **about})
        functions[f"{len(rows)}: {_line(rows[-1])}"] = function

    sigma = SIGMA * bench.resolution / 224
    order = np.random.default_rng(0).permutation(dataset.view["index"])
    mean, sd = dataset.manifest["mean"], dataset.manifest["sd"]
    for a in AUGMENTATIONS:
        loader = original_loader(images, bench.resolution, a.colour, a.erasing, mean, sd, bench.batch, len(cores()))
        about = {"loader": "ImageFolder", "colour": a.colour, "erasing": a.erasing}
        add(partial(_read_original, loader, device), "original", **about, sigma=0.0)
        for taps in _taps(sigma):
            blur = partial(original_blur, sigma=sigma, taps=taps)
            add(partial(_read_original, loader, device, blur), "original", **about, sigma=SIGMA, taps=taps)
    for kind, loader in _loaders(dataset, device).items():
        add(partial(_read, loader, order, bench.batch), "reading alone", loader=kind, dtype="uint8")
        for a, dtype, level in itertools.product(AUGMENTATIONS, DTYPES, (0, 1)):
            transform = _transform(a, bench, dataset, dtype)
            about = {"dtype": dtype, "colour": a.colour, "erasing": a.erasing, "sigma": SIGMA * (level > 0)}
            add(partial(_ours, loader, order, bench.batch, transform, level * SIGMA), "ours", loader=kind, **about)
    for what, about, function in _stages(dataset, device, bench, order, sigma):
        add(function, what, **about)
    speeds = dict(zip(functions, rows, strict=True))
    for name, milliseconds in medians(functions, device, bench.repeats, enough=60, report=report).items():
        speeds[name]["images_per_second"] = round(1000 * len(order) / milliseconds, 1)
    return [{**row, "of_original": _of_original(row, rows)} for row in rows]


def _loaders(dataset: Dataset, device: torch.device) -> dict[str, Loader]:
    """Those that this machine can have."""
    loaders = {}
    for kind in KINDS:
        try:
            loaders[kind] = open_loader(LoaderSettings(kind=kind), dataset, device)
        except DataError:
            continue
    return loaders


def _transform(augmentation: Augmentation, bench: Bench, dataset: Dataset, dtype: str) -> Transform:
    mean, sd = dataset.manifest["mean"], dataset.manifest["sd"]
    return Transform(augmentation, bench.resolution, mean, sd, BlurUnits(), 0, DTYPES[dtype])


def _taps(sigma: float) -> tuple[int, int]:
    """Of the original's kernel, and of one that is cut where ours is."""
    return 2 * gaussian_radius(sigma, TRUNCATE) + 1, 2 * gaussian_radius(sigma) + 1


def _read_original(loader: Any, device: torch.device, blur: Callable[[Tensor], Tensor] = lambda images: images) -> None:
    for images, _ in loader:
        blur(images.to(device))


def _read(loader: Loader, order: NDArray[np.int64], batch: int) -> None:
    for _ in loader.epoch(order, batch):
        pass


def _ours(loader: Loader, order: NDArray[np.int64], batch: int, transform: Transform, sigma: float) -> None:
    for images, _, indices, _ in loader.epoch(order, batch):
        transform.train(images, indices, 0, Assignment.gaussian(np.full(len(indices), sigma)))


def _stages(
    dataset: Dataset, device: torch.device, bench: Bench, order: NDArray[np.int64], sigma: float
) -> Iterator[tuple[str, dict[str, Any], Callable[[], object]]]:
    """What is done to the images, each by itself, on one batch so often as there are batches in an epoch."""
    indices = np.resize(order, bench.batch)
    stored = torch.from_numpy(dataset.store.read(indices)).to(device).permute(0, 3, 1, 2)
    bare, full = AUGMENTATIONS
    plain = _transform(bare, bench, dataset, "float32")
    seen = plain.resized(stored)
    operations = drawn(uniform(0, 0, indices, DRAWS), full.colour, full.jitter)
    rectangles = erasing.drawn(uniform(0, 0, indices, erasing.DRAWS), bench.resolution, full)
    few = len(order) / bench.batch

    def often(function: Callable[[], object]) -> Callable[[], object]:
        def epoch() -> None:
            for _ in range(max(1, round(few))):
                function()

        return epoch

    for dtype in DTYPES:
        transform = _transform(bare, bench, dataset, dtype)
        for level in (0.0, SIGMA):
            same = Assignment.gaussian(np.full(len(indices), level))
            function = often(partial(transform.train, stored, indices, 0, same))
            about = {"dtype": dtype, "colour": bare.colour, "erasing": bare.erasing, "sigma": level}
            yield "crop, blur, normalisation alone", about, function
    if by_image(stored):
        each = partial(image_by_image, lambda k: colour_image(seen[k].clone(), k, operations), len(indices))
    else:
        each = partial(colour, seen.clone(), operations)
    yield "colour alone", {"colour": full.colour}, often(each)
    zero = torch.zeros((), device=device)
    yield "erasing alone", {"erasing": full.erasing}, often(partial(erasing.erase, seen, rectangles, zero))
    yield "normalisation alone", {}, often(partial(plain.normalise, seen))
    for taps in _taps(sigma):
        yield "original's blur alone", {"sigma": SIGMA, "taps": taps}, often(partial(original_blur, seen, sigma, taps))


def _of_original(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    if row["what"] not in ("ours", "original"):
        return None
    for other in rows:
        if other["what"] == "original" and all(other[key] == row[key] for key in ("colour", "erasing", "sigma")):
            return round(row["images_per_second"] / other["images_per_second"], 2)  # the first has its own kernel
    return None


def _line(row: dict[str, Any]) -> str:
    colours = "" if row["colour"] is None else "colour operations" if row["colour"] else "no colour operations"
    erased = "" if row["erasing"] is None else "erasing" if row["erasing"] else "no erasing"
    blur = "" if row["sigma"] is None else f"sigma {row['sigma']:g}" + f", {row['taps']} taps" * bool(row["taps"])
    return ", ".join(part for part in (row["what"], row["loader"], row["dtype"], colours, erased, blur) if part)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'what':84} {'images/s':>9}  {'times the original':>18}"]
    for row in rows:
        ratio = "" if row["of_original"] is None else f"{row['of_original']:.2f}"
        lines.append(f"{_line(row):84} {row['images_per_second']:>9.0f}  {ratio:>18}")
    return "\n".join(lines)
