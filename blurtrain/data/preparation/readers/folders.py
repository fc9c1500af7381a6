"""What lies directly in a folder, as readers of known layouts ask for it: names alone, nothing is opened."""

import os
from collections import Counter
from pathlib import Path

from blurtrain.data.image_files import SUFFIXES
from blurtrain.errors import DataError


class Looked:
    """What was passed over on the way, for `Found`."""

    def __init__(self) -> None:
        self.left_alone = Counter[str]()
        self.skipped: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def images_in(self, folder: Path) -> list[str]:
        """Names of the images (by suffix) in a folder, sorted; other files are counted, and hidden ones are not."""
        names = []
        for entry in entries(folder):
            if entry.is_dir():
                continue
            suffix = Path(entry.name).suffix.lower()
            if suffix not in SUFFIXES:
                self.left_alone[suffix or "without suffix"] += 1
            elif not is_utf8(entry.name):
                self.skipped.append((ascii(os.fsencode(entry.path))[2:-1], "its name is not UTF-8"))
            else:
                names.append(entry.name)
        return sorted(names)


def folders_in(folder: Path) -> list[str]:
    """Names of the folders (links to some, too) in a folder, sorted, but for hidden ones."""
    return sorted(entry.name for entry in entries(folder) if entry.is_dir())


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """All but hidden ones; raises DataError where the folder cannot be read."""
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from None


def shown(folder: Path, most: int = 8) -> str:
    """What lies in a folder, in a few words, for an error message."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in entries(folder))
    return ", ".join(names[:most]) + f", ... ({len(names)} in all)" * (len(names) > most) if names else "nothing"


def is_utf8(name: str) -> bool:
    """Whether a file's name is UTF-8, as a store's tables need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
