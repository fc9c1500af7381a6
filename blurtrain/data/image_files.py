"""Which files of a folder are images, and what is left alone there, and why."""

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blurtrain.errors import DataError

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"),
    *(".avif", ".jp2", ".j2k", ".tga"),
}
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")
"""Of images, by which a file without a suffix is known."""
_OF_SYSTEMS = {"@eadir", "#recycle", "@recycle", "$recycle.bin", "__macosx", "lost+found", "system volume information"}
"""Folders that network storage and other systems leave: thumbnails, and what was deleted."""
_FILES_OF_SYSTEMS = {"thumbs.db", "desktop.ini"}


@dataclass
class Listing:
    """What lies below a folder."""

    paths: list[Path] = field(default_factory=list)
    """Of images, below the folder, by their parts."""
    left_alone: Counter[str] = field(default_factory=Counter)
    """Files that are none, by suffix, and others by why they were passed over; hidden ones are not counted."""
    empty: list[str] = field(default_factory=list)
    """Folders without any file."""


def image_files(root: Path) -> list[Path]:
    """Paths below `root` of all files that are images by name, but for hidden ones; raises DataError for none."""
    return listed(root).paths


def listed(root: Path, exclude: Sequence[str] = ()) -> Listing:
    """What lies below `root`, links to folders followed, but not round in circles.

    exclude: patterns (`*.gif`, `*/extra/*`: * is any characters) of paths below `root`. Raises DataError where there is
    no image, where a folder may not be read, where an image by name is no file (a pipe would be waited for), and where
    names are not UTF-8.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    found = Listing()
    used = set[str]()
    for path in _files(root, found):
        relative = path.relative_to(root)
        if pattern := next((p for p in exclude if fnmatch.fnmatchcase(relative.as_posix(), p)), ""):
            used.add(pattern)
            found.left_alone[f"excluded by {pattern}"] += 1
        elif why := _no_image(path):
            found.left_alone[why] += 1
        else:
            found.paths.append(relative)
    if unused := [pattern for pattern in exclude if pattern not in used]:
        raise DataError(
            f"{root}: no file is called like --exclude {unused[0]!r} (of paths below the folder: */x/*.png)"
        )
    if not found.paths:
        beside = f"; left alone: {in_words(found.left_alone)}" if found.left_alone else ""
        raise DataError(f"{root}: holds no images ({', '.join(sorted(SUFFIXES))}){beside}")
    if bad := [path for path in found.paths if not _is_utf8(path)]:
        raise DataError(
            f"{root}: {len(bad)} names are not UTF-8, e.g. {os.fsencode(bad[0])!r}: rename them (convmv does), or "
            "leave them out with --exclude"
        )
    # Sorted by parts and not by string, so that the order is the same on every file system.
    found.paths.sort(key=lambda p: p.parts)
    return found


def in_words(left_alone: Counter[str]) -> str:
    """E.g. "8 files: 5 .txt, 3 without suffix"."""
    total = sum(left_alone.values())
    parts = ", ".join(f"{n} {why}" for why, n in sorted(left_alone.items(), key=lambda item: (-item[1], item[0])))
    return f"{total} file{'s' * (total > 1)}: {parts}"


def _files(root: Path, found: Listing) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None

    above = {str(root): frozenset[str]()}
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real, entered = os.path.realpath(folder), above.pop(folder)
        if real in entered:
            folders.clear()
            continue
        if not folders and not files:
            found.empty.append(Path(folder).relative_to(root).as_posix())
        for name in [name for name in folders if name.lower() in _OF_SYSTEMS]:
            beneath = sum(len(names) for _, _, names in os.walk(Path(folder, name)))
            found.left_alone += Counter({f"in {name}": beneath})  # which leaves out what is none
            folders.remove(name)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        above |= {os.path.join(folder, name): entered | {real} for name in folders}  # noqa: PTH118  (as os.walk does)
        yield from (Path(folder, f) for f in files if not f.startswith(".") and f.lower() not in _FILES_OF_SYSTEMS)


def _no_image(path: Path) -> str:
    """Why a file is none by its name; empty: it is one. Raises DataError for an image by name that is no file."""
    suffix = path.suffix.lower()
    if suffix and suffix not in SUFFIXES:
        return suffix
    try:
        kind = path.stat().st_mode
    except OSError:
        kind = stat.S_IFREG  # a link to nothing: who reads it says so
    if suffix and not stat.S_ISREG(kind):
        raise DataError(f"{path}: is called like an image, but is no file: a pipe, socket or device is not read")
    if suffix:
        return ""
    if not stat.S_ISREG(kind):
        return "that are no files"
    try:
        with path.open("rb") as file:
            return "" if file.read(8).startswith(_BEGINNINGS) else "without suffix"
    except OSError:
        return "without suffix"


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
