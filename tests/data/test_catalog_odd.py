"""Images as people have them, as far as a whole dataset is concerned."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_catalog import grow, recipe

from blurtrain.data.preparation import prepare
from blurtrain.errors import DataError


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    return grow(tmp_path / "toys")


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_decoded(toys: Path, tmp_path: Path) -> None:
    (toys / "cup" / "cup_0" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"1 of 41 images cannot be decoded \(cup/cup_0/gone.png: No such file"):
        prepare(tmp_path / "data", "toys", recipe(toys))
    left_out, _ = prepare(tmp_path / "data", "toys", recipe(toys, skip_unreadable=True))
    assert left_out.manifest["unreadable"] == {"cup/cup_0/gone.png": "No such file or directory"}
    assert prepare(tmp_path / "data", "toys", recipe(toys, skip_unreadable=True))[1] is False


def deep_tree(root: Path, largest: int) -> Path:
    """Two classes of 16-bit grey images of values up to `largest`."""
    for k in range(16):
        kind = "cup" if k % 2 else "ball"
        (root / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, largest, (16, 16)).astype(np.uint16)
        pixels[0, 0] = largest if k == 0 else pixels[0, 0]  # one image alone comes so far
        Image.fromarray(pixels).save(root / kind / f"{k}.png")
    return root


def test_twelve_bits_in_sixteen_are_asked_for_and_are_another_dataset(tmp_path: Path) -> None:
    tree, root = deep_tree(tmp_path / "tree", 4095), tmp_path / "data"
    with pytest.raises(DataError, match=r"tree: 16 images of 16 bits hold no value above 4095, .*--bits 12 says"):
        prepare(root, "deep", recipe(tree))
    assert not (root / "deep").exists()
    twelve, full = (prepare(root, f"bits-{bits}", recipe(tree, bits=bits))[0] for bits in (12, 16))
    assert twelve.manifest["mean"][0] == pytest.approx(0.5, abs=0.05) and full.manifest["mean"][0] < 0.04
    assert twelve.data_id != full.data_id
    twelve.check()
    assert twelve.test_store and twelve.test_store.read(np.arange(2)).mean() > 100
    dark = prepare(root, "dark", recipe(deep_tree(tmp_path / "other", 30_000)))[0]
    assert dark.manifest["mean"][0] < 0.3, "dark, and of 16 bits: as it is"
