"""Photos of the four blur types from a few sharp ones, and what a dataset makes of them."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurtrain.blur_types import CLASSES
from blurtrain.data.preparation.blurred import Drawing, draw_blurred
from blurtrain.data.preparation.blurred.photos import photos_in
from blurtrain.data.preparation.scenes import scenes
from blurtrain.data.sharpness import sharpness
from blurtrain.errors import DataError


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of noise and shapes, the last nearly the first; half of them with masks."""
    folder = tmp_path_factory.mktemp("sharp") / "walls"
    (folder / "rgb").mkdir(parents=True)
    (folder / "masks").mkdir()
    for k in range(8):
        rng = np.random.default_rng(k % 7)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
        fine = rng.integers(-60, 60, (120, 160, 1))
        pixels = np.clip(np.asarray(coarse, int) + fine + k // 7, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "rgb" / f"wall{k}.png")
        if k % 2 == 0:
            mask = np.zeros((120, 160), np.uint8)
            mask[30:90, 40:110] = 255
            Image.fromarray(mask).save(folder / "masks" / f"wall{k}.png")
    return folder


@pytest.fixture(scope="module")
def drawn(sharp: Path) -> Path:
    out = sharp.parents[0] / "drawn"
    draw_blurred([sharp], out, Drawing(val=0.3), workers=1)
    return out


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "photos.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_photo_is_drawn_in_every_class_on_its_side(sharp: Path, drawn: Path) -> None:
    table = rows(drawn)
    assert len(table) == 8 * 4 and all((drawn / row["file"]).is_file() for row in table)
    split_of = {photo.name: photo.split for photo in photos_in([sharp], 0.3, 0)}
    assert set(split_of.values()) == {"train", "val"}
    for row in table:
        split, name, file = row["file"].split("/")
        assert split == row["split"] == split_of[file.partition("~")[0]] and name == row["class"]
        assert not row["subject"] or split_of[row["subject"]] == split
        assert not row["other"] or split_of[row["other"]] == split
        assert row["subject"] in ("", file.partition("~")[0], row["other"]) and row["how"]
    assert any(row["other"] for row in table) and not all(row["other"] for row in table)


def test_near_duplicates_are_one_scene(sharp: Path) -> None:
    files = [sharp / "rgb" / f"wall{k}.png" for k in range(8)]
    assert scenes(files) == [0, 1, 2, 3, 4, 5, 6, 0]
    by_name = {photo.name: photo for photo in photos_in([sharp], 0.3, 0)}
    assert by_name["walls-rgb-wall0"].split == by_name["walls-rgb-wall7"].split


def test_blurred_photos_are_blurred(drawn: Path) -> None:
    def median(name: str) -> float:
        found = [sharpness(np.asarray(Image.open(path)))["reblur"] for path in drawn.glob(f"*/{name}/*.jpg")]
        return float(np.median(found))

    of = {name: median(name) for name in CLASSES}
    assert of["defocused_blurred"] > of["sharp"] + 0.1 and of["motion_blurred"] > of["sharp"]


def test_the_same_seed_draws_the_same_files(sharp: Path, drawn: Path, tmp_path: Path) -> None:
    """Also where a call was killed, and whatever was done by then."""
    again = tmp_path / "again"
    partial = tmp_path / ".again.partial"
    draw_blurred([sharp], tmp_path / "first", Drawing(val=0.3), workers=1)
    assert {p.relative_to(drawn): p.read_bytes() for p in drawn.rglob("*.jpg")} == {
        p.relative_to(tmp_path / "first"): p.read_bytes() for p in (tmp_path / "first").rglob("*.jpg")
    }
    with pytest.raises(DataError, match="not of the size"):
        broken = tmp_path / "walls"
        shutil.copytree(sharp, broken)
        Image.new("L", (3, 3)).save(broken / "masks" / "wall6.png")
        draw_blurred([broken], again, Drawing(val=0.3), workers=1)
    assert partial.is_dir() and not again.exists()
    shutil.copy(sharp / "masks" / "wall6.png", broken / "masks" / "wall6.png")
    draw_blurred([broken], again, Drawing(val=0.3), workers=1)
    assert rows(again) == rows(drawn) and not partial.exists()


def test_what_cannot_be_drawn(sharp: Path, drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is there already"):
        draw_blurred([sharp], drawn, Drawing())
    with pytest.raises(DataError, match="at least 1"):
        draw_blurred([sharp], tmp_path / "new", Drawing(each=0))
    with pytest.raises(DataError, match="another folder is called"):
        draw_blurred([sharp, sharp], tmp_path / "new", Drawing())
