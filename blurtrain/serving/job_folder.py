"""A batch job as a directory: photos and job.json, published together, and results.jsonl, a line a photo, in order.

How far a job is, is how many lines it has: killed at any moment, it goes on behind the last whole one, so that each
photo has one answer.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from blurtrain.errors import RunError
from blurtrain.files import read_json, sync_folder, unwritable, write_json

HIDDEN = "."
"""First letter of folders that are being written or removed."""
_ID = re.compile(r"\d{20}-[0-9a-f]{16}")
"""Of a job, which is the name of its folder: others are not touched, so that --jobs may be any folder."""
_SYNC_EVERY = 64


class Incoming:
    """A job whose photos still arrive: hidden, and gone unless it is published. Every method may wait for the disk."""

    def __init__(self, root: Path, blur_type: str | None) -> None:
        self.id = f"{time.time_ns():020d}-{secrets.token_hex(8)}"
        self._root, self._folder = root, root / f"{HIDDEN}{self.id}"
        self._about: dict[str, Any] = {"blur_type": blur_type, "created": time.time(), "photos": []}
        self._file: IO[bytes] | None = None
        try:
            (self._folder / "photos").mkdir(parents=True, mode=0o700)
        except OSError:
            self.abandon()
            raise

    @property
    def photos(self) -> int:
        """How many have begun to arrive."""
        return len(self._about["photos"])

    def begin(self, name: str) -> None:
        """A next photo; its name is only kept to be shown."""
        self._about["photos"].append({"name": name})
        self._file = (self._folder / "photos" / _file_name(self.photos - 1)).open("xb")

    def write(self, data: bytes) -> None:
        """Next bytes of the photo that `begin` has begun; raises OSError."""
        assert self._file is not None
        self._file.write(data)

    def end(self, error: str | None = None) -> None:
        """The photo is on the disk; with `error`, it is not kept, and this is its answer."""
        assert self._file is not None
        with self._file as file:
            if error is not None:
                self._about["photos"][-1]["error"] = error
                file.truncate(0)
            file.flush()
            os.fsync(file.fileno())
        self._file = None

    def publish(self) -> "Job":
        """The job, which from now on is worked off, whatever happens; raises RunError where the disk is full."""
        sync_folder(self._folder / "photos")
        write_json(self._folder / "job.json", self._about)
        folder = self._root / self.id
        try:
            self._folder.rename(folder)
            sync_folder(self._root)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise unwritable(folder, error) from error
        return Job(folder)

    def abandon(self) -> None:
        """Remove all of it; never raises."""
        with contextlib.suppress(OSError):  # a full disk refuses what is still to be written, once more
            if self._file is not None:
                self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Job:
    """A published job; one thread may `append`, others look."""

    def __init__(self, folder: Path) -> None:
        """Raises RunError where job.json is damaged. A last line that is not whole is cut off."""
        self.folder, self.id = folder, folder.name
        about = read_json(folder / "job.json")
        if not isinstance(about, dict) or not isinstance(about.get("photos"), list):
            raise RunError(f"{folder}: has no job.json of a job")
        self.blur_type, self.created, self.total = about.get("blur_type"), about["created"], len(about["photos"])
        self._results = folder / "results.jsonl"
        self.answered = self._whole_lines()
        self._release()

    @property
    def done(self) -> bool:
        """Whether all photos are answered."""
        return self.answered == self.total

    @property
    def gone(self) -> bool:
        """Whether somebody has removed it, or its answers, by hand."""
        return not (self.folder / "job.json").exists() or (self.answered > 0 and not self._results.exists())

    @property
    def finished(self) -> float | None:
        """Seconds since 1970; None: it is not done. Raises OSError."""
        return self._results.stat().st_mtime if self.done and self.total else None

    def entries(self) -> list[dict[str, Any]]:
        """Of each photo its `name`, and the `error` that it was accepted with."""
        about: dict[str, Any] = read_json(self.folder / "job.json") or {}
        found: list[dict[str, Any]] = about["photos"]
        return found

    def content(self, index: int) -> bytes:
        """The bytes of a photo, counted from 0; raises OSError."""
        return (self.folder / "photos" / _file_name(index)).read_bytes()

    def append(self, result: dict[str, Any]) -> None:
        """Write the answer of the next photo: it survives when this process is killed, and, from time to time and at
        the end, when the machine is. Raises OSError."""
        with self._results.open("ab") as file:
            file.write(json.dumps(result).encode() + b"\n")
            file.flush()
            self.answered += 1
            if self.done or self.answered % _SYNC_EVERY == 0:
                os.fsync(file.fileno())
        self._release()

    def recover(self) -> None:
        """Count anew, after an append that failed; raises OSError."""
        self.answered = self._whole_lines()

    def page(self, first: int, count: int) -> list[dict[str, Any]]:
        """Answers from number `first` (from 0), as far as they are there."""
        last = min(first + count, self.answered)
        try:
            with self._results.open() as file:
                return [json.loads(line) for line in islice(file, first, last)]
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """All of it; hidden first, so that half of it is never taken for a job."""
        hidden = self.folder.with_name(f"{HIDDEN}{self.id}")
        with contextlib.suppress(OSError):
            self.folder.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)

    def _release(self) -> None:
        """Photos that have their answers are not kept."""
        if self.done:
            shutil.rmtree(self.folder / "photos", ignore_errors=True)

    def _whole_lines(self) -> int:
        lines, end, behind = 0, 0, 0
        try:
            with self._results.open("rb") as file:
                for line in file:
                    behind += len(line)
                    if line.endswith(b"\n"):
                        lines, end = lines + 1, behind
        except FileNotFoundError:
            return 0
        if end < behind:
            os.truncate(self._results, end)
        return lines


def jobs_in(root: Path) -> tuple[list[Job], Sequence[str]]:
    """The jobs of a folder, oldest first, and what is wrong with others. Jobs never published are removed."""
    found, damaged = [], []
    for folder in sorted(root.iterdir()):
        if not _ID.fullmatch(folder.name.removeprefix(HIDDEN)) or not folder.is_dir():
            continue
        if folder.name.startswith(HIDDEN):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            try:
                found.append(Job(folder))
            except (RunError, OSError, KeyError) as error:
                damaged.append(str(error))
    return found, damaged


def _file_name(index: int) -> str:
    return f"{index:06d}"
