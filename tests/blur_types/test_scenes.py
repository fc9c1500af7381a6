"""Photos of one scene are found, whatever the crowd that they are in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurtrain.data.preparation.blurred.photos import photos_in
from blurtrain.data.preparation.scenes import scenes


def wall(seed: int) -> Image.Image:
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8))
    return coarse.resize((320, 240), Image.Resampling.BICUBIC)


def burst(folder: Path, seed: int, each: int) -> list[Path]:
    """Copies of a photo, and of a slight crop of it, as so many cameras write them."""
    folder.mkdir(exist_ok=True)
    whole = wall(seed)
    crop = whole.crop((10, 8, 314, 236))
    files = []
    for name, photo in (("whole", whole), ("crop", crop)):
        for k in range(each):
            pixels = np.asarray(photo, int) + np.random.default_rng(k).integers(-2, 3, (photo.height, photo.width, 1))
            files.append(folder / f"{name}{seed}-{k}.png")
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(files[-1])
    return files


@pytest.mark.parametrize("each", [1, 6, 20])
def test_a_crowd_is_one_scene(tmp_path: Path, each: int) -> None:
    files = burst(tmp_path / "one", 0, each)
    assert scenes(files) == [0] * 2 * each
    copies = [tmp_path / f"{k}.png" for k in range(12)]
    for k, path in enumerate(copies):
        path.write_bytes(files[k // 6 * each].read_bytes())
    assert scenes(copies) == [0] * 12


def test_others_are_scenes_by_themselves(tmp_path: Path) -> None:
    files = [*burst(tmp_path / "one", 0, 2), *burst(tmp_path / "one", 1, 2)]
    for name, content in (("broken.png", b"no image"), ("again.png", b"no image"), ("other.png", b"none either")):
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    for name, level in (("dark.png", 0), ("grey.png", 90)):  # which show nothing to compare
        files.append(tmp_path / name)
        Image.new("RGB", (50, 40), (level,) * 3).save(files[-1])
    assert scenes([*files, tmp_path / "missing.png"]) == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 10, 11, 12, 13]
    assert scenes([]) == []


def test_a_burst_lies_on_one_side(tmp_path: Path) -> None:
    for seed in range(6):
        burst(tmp_path / "walls", seed, 6)
    sides: dict[str, set[tuple[str, str]]] = {}
    for photo in photos_in([tmp_path / "walls"], 0.4, 0):
        sides.setdefault(photo.name.split("-")[1].lstrip("wholecrp"), set()).add((photo.scene, photo.split))
    assert len(sides) == 6 and all(len(found) == 1 for found in sides.values())
    assert {split for found in sides.values() for _, split in found} == {"train", "val"}
