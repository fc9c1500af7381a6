"""`blurtrain bench prepare`: preparing a folder of images, beside OpenCV decoding, resizing and encoding as many."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from blurtrain.bench.loader import photographs
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import DataError

ENCODINGS: tuple[Literal["raw", "jpg"], ...] = ("raw", "jpg")
_QUALITY = 90


@dataclass(frozen=True)
class Bench:
    """What is measured: `repeats` rounds, in which both take turns, and of which the median counts."""

    images: Path | None = None
    """Folder of images in class folders; none: so many generated ones."""
    count: int = 1000
    resolution: int = 160
    repeats: int = 3


def bench_prepare(bench: Bench, report: Callable[[str], object] = lambda _: None) -> list[dict[str, Any]]:
    """Rows of {what, encoding, images, images_per_second, bytes_per_image, of_opencv}: the last is the time beside
    OpenCV's, for the same images, outputs and cores. Raises DataError without OpenCV.
    """
    try:
        import cv2  # noqa: F401
    except ImportError:
        raise DataError("bench prepare compares with OpenCV: pip install opencv-python") from None
    with tempfile.TemporaryDirectory() as folder:
        images = bench.images
        if images is None:
            images = Path(folder) / "images"
            photographs(images, bench.count)
        return [row for encoding in ENCODINGS for row in _rows(images, Path(folder), bench, encoding, report)]


def _rows(
    images: Path, folder: Path, bench: Bench, encoding: Literal["raw", "jpg"], report: Callable[[str], object]
) -> list[dict[str, Any]]:
    recipe = Recipe(images=str(images.resolve()), resolution=bench.resolution, encoding=encoding, skip_unreadable=True)
    ours: list[float] = []
    theirs: list[float] = []
    for turn in range(bench.repeats):
        report(f"{encoding}, round {turn + 1} of {bench.repeats}")
        shutil.rmtree(folder / "data", ignore_errors=True)
        began = time.perf_counter()
        dataset, _ = prepare(folder / "data", "bench", recipe)
        ours.append(time.perf_counter() - began)
        outputs = _outputs(images, dataset, recipe)
        began = time.perf_counter()
        _by_opencv(outputs, folder / "opencv", encoding)
        theirs.append(time.perf_counter() - began)
    n = len(dataset.store)
    stored = sum(path.stat().st_size for path in (folder / "data" / ".stores").rglob("pixels.beton"))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return [
        {"what": "opencv", "encoding": encoding, "images": n, "images_per_second": n / statistics.median(theirs),
         "bytes_per_image": None, "of_opencv": 1.0},
        {"what": "prepare", "encoding": encoding, "images": n, "images_per_second": n / statistics.median(ours),
         "bytes_per_image": stored / n, "of_opencv": ratio},
    ]  # fmt: skip


def _outputs(images: Path, dataset: Dataset, recipe: Recipe) -> list[tuple[str, list[int]]]:
    """Of each image, its file and the sizes in which it is stored."""
    tested = set(dataset.view["index"][dataset.held_out].tolist())
    return [
        (str(images / row["path"]), [recipe.size, *([recipe.tested_size] if k in tested else [])])
        for k, row in enumerate(dataset.store.rows)
    ]


def _by_opencv(outputs: Sequence[tuple[str, list[int]]], file: Path, encoding: str) -> None:
    """By as many threads as there are cores, which OpenCV lets run beside each other; all into one file."""
    import cv2

    cv2.setNumThreads(1)
    with file.open("wb") as out, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for contents in pool.map(partial(_encoded, encoding=encoding), outputs):
            out.writelines(contents)


def _encoded(output: tuple[str, list[int]], encoding: str) -> list[bytes]:
    """An image in each size; the second one is always raw."""
    import cv2

    file, sizes = output
    pixels = cv2.imread(file, cv2.IMREAD_COLOR)
    resized = [cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA) for size in sizes]
    if encoding == "raw":
        return [each.tobytes() for each in resized]
    how = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # as ours
    return [cv2.imencode(".jpg", resized[0], how)[1].tobytes(), *(each.tobytes() for each in resized[1:])]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'what':8} {'encoding':8} {'images':>7} {'images/s':>9} {'bytes/image':>12} {'time of OpenCV':>15}"]
    for row in rows:
        size = f"{row['bytes_per_image']:.0f}" if row["bytes_per_image"] else ""
        lines.append(
            f"{row['what']:8} {row['encoding']:8} {row['images']:7} {row['images_per_second']:9.0f} {size:>12} "
            f"{row['of_opencv']:15.2f}"
        )
    return "\n".join(lines)
