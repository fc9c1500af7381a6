"""A folder of photos, or a long list, classified without a server: a row a photo, written as it is known."""

import contextlib
import csv
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from blurtrain.data.image_files import image_files
from blurtrain.errors import DataError
from blurtrain.files import unwritable
from blurtrain.serving.detector import Answer, Detector, Probabilities
from blurtrain.serving.pool import Pool, cores

AHEAD = 4
"""Photos a worker that are being looked at beyond the one whose answer is due."""


def classify_each(
    detector: Detector, paths: Iterable[Path], blur_type: str | None = None, workers: int | None = None
) -> Iterator[tuple[Path, Answer | DataError]]:
    """Each file with its answer, or why there is none, in their order; `workers` threads, by default one a core.

    Few files are in memory at a time. Raises SettingsError for an unknown type.
    """
    detector.check_blur_type(blur_type)
    pool = Pool(workers or cores(), 0)
    due: deque[tuple[Path, Future[Answer | DataError]]] = deque()
    try:
        for path in paths:
            due.append((path, pool.submit(_Look(detector, path, blur_type), background=True)))
            if len(due) > AHEAD * pool.workers:
                first, future = due.popleft()
                yield first, future.result()
        while due:
            first, future = due.popleft()
            yield first, future.result()
    finally:
        pool.close()


class _Look:
    def __init__(self, detector: Detector, path: Path, blur_type: str | None) -> None:
        self._detector, self._path, self._blur_type = detector, path, blur_type

    def __call__(self) -> Answer | DataError:
        try:
            return self._detector.classify(self._path.read_bytes(), self._blur_type, one_core=True)
        except DataError as error:
            return error
        except OSError as error:
            return DataError(error.strerror or str(error))
        except Exception as error:  # whatever it is, the other photos have their rows
            return DataError(f"cannot be looked at: {type(error).__name__}")


def classify_folder(detector: Detector, folder: Path, out: Path, blur_type: str | None = None) -> tuple[int, int]:
    """Write a CSV of all images below a folder (or of one file), with progress on a terminal: `path`, the answer's
    values, and `error`. `out` is there once it is complete.

    Returns how many photos have an answer, and how many there are. Raises DataError where there are none, or none has.
    """
    single = folder.is_file()
    names = [Path(folder.name)] if single else image_files(folder)
    within = folder.parent if single else folder
    columns = [*detector.classes] if blur_type is None else ["detected", "confidence", "blur_type_probability"]
    shown = tqdm(names, desc="classifying", unit="photo", disable=None)
    answered, first_error = 0, ""
    with _appearing(out) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", *columns, "error"])
        for path, found in classify_each(detector, (within / name for name in shown), blur_type):
            name = str(path.relative_to(within))
            if isinstance(found, DataError):
                first_error = first_error or f"{name}: {found}"
                table.writerow([name, *[""] * len(columns), str(found)])
            else:
                answered += 1
                table.writerow([name, *_values(found), ""])
        if not answered:
            raise DataError(f"{folder}: none of its {len(names)} photos can be looked at; {first_error}")
    return answered, len(names)


def _values(found: Answer) -> list[Any]:
    values = found.probabilities if isinstance(found, Probabilities) else asdict(found)
    return [str(value).lower() if isinstance(value, bool) else f"{value:.6g}" for value in values.values()]


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Any]:
    """A file that is written beside `path`, and takes its place when all went well."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", newline="", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
