"""Which files of a folder are images, and what is left alone there, and why."""

import fnmatch
import os
from collections import Counter
from collections.abc import Container, Iterator, Sequence
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

    paths: list[str] = field(default_factory=list)
    """Of images, below the folder and with /, in the order of their parts."""
    left_alone: Counter[str] = field(default_factory=Counter)
    """Files that are none, by suffix, and others by why they were passed over; hidden ones are not counted."""
    empty: list[str] = field(default_factory=list)
    """Folders without any file."""


def image_files(root: Path) -> list[Path]:
    """Paths below `root` of all files that are images by name, but for hidden ones; raises DataError for none."""
    return [Path(path) for path in listed(root).paths]


def listed(root: Path, exclude: Sequence[str] = (), also: Container[str] = ()) -> Listing:
    """What lies below `root`, links to folders followed, but not round in circles.

    also: suffixes, in small letters, of other files that are taken like images. exclude: patterns (`*.gif`,
    `*/extra/*`: * is any characters) of paths below `root`. Raises DataError where there is no image, where a folder
    may not be read, where an image by name is no file (a pipe would be waited for), and where names are not UTF-8.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    found = Listing()
    used = set[str]()
    for path, entry in _files(root, "", frozenset(), found):
        if pattern := next((p for p in exclude if fnmatch.fnmatchcase(path, p)), ""):
            used.add(pattern)
            found.left_alone[f"excluded by {pattern}"] += 1
        elif why := _no_image(entry, also):
            found.left_alone[why] += 1
        else:
            found.paths.append(path)
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
    return found


def in_words(left_alone: Counter[str]) -> str:
    """E.g. "8 files: 5 .txt, 3 without suffix"."""
    total = sum(left_alone.values())
    parts = ", ".join(f"{n} {why}" for why, n in sorted(left_alone.items(), key=lambda item: (-item[1], item[0])))
    return f"{total} file{'s' * (total > 1)}: {parts}"


def _files(root: Path, below: str, entered: frozenset[str], found: Listing) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All files, in the order of the parts of their paths, which is the same on every file system.

    below: of the folder, "" or ending in /. entered: the real folders that it lies in. No more is asked of the file
    system than what lies in a folder, which it says of a million files as of one.
    """
    folder = f"{root}/{below}"
    real = os.path.realpath(folder)
    if real in entered:
        return
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{error.filename.rstrip('/')}: cannot be read: {error.strerror}") from None
    if not inside:
        found.empty.append(below.rstrip("/") or ".")
    for entry in inside:
        name = entry.name
        if not _is_folder(entry):
            if not name.startswith(".") and name.lower() not in _FILES_OF_SYSTEMS:
                yield below + name, entry
        elif name.lower() in _OF_SYSTEMS:
            beneath = sum(len(names) for _, _, names in os.walk(entry.path))
            found.left_alone += Counter({f"in {name}": beneath})  # which leaves out what is none
        elif not name.startswith("."):
            yield from _files(root, f"{below}{name}/", entered | {real}, found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say
        return False


def _no_image(entry: os.DirEntry[str], also: Container[str]) -> str:
    """Why a file is none by its name; empty: it is one. Raises DataError for an image by name that is no file."""
    suffix = os.path.splitext(entry.name)[1].lower().rstrip(".")  # noqa: PTH122  (a Path costs more than all else here)
    if suffix and suffix not in SUFFIXES and suffix not in also:
        return suffix
    regular = _is_regular(entry)
    if suffix and not regular:
        raise DataError(f"{entry.path}: is called like an image, but is no file: a pipe, socket or device is not read")
    if suffix:
        return ""
    if not regular:
        return "that are no files"
    try:
        with Path(entry.path).open("rb") as file:
            return "" if file.read(8).startswith(_BEGINNINGS) else "without suffix"
    except OSError:
        return "without suffix"


def _is_regular(entry: os.DirEntry[str]) -> bool:
    """Also of a link to nothing: who reads it says so."""
    try:
        if entry.is_file():
            return True
        return entry.is_symlink() and not Path(entry.path).exists()
    except OSError:
        return True


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
