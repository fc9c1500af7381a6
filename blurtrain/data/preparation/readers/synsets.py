"""Lists of ImageNet's classes (WordNet ids), and the true classes of its validation images."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from blurtrain.documents import read_yaml
from blurtrain.errors import DataError, SettingsError, nearest
from blurtrain.settings import PRESETS

SYNSET = re.compile(r"n\d{8}")
"""A WordNet id of a noun, as class folders are called."""
LISTS = PRESETS / "synsets"


def synsets_named(name: str, root: Path) -> dict[str, str]:
    """Classes by id, each with its name in words, or "": of a list that comes with this project, or of a file below
    `root` or by its path (.json: {id: name}, .yaml, or text: an id a line, and what it is called).

    Raises DataError where there is none, or what is in it is none.
    """
    if name in (known := known_lists()):
        return known[name]
    file = next((p for p in (root / name, Path(name).expanduser()) if p.is_file()), None)
    if file is None:
        raise DataError(f"synsets={name}: no such file in {root} or here, and no list; {nearest(name, known)}")
    return synsets_in(file)


def synsets_in(file: Path) -> dict[str, str]:
    """The classes that a file lists, as `synsets_named` has them; raises DataError where it lists none."""
    try:
        document = _document(file)
    except (OSError, ValueError, SettingsError) as error:
        raise DataError(f"{file}: cannot be read as a list of classes: {error}") from None
    for name in document:
        if not SYNSET.fullmatch(name):
            raise DataError(f"{file}: {name!r} is no WordNet id (n and eight digits)")
    if not document:
        raise DataError(f"{file}: lists no classes")
    return document


def _document(file: Path) -> dict[str, str]:
    if file.suffix.lower() == ".json":
        found: Any = json.loads(file.read_text())
    elif file.suffix.lower() in (".yaml", ".yml"):
        found = read_yaml(file).get("synsets")
    else:
        lines = (line.split(maxsplit=1) for line in file.read_text().splitlines() if line.strip())
        return {words[0]: words[1].strip() if len(words) > 1 else "" for words in lines}
    if isinstance(found, Mapping):
        return {str(key): str(value) for key, value in found.items()}
    if isinstance(found, list):
        return {str(key): "" for key in found}
    raise ValueError("must be {id: name}, or a list of ids")


@cache
def known_lists() -> dict[str, dict[str, str]]:
    """Those in configs/synsets, by the names of their files."""
    return {file.stem: synsets_in(file) for file in sorted(LISTS.glob("*.yaml"))}


def recognised(found: set[str]) -> str:
    """Which of the known lists these classes are, in words."""
    counts = {name: len(found & own.keys()) for name, own in known_lists().items()}
    name = max(counts, key=lambda n: counts[n])
    size = len(known_lists()[name])
    if found == known_lists()[name].keys():
        return f"the {len(found)} classes are those of the list {name}"
    if found < known_lists()[name].keys():
        return f"the {len(found)} classes are all of the list {name}, which has {size}"
    shared = ", ".join(f"{n} of them in {name}" for name, n in counts.items())
    return f"the {len(found)} classes are no list that is known here ({shared})"


# --- validation images ----------------------------------------------------------------------------------------------

_FILES = ("ILSVRC2012_validation_ground_truth.txt", "LOC_val_solution.csv", "val_labels.csv", "val.csv", "val.txt")
_DEVKITS = ("", "ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "devkit/data", "ILSVRC/devkit/data", "data")


def validation_classes(root: Path, given: str | None) -> tuple[Path, Mapping[str, str]] | None:
    """The file of true classes, and the class of each image by its name without suffix; None where there is none.

    given: the file below `root` or by its path; else it is looked for. It is either of lines `name ... id ...`, with
    tabs, spaces or commas; or the development kit's, with the number of a class for each image in the order of their
    numbers, and its meta.mat (or map_clsloc.txt) beside it. Raises DataError where that cannot be read.
    """
    if given is not None:
        found = next((p for p in (root / given, Path(given).expanduser()) if p.is_file()), None)
        if found is None:
            raise DataError(f"labels={given}: no such file in {root} or here")
    else:
        places = (root / folder / name for name in _FILES for folder in _DEVKITS)
        found = next((place for place in places if place.is_file()), None)
    if found is None:
        return None
    try:
        lines = [line.strip() for line in found.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise DataError(f"{found}: cannot be read: {error}") from None
    if lines and all(line.isdigit() for line in lines):
        ids = _ids_of_kit(found.parent)
        return found, {f"ILSVRC2012_val_{n:08d}": _of_id(ids, int(line), found) for n, line in enumerate(lines, 1)}
    return found, _by_name(found, lines)


def _by_name(file: Path, lines: list[str]) -> dict[str, str]:
    classes = {}
    for number, line in enumerate(lines, 1):
        words = re.split(r"[,\s]+", line)
        synset = next((word for word in words[1:] if SYNSET.fullmatch(word)), None)
        if synset is not None:
            classes[Path(words[0]).stem] = synset
        elif number > 1:  # else a line of titles
            raise DataError(
                f"{file}, line {number}: {line[:60]!r} names no class by its WordNet id; positions are not taken for it"
            )
    return classes


def _of_id(ids: Mapping[int, str], number: int, file: Path) -> str:
    if number not in ids:
        raise DataError(f"{file}: class {number} is not in the development kit's list ({len(ids)} classes)")
    return ids[number]


def _ids_of_kit(folder: Path) -> dict[int, str]:
    """WordNet ids by the numbers of the development kit, which are those of no sorted list."""
    if (file := folder / "meta.mat").is_file():
        from scipy.io import loadmat

        try:
            rows = loadmat(file, squeeze_me=True)["synsets"]
            return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows.reshape(-1)}
        except Exception as error:  # SciPy raises many kinds for damaged files
            raise DataError(f"{file}: cannot be read: {error}") from None
    if (file := folder / "map_clsloc.txt").is_file():
        rows = [line.split() for line in file.read_text().splitlines() if line.strip()]
        if all(len(row) > 1 and SYNSET.fullmatch(row[0]) and row[1].isdigit() for row in rows):
            return {int(row[1]): row[0] for row in rows}
        raise DataError(f"{file}: must have a WordNet id and its number in each line")
    raise DataError(
        f"{folder}: ILSVRC2012_validation_ground_truth.txt has numbers of classes, so that meta.mat (or "
        "map_clsloc.txt) of the development kit must lie beside it to say which they are"
    )
