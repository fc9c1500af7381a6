"""What tests of tasks share: photos with masks, squared and of many aspects."""

import pytest
from mask_photos import KEPT, prepared_photos, tree

from blurtrain.data.dataset import Dataset


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """ "square" and "kept" (by the geometric mean). Not to be changed."""
    root = tmp_path_factory.mktemp("photos")
    tree(root / "t")
    return {name: prepared_photos(root / "t", root / "data", name, **recipe)
            for name, recipe in (("square", {}), ("kept", KEPT))}  # fmt: skip
