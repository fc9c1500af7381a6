"""A copy of the code, so that jobs run what was there when they were submitted, whatever is edited meanwhile: of our
packages, and of users' own parts. Jobs find it on their PYTHONPATH."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import blurtrain
from blurtrain.errors import JobError
from blurtrain.parts import source_files, source_folder
from blurtrain.settings import PRESETS

Files = Mapping[str, Path]
"""What goes into a copy, by its place there."""


def snapshot(folder: Path, files: Files) -> Path:
    """A copy of these files below `folder`, named by a hash of their content; made once."""
    content = hashlib.sha256()
    for place, source in sorted(files.items()):
        content.update(f"{place}\0{hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    copy = folder / content.hexdigest()[:12]
    if copy.is_dir():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder, prefix=".copying-"))
    for place, source in files.items():
        (beside / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, beside / place)
    beside.chmod(0o755)
    try:
        beside.rename(copy)
    except OSError:  # another submission was as quick
        shutil.rmtree(beside)
    os.sync()
    return copy


SAFE_PATH = "PYTHONSAFEPATH"
"""Where it is set, Python does not import from the working folder before all others."""


def environment(code: Path) -> dict[str, str]:
    """Variables by which a process imports from a copy first, and never from the folder that it runs in before that."""
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), SAFE_PATH: "1"}


def own_packages() -> Files:
    """Ours, with the presets."""
    assert blurtrain.__file__
    here = Path(__file__).parent
    top = {"blurtrain": Path(blurtrain.__file__).parent, "jobs": here, "analysis": here.parent / "analysis",
           "configs": PRESETS}  # fmt: skip
    return {
        f"{name}/{path.relative_to(folder)}": path
        for name, folder in top.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so") and "__pycache__" not in path.parts
    }


def source_of(parts: Iterable[str]) -> Files:
    """The source of users' own parts, by the places under which their names find it. Raises SettingsError where a part
    is not found, JobError where two files would need one place."""
    files: dict[str, Path] = {}
    for name in sorted(parts):
        folder = source_folder(name)
        for source in source_files(name):
            place = str(source.relative_to(folder))
            if files.setdefault(place, source) != source:
                raise JobError(f"part {name}: {source} and {files[place]} cannot travel together: rename one of them")
            if place.split("/")[0].removesuffix(".py") in ("blurtrain", "jobs", "configs", "analysis"):
                raise JobError(f"part {name}: {source} has the name of a package of blurtrain: rename it")
    return files
