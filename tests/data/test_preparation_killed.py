"""A preparation that is killed is taken up again where it was, and leaves no process and no half of anything."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from blurtrain.data.dataset import Dataset, datasets, open_dataset
from blurtrain.data.preparation import Recipe, prepare

KILLED = """
import os, signal, sys
from pathlib import Path
from blurtrain.data.preparation import Recipe, building, prepare, writer

at, seen = sys.argv[3], 0

def killing(function, when):
    def call(*arguments):
        global seen
        seen += 1
        if seen == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

if __name__ == "__main__":
    if at == "decoding":  # some are done, and some are not
        writer._COMMITTED = 4
        building.Building.commit = killing(building.Building.commit, 10)
    if at == "checking the second":  # all is written, and nothing published
        writer._check = killing(writer._check, 2)
    if at == "publishing the second":
        writer._publish = killing(writer._publish, 2)
    prepare(Path(sys.argv[1]), "textures", Recipe(images=sys.argv[2], resolution=64))
"""
AGAIN = """
import sys
from pathlib import Path
from blurtrain.data.preparation import Recipe, building, prepare

added, add = 0, building.Building.add

def counted(*arguments):
    global added
    added += 1
    add(*arguments)

if __name__ == "__main__":
    building.Building.add = counted
    prepare(Path(sys.argv[1]), "textures", Recipe(images=sys.argv[2], resolution=64))
    print(added)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "left"), [("decoding", range(1, 40)), ("checking the second", [0]), ("publishing the second", [0])]
)
def test_a_preparation_that_was_killed_is_taken_up_again(
    at: str, left: Sequence[int], prepared: Dataset, tree: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    for name, code in (("killed.py", KILLED), ("again.py", AGAIN)):
        (tmp_path / name).write_text(code)
    killed = subprocess.run(
        [sys.executable, str(tmp_path / "killed.py"), str(root), str(tree), at], capture_output=True, text=True
    )
    assert killed.returncode == -9, killed.stderr
    assert datasets(root) == [] and len(list((root / ".stores").glob(".writing-*"))) == 1
    again = subprocess.run(
        [sys.executable, str(tmp_path / "again.py"), str(root), str(tree)], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert int(again.stdout) in left, "what had been done is not done again"
    dataset = open_dataset(root, "textures")
    assert not list((root / ".stores").glob(".*"))
    assert dataset.manifest == prepared.manifest
    for mine, theirs in ((dataset.store, prepared.store), (dataset.test_store, prepared.test_store)):
        assert mine and theirs and mine.folder.name == theirs.folder.name
        assert mine.beton.read_bytes() == theirs.beton.read_bytes()
        assert (mine.folder / "images.csv").read_bytes() == (theirs.folder / "images.csv").read_bytes()


@pytest.mark.slow
def test_files_that_have_changed_since_begin_anew(tree: Path, tmp_path: Path) -> None:
    source, root = tmp_path / "tree", tmp_path / "data"
    shutil.copytree(tree, source)
    (tmp_path / "killed.py").write_text(KILLED)
    killed = subprocess.run([sys.executable, str(tmp_path / "killed.py"), str(root), str(source), "decoding"])
    assert killed.returncode == -9
    first, second = sorted(source.rglob("*.png"))[:2]
    first.write_bytes(second.read_bytes())  # which had been done
    prepare(root, "textures", Recipe(images=str(source), resolution=64))
    dataset = open_dataset(root, "textures")
    dataset.check()
    assert len({row["sha256"] for row in dataset.store.rows}) == len(dataset.store) - 1


KILLED_WRITING = """
import multiprocessing, os, signal, sys
from pathlib import Path
from blurtrain.data.beton import BetonWriter
from blurtrain.data.preparation import Recipe, prepare

def killed(*_):
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    BetonWriter.append = killed
    prepare(Path(sys.argv[1]), "textures", Recipe(images=sys.argv[2], resolution=64))
"""


@pytest.mark.slow
def test_a_preparation_that_is_killed_leaves_no_process(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED_WRITING)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "data"), str(tree)]
    said, saying = os.pipe()
    killed = subprocess.run(command, stdout=saying, stderr=subprocess.DEVNULL)
    os.close(saying)
    assert killed.returncode == -9
    with os.fdopen(said) as words:
        pids = words.read().split()  # until the last of them has ended, as each holds the pipe
    stats = [stat for pid in pids if (stat := Path("/proc", pid, "stat")).exists()]
    assert pids and not [stat for stat in stats if ") Z " not in stat.read_text()], "but such as wait to be reaped"
