"""The images of a folder, as they are, before anything is prepared."""

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from blurtrain.data.checking.images import Images, Looks, content_of, sampled
from blurtrain.data.checking.looks import Look, Pixels, look_at
from blurtrain.data.dataset import SPLITS
from blurtrain.data.decode import opened
from blurtrain.data.image_files import listed
from blurtrain.data.preparation.pool import end_with_parent, without_script
from blurtrain.data.preparation.readers import Sample, Tree
from blurtrain.errors import DataError


class ImageFiles:
    """See `images.Source`."""

    def __init__(
        self,
        folder: Path,
        most: int,
        processes: int,
        level: int | None = None,
        exclude: Sequence[str] = (),
        splits: Mapping[str, str] | None = None,
    ):
        """Decodes every image; measures the sharpness of `most` of each split. Raises DataError where there is none
        that can be read. level, exclude, splits: see the fields of `Tree`."""
        self._folder = folder
        self.unreadable: dict[str, str] = {}
        """Why, by path."""
        self.no_classes = ""
        """Why folders are not taken for classes."""
        try:
            found = Tree(label=level or "leaf", exclude=tuple(exclude), splits=splits).samples(folder).labelled
        except DataError as error:
            found = [Sample(path, path, "", path.rpartition("/")[0]) for path in listed(folder, exclude).paths]
            self.no_classes = str(error)
        split = np.array([SPLITS.index(i.split) if i.split else -1 for i in found], np.int64)
        content, looks = self._look([i.file for i in found], sampled(split, most).tolist(), processes)
        read = np.flatnonzero([i.file not in self.unreadable for i in found])
        if not len(read):
            path, why = next(iter(self.unreadable.items()))
            raise DataError(f"{folder}: none of {len(found)} images can be read; {path}: {why}")
        kept = [found[k] for k in read]
        classes, label = np.unique([i.label for i in kept], return_inverse=True)
        self.images = Images(
            paths=[i.file for i in kept],
            classes=[] if self.no_classes else classes.tolist(),
            label=label.astype(np.int64),
            leaf=np.unique([i.group for i in kept], return_inverse=True)[1].astype(np.int64),
            split=split[read],
            content=content[read],
            looks=looks.kept(read),
        )

    def _look(self, paths: list[str], measured: list[bool], processes: int) -> tuple[NDArray[np.uint64], Looks]:
        content, looks = np.zeros(len(paths), np.uint64), Looks.none_of(len(paths))
        look = partial(_look_at_file, self._folder)
        with contextlib.ExitStack() as stack:
            each: Iterable[tuple[int, Look | str]] = map(look, paths, measured)
            if (several := min(processes, math.ceil(len(paths) / 64))) > 1:  # it takes a second to start one
                stack.enter_context(without_script())
                context = get_context("forkserver")
                pool = stack.enter_context(ProcessPoolExecutor(several, context, initializer=end_with_parent))
                each = pool.map(look, paths, measured, chunksize=16)
            shown = tqdm(each, total=len(paths), desc="decoding", unit="img", leave=False, disable=None)
            for entry, (digest, one) in enumerate(shown):
                if isinstance(one, str):
                    self.unreadable[paths[entry]] = one
                    continue
                content[entry] = digest
                looks.put(entry, one)
        return content, looks

    def pixels(self, entries: NDArray[np.int64]) -> Iterator[Pixels]:
        for k in entries:
            yield np.asarray(opened((self._folder / self.images.paths[k]).read_bytes()))

    def source_sides(self, entries: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.images.looks.sides[entries]


def _look_at_file(folder: Path, path: str, measured: bool) -> tuple[int, Look | str]:
    """Its content (see `content_of`), and what is found; or why it cannot be read."""
    try:
        content = (folder / path).read_bytes()
        look = look_at([np.asarray(opened(content))], [measured])[0]
    except OSError as error:
        return 0, error.strerror or str(error)
    except DataError as error:
        return 0, str(error)
    return content_of(hashlib.sha256(content).hexdigest()), look
