"""Reader `hugging-face`: a folder of Hugging Face `datasets` on the disk, read without that library.

dataset_dict.json, SPLIT/*.arrow, SPLIT/dataset_info.json     as `save_to_disk` writes it, or one split of that
[data/]SPLIT-00000-of-00002-*.parquet, SPLIT/*.parquet        as a dataset lies on the hub
[SPLIT/]metadata.csv (or .jsonl, .parquet), images beside it  an `imagefolder` with metadata: file_name, label
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from blurtrain.data.image_table import SUFFIXES, arrow_table, has_names, image_column
from blurtrain.data.preparation.readers.reader import Found, Reader, Sample, split_called, with_keys
from blurtrain.errors import DataError, nearest

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class HuggingFace(Reader):
    """Images in the rows of Arrow or Parquet files, or beside their metadata. Labels are the names of classes, where
    the files have them; numbers stand for themselves."""

    type: Literal["hugging-face"] = "hugging-face"
    label: str = "label"
    """Column of the labels."""
    image: str | None = None
    """Column of the images; by default the first that holds some, `image` before others."""
    group: str | None = None
    """Column of what is shown (object, person, scene), if any."""

    def samples(self, root: Path) -> Found:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        files = sorted(p for p in root.rglob("*") if not any(x.startswith(".") for x in p.relative_to(root).parts))
        tables = [p for p in files if p.suffix in SUFFIXES and p.name not in _METADATA and _kept(p)]
        metadata = [p for p in files if p.name in _METADATA]
        if not tables and not metadata:
            kinds = Counter(p.suffix or "without suffix" for p in files if p.is_file())
            seen = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(4)) or "nothing"
            raise DataError(
                f"{root}: must hold .arrow or .parquet files, or images with {' or '.join(_METADATA)}; found: {seen} "
                "(folders of classes are read without --reader)"
            )
        unnamed = Counter[str]()
        found = [s for path in tables or metadata for s in self._of(root, path, bool(tables), unnamed)]
        cure = "--reader 'hugging-face group=COLUMN' names a column of objects, else use --reader list"
        return Found(with_keys(found, root, cure))

    def _of(self, root: Path, path: Path, in_table: bool, unnamed: Counter[str]) -> Iterator[Sample]:
        """unnamed: how many images without a name there were in each split; the number of one becomes its name."""
        place = path.relative_to(root)
        split = next((s for part in reversed(place.parts) if (s := split_called(re.split(r"[-.]", part)[0]))), "")
        schema, table = _opened(path)
        image = (self.image or image_column(schema, str(path))) if in_table else "file_name"
        for name in (image, self.label, *([self.group] if self.group else [])):
            if name not in schema.names:
                raise DataError(f"{path}: has no column {name!r}; {nearest(name, schema.names)}")
        labels = _labels(table(self.label), _class_names(path, schema, self.label), path)
        groups = ["" if g is None else str(g) for g in table(self.group)] if self.group else [""] * len(labels)
        if not in_table:
            files = table(image)
        else:
            files = table(f"{image}.path") if has_names(schema, image) else [None] * len(labels)
        for row, (file, label, group) in enumerate(zip(files, labels, groups, strict=True)):
            known = sys.intern(label), sys.intern(group), split
            if not in_table:
                yield Sample("", (place.parent / str(file)).as_posix(), *known)
                continue
            unnamed[split] += not file
            yield Sample(file or f"{unnamed[split] - 1:08d}", place.as_posix(), *known, row=row)


def _kept(path: Path) -> bool:
    """Whether the rows of a table are the data set's: `datasets` may leave others of its own beside them."""
    state = path.parent / "state.json"
    try:
        named = json.loads(state.read_text())["_data_files"] if state.exists() else None
    except (ValueError, KeyError) as error:
        raise DataError(f"{state}: cannot be read: {error}") from None
    return named is None or path.name in {entry["filename"] for entry in named}


def _opened(path: Path) -> tuple[Any, Callable[[str], list[Any]]]:
    """The schema, and what gives the values of a column (or `column.field`), without the bytes of images."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)

            def column(name: str) -> list[Any]:
                values = file.read([name]).column(0)
                return (pc.struct_field(values, 0) if "." in name else values).to_pylist()

            return file.schema_arrow, column
        if path.suffix == ".arrow":
            table = arrow_table(str(path))
        else:
            table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.json.read_json(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None

    def inside(name: str) -> list[Any]:
        whole, _, part = name.partition(".")
        return (pc.struct_field(table[whole], part) if part else table[whole]).to_pylist()

    return table.schema, inside


def _class_names(path: Path, schema: Any, label: str) -> list[str] | None:
    """The names behind the numbers of a column of labels; None where there are none."""
    inside = (schema.metadata or {}).get(b"huggingface", b"{}")
    beside = path.parent / "dataset_info.json"
    try:
        features = json.loads(inside).get("info", {}).get("features") or (
            json.loads(beside.read_text()).get("features") if beside.exists() else None
        )
    except (ValueError, OSError) as error:
        raise DataError(f"{beside if beside.exists() else path}: its description cannot be read: {error}") from None
    names = ((features or {}).get(label) or {}).get("names")
    return None if names is None else [str(name) for name in names]


def _labels(values: list[Any], names: list[str] | None, path: Path) -> list[str]:
    for row, value in enumerate(values):
        if value is None or value == "" or value == -1:
            raise DataError(f"{path}: row {row} has no label (a test split may have none: leave it out with --exclude)")
        if names is not None and isinstance(value, int) and not 0 <= value < len(names):
            raise DataError(f"{path}: row {row} has label {value}, but there are {len(names)} names of classes")
    return [names[v] if names is not None and isinstance(v, int) else str(v) for v in values]
