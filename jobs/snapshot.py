"""A copy of the code, so that jobs run what was there when they were submitted, whatever is edited meanwhile."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import blurtrain
import jobs
from blurtrain.settings import PRESETS


def snapshot(folder: Path) -> Path:
    """A copy of the packages below `folder`, named by a hash of their content; jobs put it on their PYTHONPATH."""
    files = dict(sorted(_files().items()))
    content = hashlib.sha256()
    for place, source in files.items():
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
    except OSError:  # somebody else was as quick
        shutil.rmtree(beside)
    os.sync()
    return copy


def _files() -> dict[str, Path]:
    """What goes into the copy, by its place there."""
    assert blurtrain.__file__ and jobs.__file__
    top = {"blurtrain": Path(blurtrain.__file__).parent, "jobs": Path(jobs.__file__).parent, "configs": PRESETS}
    top["analysis"] = top["jobs"].parent / "analysis"
    return {
        f"{name}/{path.relative_to(folder)}": path
        for name, folder in top.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so") and "__pycache__" not in path.parts
    }
