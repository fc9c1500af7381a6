"""Whether stored pixels are those that were prepared: found out beside other work, before anything is made public.

    <store>/checked.json    its files as they were when all pixels were found to be right: {name: [inode, bytes, ctime]}

A store that has been checked is not read again until one of its files changes (its ctime, which nobody sets).
"""

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from blurtrain.data.store import PixelStore
from blurtrain.distributed import Group
from blurtrain.errors import BlurtrainError, DataError
from blurtrain.files import read_json, write_json

SMALL = 2**28
"""Bytes that are checked before anything else is done."""
RECORD = "checked.json"
_PATIENCE = 60.0
"""Seconds between two looks at how far the others are, so that none is waited for until it is taken for lost."""
Files = dict[str, list[int]]
_known: dict[Path, Files] = {}  # also where the record cannot be written


class PixelCheck:
    """The check of some stores, shared by the processes of each host (other hosts may have copies of their own).

    As a context: a check that is not at its end when the context ends is left.
    """

    def __init__(self, stores: Sequence[PixelStore], group: Group):
        """Begins, in a thread of its own."""
        self._stores, self._group = list(stores), group
        self._left = threading.Event()
        self.passed = False
        """Whether `has_passed` has said so."""
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()

    @property
    def is_small(self) -> bool:
        """Whether it is worth waiting for, before anything else is done."""
        return sum(int(store.extents["bytes"].sum()) for store in self._stores) <= SMALL

    def has_passed(self, wait: bool = False) -> bool:
        """Whether all is found to be right by all processes, which all call this together; `wait`: until that is known.

        Raises DataError, on all of them, where pixels are damaged. What has changed since is checked again.
        """
        while True:
            if wait:
                self._thread.join(_PATIENCE)
            finding = None if self._thread.is_alive() else self._fault
            everywhere = self._group.gather((finding, self._has_changed()))
            if fault := next((fault for fault, _ in everywhere if fault), ""):
                raise DataError(fault)
            if any(changed for _, changed in everywhere):
                self._begin()
            elif all(finding is not None for finding, _ in everywhere):
                self.passed = True
                self._note()
                return True
            if not wait:
                return False

    def _begin(self) -> None:
        self._fault, self.passed = "", False
        self._files = [_files_of(store) for store in self._stores]
        self._fresh = [k for k, store in enumerate(self._stores) if not _is_known(store, self._files[k])]
        self._thread = threading.Thread(target=self._check, name="pixel check", daemon=True)
        self._thread.start()

    def _check(self) -> None:
        try:
            for k in self._fresh:
                for _ in self._stores[k].checked_images(self._group.host_rank, self._group.host_peers):
                    if self._left.is_set():
                        return
        except BlurtrainError as error:
            self._fault = str(error)
        except Exception as error:
            self._fault = f"{self._stores[k].folder}: cannot be checked: {type(error).__name__}: {error}"

    def _has_changed(self) -> bool:
        """Other files than those that are checked; what is gone has been opened before."""
        now = [_files_of(store) for store in self._stores]
        return any(files and files != before for files, before in zip(now, self._files, strict=True))

    def _note(self) -> None:
        for k in self._fresh:
            _known[self._stores[k].folder] = self._files[k]
            if self._group.host_rank == 0:
                with contextlib.suppress(BlurtrainError, OSError):  # where datasets may not be written to
                    write_json(self._stores[k].folder / RECORD, self._files[k])
        self._fresh = []


def _is_known(store: PixelStore, files: Files) -> bool:
    if not files:
        return False
    with contextlib.suppress(BlurtrainError):
        return files in (_known.get(store.folder), read_json(store.folder / RECORD))
    return False


def _files_of(store: PixelStore) -> Files:
    """Empty where they are not there."""
    try:
        stats = {path.name: path.stat() for path in (store.beton, store.folder / "images.csv")}
    except OSError:
        return {}
    return {name: [stat.st_ino, stat.st_size, stat.st_ctime_ns] for name, stat in stats.items()}
