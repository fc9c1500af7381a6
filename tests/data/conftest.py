"""What the tests of stores and loaders share: FFCV's writer without a process of its own, and a store of JPEG."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blurtrain.data import writer
from blurtrain.data.catalog import Dataset, Recipe, prepare


@contextmanager
def writing_here() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.os, "setsid", lambda: None)
        patch.setattr(writer.multiprocessing, "set_start_method", lambda *_, **__: None)
        patch.setattr(writer, "_write_watched", writer._write)
        patch.setattr(sys, "stderr", sys.stderr)
        yield


@pytest.fixture
def quick_writer(prepared: Dataset) -> Iterator[None]:
    """FFCV writes in this process: a fresh one takes ten seconds to import it, and `prepared` has tried that one."""
    with writing_here():
        yield


@pytest.fixture(scope="session")
def jpg(prepared: Dataset, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """As `prepared`, but stored as JPEG. Not to be changed."""
    with writing_here():
        recipe = Recipe(images=str(tree), resolution=64, encoding="jpg")
        return prepare(tmp_path_factory.mktemp("jpg"), "textures", recipe)[0]
