"""Runs on mosaics, whose tiles are pixels as they are."""

from pathlib import Path

import pytest

from blurtrain.data.preparation import Recipe, prepare
from blurtrain.errors import DataError
from blurtrain.settings import Settings, compose
from blurtrain.training.compatibility import check_settings


def test_mosaics_are_not_cut_to_another_resolution(tree: Path, tmp_path: Path) -> None:
    dataset, _ = prepare(tmp_path, "tiles", Recipe(images=str(tree), view="mosaic", resolution=72))

    def settings(resolution: int) -> Settings:
        data = {"root": str(tmp_path), "resolution": resolution}
        small = {"batch_size": 4}
        return compose(
            {"dataset": "tiles", "regime": "clear", "model": "blur-type", "data": data, "optimisation": small}, "test"
        )

    check_settings(settings(72), dataset)
    with pytest.raises(DataError, match=r"has mosaics of 72 px.* set data\.resolution=72, or .* --resolution 48"):
        check_settings(settings(48), dataset)
