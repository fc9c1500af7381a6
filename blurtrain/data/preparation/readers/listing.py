"""Reader `list`: images by a table of their paths, CSV, TSV or Parquet.

path,label,split,group      the columns; split and group may be missing, and so may those below
key                         canonical names, where label and file name do not tell images apart
left,top,right,bottom       a part of the image, in pixels
sha256                      of the file
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from blurtrain.data.dataset import SPLITS
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, split_called, with_keys
from blurtrain.data.source import Box
from blurtrain.errors import DataError, nearest

_SUFFIXES = {".csv", ".tsv", ".parquet"}
_KNOWN = ("path", "label", "split", "group", "key", "left", "top", "right", "bottom", "sha256")


class List(Reader):
    """One image a row of a table; paths are below the folder. Other columns are passed over."""

    type: Literal["list"] = "list"
    table: str | None = None
    """File below the folder; by default the one that there is."""
    path: str = "path"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    """Names of columns, where they are called otherwise. A split is train, val or test, or a word for one."""

    def samples(self, root: Path) -> Found:
        file = self._file(root)
        columns = _columns(file)
        names = {own: getattr(self, own, own) for own in _KNOWN}
        if missing := [names[own] for own in ("path", "label") if names[own] not in columns]:
            raise DataError(
                f"{file}: has no column {missing[0]!r}; {nearest(missing[0], columns)}; --reader "
                f"'list {next(own for own in names if names[own] == missing[0])}=COLUMN' names it"
            )
        present = {own: columns[name] for own, name in names.items() if name in columns}
        samples = [
            _sample(dict(zip(present, row, strict=True)), f"{file}, row {n}")
            for n, row in enumerate(zip(*present.values(), strict=True), 1)
        ]
        if not samples:
            raise DataError(f"{file}: lists no images")
        if "key" not in present:
            samples = with_keys(samples, root, "give a column `key` of names that differ")
        return Found(samples)

    def _file(self, root: Path) -> Path:
        if self.table is not None:
            if not (root / self.table).is_file():
                raise DataError(f"{root / self.table}: no such file, which --reader 'list table=...' names")
            return root / self.table
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        tables = sorted(path for path in root.iterdir() if path.suffix.lower() in _SUFFIXES)
        if len(tables) != 1:
            found = f"{len(tables)} ({', '.join(path.name for path in tables[:5])})" if tables else "none"
            raise DataError(
                f"{root}: must hold one table of images (.csv, .tsv or .parquet), but there is {found}; --reader 'list "
                "table=FILE' names it"
            )
        return tables[0]


def _columns(file: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if file.suffix.lower() == ".parquet":
            table = pyarrow.parquet.read_table(file)
        else:
            words = dict.fromkeys(_first_line(file), pa.string())  # a label 007 is not 7
            table = pyarrow.csv.read_csv(
                file,
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter="\t" if file.suffix.lower() == ".tsv" else ",", newlines_in_values=True
                ),
                convert_options=pyarrow.csv.ConvertOptions(column_types=words, strings_can_be_null=False),
            )
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read as a table: {str(error).splitlines()[0]}") from None
    return {name: table[name].to_pylist() for name in table.column_names if name}


def _first_line(file: Path) -> list[str]:
    import csv

    with file.open(newline="", encoding="utf-8-sig") as lines:
        return next(csv.reader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ","), [])


def _sample(row: Mapping[str, Any], where: str) -> Sample:
    words = {name: "" if row.get(name) is None else str(row[name]) for name in _KNOWN}
    if not words["path"] or not words["label"]:
        raise DataError(f"{where}: has no {'label' if words['path'] else 'path'}")
    split = words["split"] and (split_called(words["split"]) or "?")
    if split == "?":
        raise DataError(f"{where}: split {words['split']!r} is none of {', '.join(SPLITS)}")
    file = words["path"].removeprefix("./")
    return Sample(
        words["key"],
        file,
        sys.intern(words["label"]),
        sys.intern(words["group"]),
        split,
        _box(words, where),
        sha256=words["sha256"].lower(),
    )


def _box(words: Mapping[str, str], where: str) -> Box | None:
    sides = [words[side] for side in ("left", "top", "right", "bottom")]
    if not any(sides):
        return None
    try:
        left, top, right, bottom = (int(side) for side in sides)
    except ValueError:
        raise DataError(f"{where}: left, top, right, bottom = {', '.join(sides)}: must be four whole numbers") from None
    return left, top, right, bottom
