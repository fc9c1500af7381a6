"""What lies in a folder of runs, and whether it has changed: a look that reads no file.

A stamp covers when the files of a run were last changed by the clock of their file system (ctime, which nobody sets),
their sizes and inodes. Files of runs appear whole or grow at their end, so equal stamps mean equal content, unless a
file was changed again within a tick of that clock: so stamps of the last seconds are not trusted.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TICK_NS = 2_000_000_000
"""The coarsest clock of a file system in use (FAT, and some NFS servers), in nanoseconds."""
_OF_ATTEMPTS = {"journal.jsonl", "heartbeat.json", "origin.json", "pruned.json"}


@dataclass(frozen=True)
class RunFolder:
    """A run directory."""

    name: str
    stamp: str
    """Empty: not to be trusted."""


@dataclass
class Folders:
    """All that lies in a folder of runs; hidden folders are of programs, not of runs."""

    runs: list[RunFolder] = field(default_factory=list)
    """By name."""
    others: list[Path] = field(default_factory=list)
    """Folders that hold outcomes of measures, but are no runs."""
    not_read: list[tuple[Path, str]] = field(default_factory=list)
    """What is no run directory, and why."""


def look(folder: Path, now_ns: int) -> Folders:
    """All that lies in `folder`; `now_ns` is the time by the clock of its file system. Raises OSError where the folder
    itself cannot be read."""
    found = Folders()
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        path = folder / name
        try:
            _look_at(path, now_ns, found)
        except OSError as error:
            link = path.is_symlink()
            why = "a symbolic link that leads nowhere, or in a circle" if link else f"cannot be read: {error.strerror}"
            found.not_read.append((path, why))
    return found


def _look_at(path: Path, now_ns: int, found: Folders) -> None:
    place = os.fspath(path)
    try:
        settings = _stat(place, "settings.yaml")
    except FileNotFoundError:
        path.stat()  # a link that leads nowhere says so
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries]
        if any(name.startswith("accuracy-") for name in names):
            found.others.append(path)
            return
        why = "holds no settings.yaml: it is no run directory, or one that was left half-written"
        found.not_read.append((path, why if names else "is empty"))
        return
    except NotADirectoryError:
        return  # a file beside the runs
    try:
        path.name.encode()
    except UnicodeEncodeError:
        found.not_read.append((path, "its name is no valid text"))
        return
    try:
        result = _stat(place, "result.json")
        parts = [settings, result, *_within(place, "evaluations", ".json"), _stat(place, "attempts", missing=True)]
    except FileNotFoundError:
        parts = [settings, *_of_attempts(place)]
    latest = max(part[1] for part in parts)
    text = repr(parts).encode(errors="surrogateescape")
    stamp = hashlib.blake2b(text, digest_size=12).hexdigest() if latest < now_ns - TICK_NS else ""
    found.runs.append(RunFolder(path.name, stamp))


_Part = tuple[str, int, int, int]


def _part(name: str, found: os.stat_result) -> _Part:
    return name, found.st_ctime_ns, found.st_size, found.st_ino


def _stat(place: str, name: str, missing: bool = False) -> _Part:
    try:
        return _part(name, os.stat(f"{place}/{name}"))  # noqa: PTH116 (of tens of thousands of files)
    except FileNotFoundError:
        if missing:
            return name, 0, 0, 0
        raise


def _within(place: str, name: str, end: str) -> Iterator[_Part]:
    """A folder, and the files in it whose names have this end."""
    try:
        with os.scandir(f"{place}/{name}") as entries:
            yield from sorted(_part(e.name, e.stat()) for e in entries if e.name.endswith(end))
    except (FileNotFoundError, NotADirectoryError):
        pass
    yield _stat(place, name, missing=True)


def _of_attempts(place: str) -> Iterator[_Part]:
    """The files of all attempts."""
    try:
        with os.scandir(f"{place}/attempts") as entries:
            attempts = sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for attempt in attempts:
        try:
            with os.scandir(f"{place}/attempts/{attempt}") as entries:
                files = sorted(_part(e.name, e.stat()) for e in entries if e.name in _OF_ATTEMPTS)
        except NotADirectoryError:
            continue
        yield from ((f"{attempt}/{name}", ctime, size, inode) for name, ctime, size, inode in files)
