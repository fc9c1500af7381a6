"""What the tests of stores and loaders share: a store of JPEG."""

from pathlib import Path

import pytest

from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare


@pytest.fixture(scope="session")
def jpg(prepared: Dataset, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """As `prepared`, but stored as JPEG. Not to be changed."""
    recipe = Recipe(images=str(tree), resolution=64, encoding="jpg")
    return prepare(tmp_path_factory.mktemp("jpg"), "textures", recipe)[0]
