"""Reader `facescrub`: faces, by the lists of FaceScrub or by folders of people.

facescrub_actors.txt, facescrub_actresses.txt   lists, if there are any; beside them, at any depth:
[images/]NAME/NAME_IMAGE.jpeg                   photographs, from which faces are cut by the boxes of the lists; also
                                                NAME/NAME_FACE.jpg, and NAME/HASH.jpg of the SHA-1 of the url
[faces/]NAME/NAME_IMAGE_FACE.jpeg               faces that the downloader has cut out; also NAME/face/HASH.jpg

Without lists, each person's folder holds faces. Names may have spaces or underscores.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from blurtrain.data.image_files import listed
from blurtrain.data.preparation.readers.facescrub_lists import Row, find_lists, read_corrections, read_list, shown, who
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample
from blurtrain.errors import DataError

_OF_FACES = {"face", "faces", "cropped", "crops"}
_GENERAL = _OF_FACES | {"actors", "actresses", "actor", "actress", "image", "images", "uncropped", "facescrub"}
"""Folders that are called like no person."""
_FORMS = [re.compile(rf"(?:(.*)[_ ])?{numbers}") for numbers in (r"(\d+)_(\d+)", r"(\d+)")]
_EXPECTED = (
    "facescrub_actors.txt and facescrub_actresses.txt with photographs NAME/NAME_IMAGE.jpeg below them, or a folder of "
    "faces a person, NAME/NAME_IMAGE_FACE.jpeg"
)


class FaceScrub(Reader):
    """One face a sample; its label is the person's name. A key is name/image_face, by the numbers of the lists."""

    type: Literal["facescrub"] = "facescrub"
    faces: Literal["boxes", "cut"] | None = None
    """boxes: they are cut from photographs, by the lists. cut: the files are faces. By default what there is; of both,
    by boxes."""
    verify: bool = True
    """Whether photographs must have the SHA-256 that the lists give."""
    corrections: str | None = None
    """CSV of better boxes, below the folder or anywhere: name, face_id, left, top, right, bottom; faces without a box
    there are left out."""

    def samples(self, root: Path) -> Found:
        lists = find_lists(root)
        found = listed(root)
        images, left_alone = [Path(path) for path in found.paths], Counter(found.left_alone)
        for path in lists:
            left_alone[path.suffix.lower()] -= 1
        if lists:
            return self._by_lists(root, lists, images, +left_alone, found.empty)
        if self.corrections or self.faces == "boxes":
            raise DataError(f"{root}: holds no list of FaceScrub, so that there are no boxes; expected {_EXPECTED}")
        return _by_folders(root, images, +left_alone, found.empty)

    def _by_lists(
        self, root: Path, lists: list[Path], images: list[Path], left_alone: Counter[str], empty: list[str]
    ) -> Found:
        rows, skipped = _rows(lists)
        people = {row.who for row in rows}
        files = [_File.of(path, people) for path in images]
        fixed = read_corrections(root / self.corrections) if self.corrections else {}
        if unknown := fixed.keys() - {(row.who, row.face_id) for row in rows}:
            name, face = min(unknown)
            raise DataError(f"{root / str(self.corrections)}: corrects {name} {face}, which no list has")
        photographs = _indexed(root, rows, [f for f in files if not f.is_face])
        boxes = self.faces == "boxes" or (self.faces is None and bool(photographs))
        paths = photographs
        if not boxes:
            cut = [file for file in files if file.is_face]
            paths = _indexed(root, rows, cut or (files if self.faces == "cut" else []))
        if not paths:
            raise DataError(
                f"{root}: {len(files)} images, e.g. {files[0].path.as_posix()}, but none is called like one of the "
                f"{len(rows)} faces of {', '.join(path.name for path in lists)}; expected {_EXPECTED}"
            )
        samples = []
        for row, path in ((row, paths.get(row)) for row in rows):
            box = fixed.get((row.who, row.face_id), row.box)
            if path is None or box is None:
                reason = "no such file" if path is None else f"left out by {Path(str(self.corrections)).name}"
                skipped.append((row.file, reason))
                continue
            label = shown(row.name)
            sample = Sample(f"{label}/{row.image_id}_{row.face_id}", path.as_posix(), label)
            of_list = sample._replace(box=box, sha256=row.sha256 if self.verify else "")
            samples.append(of_list if boxes else sample)
        if unlisted := len(files) - len(set(paths.values())):
            left_alone["images that no list has, or that were not asked for"] += unlisted
        return Found(samples, left_alone, empty, skipped)


class _File(NamedTuple):
    """What a path says."""

    path: Path
    folder: str
    """The person, by the nearest folder that may be called like one; "": there is none."""
    prefix: str
    """The person, by the file's name; "": it does not say."""
    numbers: tuple[int, ...]
    """One or two at the end of the file's name: of the photograph (or the face), and of the face."""
    is_face: bool
    """Whether it is cut out already."""

    @classmethod
    def of(cls, path: Path, people: set[str]) -> "_File":
        """people: whom a name may begin with, which may end in numbers itself."""
        folders = [folder.lower() for folder in path.parts[:-1]]
        near = next((f for f in reversed(path.parts[:-1]) if f.lower() not in _GENERAL), "")
        ways = [said.groups() for form in _FORMS if (said := form.fullmatch(path.stem))]
        known = (way for way in ways if way[0] and who(way[0]) in people)
        prefix, *found = next(known, ways[0] if ways else ("",))
        numbers, is_known = tuple(map(int, found)), not prefix or who(prefix) in people
        is_face = (len(numbers) == 2 and is_known) or bool(_OF_FACES & set(folders))
        return cls(path, near, prefix or "", numbers, is_face)

    @property
    def person(self) -> str:
        is_near = bool(self.folder) and self.folder == self.path.parent.name
        return shown(self.folder if is_near or not self.prefix else self.prefix)

    @property
    def number(self) -> str:
        """What tells it from others of the person: the numbers, or the name where that is no person's."""
        is_own = self.numbers and (not self.prefix or who(self.prefix) == who(self.person))
        return "_".join(map(str, self.numbers)) if is_own else self.path.stem


def _rows(lists: Iterable[Path]) -> tuple[list[Row], list[tuple[str, str]]]:
    """The rows of all lists, each face once; and what is wrong with the others."""
    rows: dict[tuple[str, int, int], Row] = {}
    skipped = []
    for path in lists:
        for row in read_list(path):
            if not isinstance(row, Row):
                skipped.append(row)
            elif rows.setdefault((row.who, row.image_id, row.face_id), row) is not row:
                skipped.append((row.file, "listed before"))
    return list(rows.values()), skipped


def _indexed(root: Path, rows: list[Row], files: list[_File]) -> dict[Row, Path]:
    """The file of each row that has one. Raises DataError where two files are called alike.

    Files with one number are called by image_id, or all by face_id: what more of them fit.
    """
    people = {row.who for row in rows}
    by_name: dict[tuple[str, tuple[int, ...] | str], Path] = {}
    for file in files:
        person = next((p for p in (who(file.prefix), who(file.folder)) if p in people), "")
        hashed = re.fullmatch("[0-9a-f]{40}", file.path.stem)
        key = (person, file.path.stem if hashed else file.numbers)
        if (hashed or (person and file.numbers)) and by_name.setdefault(key, file.path) is not file.path:
            raise DataError(f"{root}: {by_name[key]} and {file.path} are called alike; which is it? Remove one of them")
    best: dict[Row, Path] = {}
    for id_ in ("image_id", "face_id"):
        found = {}
        for row in rows:
            both, one = (row.image_id, row.face_id), (getattr(row, id_),)
            of_url = hashlib.sha1(row.url, usedforsecurity=False).hexdigest()
            names = ((row.who, both), (row.who, one), (row.who, of_url), ("", of_url))
            if path := next((by_name[name] for name in names if name in by_name), None):
                found[row] = path
        best = max(best, found, key=len)
    return best


def _by_folders(root: Path, images: list[Path], left_alone: Counter[str], empty: list[str]) -> Found:
    people = {who(folder) for path in images for folder in path.parts[:-1]}
    files = [_File.of(path, people) for path in images]
    faces = [file for file in files if file.is_face] or files
    if photographs := len(files) - len(faces):
        left_alone["photographs, beside the faces that were cut from them"] += photographs
    if wrong := next((file.path for file in faces if not file.person), None):
        raise DataError(f"{root}: {wrong} lies in no person's folder; expected {_EXPECTED}")
    samples = [Sample(f"{file.person}/{file.number}", file.path.as_posix(), file.person) for file in faces]
    return Found(samples, left_alone, empty)
