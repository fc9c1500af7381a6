"""The lists of FaceScrub: tab-separated, with a line of titles: name, image_id, face_id, url, bbox, sha256; and a list
of corrections to them: CSV with name, face_id, left, top, right, bottom."""

import csv
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blurtrain.data.source import Box
from blurtrain.errors import DataError, nearest

_TITLES = ("name", "image_id", "face_id", "url", "bbox", "sha256")
_CORRECTED = ("name", "face_id", "left", "top", "right", "bottom")


class Row(NamedTuple):
    """One face."""

    name: str
    image_id: int
    face_id: int
    url: bytes
    box: Box
    """Of the photograph: left, top, right, bottom."""
    sha256: str
    """Of the photograph."""

    @property
    def who(self) -> str:
        """The person, see `who`."""
        return who(self.name)

    @property
    def file(self) -> str:
        """What a downloader calls the face."""
        return f"{self.name.replace(' ', '_')}_{self.image_id}_{self.face_id}"


def shown(name: str) -> str:
    """A person's name as a label: with spaces, whatever a file system or a downloader made of them."""
    return sys.intern(" ".join(unicodedata.normalize("NFC", name).replace("_", " ").split()))


def who(name: str) -> str:
    """By which names are compared: their case is of no account."""
    return sys.intern(shown(name).casefold())


def find_lists(root: Path) -> list[Path]:
    """The lists in a folder and in the folders in it: they are known by their titles."""
    files = [p for p in (*root.glob("*"), *root.glob("*/*")) if p.suffix.lower() in {".txt", ".tsv"}]
    return sorted(p for p in files if p.is_file() and _is_list(p))


def _is_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            titles = file.readline(200).decode("utf-8-sig", "replace").rstrip("\r\n").split("\t")
    except OSError:
        return False
    return {"name", "url", "bbox"} <= {title.strip().lower() for title in titles}


def read_list(path: Path) -> Iterator[Row | tuple[str, str]]:
    """Its rows; of a line that is none, where it stands and the reason. Raises DataError where it cannot be read or
    lacks a column."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    titles = [title.strip().lower() for title in lines[0].decode("utf-8", "replace").split("\t")]
    if missing := [title for title in _TITLES if title not in titles]:
        raise DataError(f"{path}: has no column {missing[0]!r}; {nearest(missing[0], titles)}")
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            cells = dict(zip(titles, line.split(b"\t"), strict=False))
            yield _row(cells) or (f"{path.name}, line {number}", "line that is not understood")


def _row(cells: dict[str, bytes]) -> Row | None:
    try:
        left, top, right, bottom = (int(side) for side in cells["bbox"].split(b","))
        name, sha256 = cells["name"].decode().strip(), cells["sha256"].decode().strip().lower()
        ids = int(cells["image_id"]), int(cells["face_id"])
        row = Row(name, *ids, cells["url"].strip(), (left, top, right, bottom), sha256)
    except (KeyError, ValueError):
        return None
    return row if name and re.fullmatch("[0-9a-f]{64}", sha256) else None


def read_corrections(path: Path) -> dict[tuple[str, int], Box | None]:
    """By person and face_id: what the box should be; None where the face is to be left out, which has no box there.
    Raises DataError where it cannot be read, lacks a column, or corrects a face twice."""
    found: dict[tuple[str, int], Box | None] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            titles = list(table.fieldnames or [])
            if missing := [title for title in _CORRECTED if title not in titles]:
                raise DataError(f"{path}: has no column {missing[0]!r}; {nearest(missing[0], titles)}")
            for number, row in enumerate(table, 1):
                key, box = _corrected(row, f"{path}, row {number}")
                if key in found:
                    raise DataError(f"{path}, row {number}: corrects {row['name']} {row['face_id']} once more")
                found[key] = box
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return found


def _corrected(row: dict[str, str], where: str) -> tuple[tuple[str, int], Box | None]:
    sides = [(row[side] or "").strip() for side in _CORRECTED[2:]]
    try:
        key = who(row["name"] or ""), int(row["face_id"] or "")
        if not any(sides):
            return key, None
        left, top, right, bottom = (int(side) for side in sides)
    except ValueError:
        raise DataError(
            f"{where}: face_id and left, top, right, bottom must be whole numbers, or the last four empty (left out)"
        ) from None
    return key, (left, top, right, bottom)
