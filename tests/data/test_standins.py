"""The generated stand-ins: the same seed draws the same bytes, the trees are complete, and mistakes are refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurtrain.data.preparation import standins
from blurtrain.data.preparation.standins import objects, textures, toys

SIZE = 32


def digests(root: Path) -> dict[str, str]:
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(root.rglob("*.png"))}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    # Two workers are started only where two cores may be used; elsewhere this compares two serial draws.
    standins.draw("faces", tmp_path / "one", seed=3, size=SIZE, images_per_class=2, workers=1)
    standins.draw("faces", tmp_path / "two", seed=3, size=SIZE, images_per_class=2, workers=2)
    standins.draw("faces", tmp_path / "other", seed=4, size=SIZE, images_per_class=2, workers=1)
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    assert one == digests(tmp_path / "two")
    assert len(set(one.values())) == len(one) == 40
    assert not set(one.values()) & set(other.values())


def test_an_image_does_not_depend_on_how_many_are_drawn(tmp_path: Path) -> None:
    standins.draw("imagenet-12", tmp_path / "few", size=SIZE, images_per_class=1, workers=1)
    standins.draw("imagenet-12", tmp_path / "more", size=SIZE, images_per_class=2, workers=1)
    few, more = digests(tmp_path / "few"), digests(tmp_path / "more")
    assert few.items() <= more.items()
    alone = standins.draw_image("imagenet-12", 0, standins.class_folders("imagenet-12").index("duck"), 1, SIZE)
    with Image.open(tmp_path / "more" / "duck" / "0001.png") as stored:
        assert np.array_equal(np.asarray(alone), np.asarray(stored))


@pytest.mark.parametrize(
    ("kind", "folders", "example"),
    [
        ("faces", 20, "identity_19/0000.png"),
        ("objects", 72, "giraffe/giraffe_05/0000.png"),
        ("imagenet-12", 12, "spoon/0000.png"),
        ("imagenet-100", 100, "checks_cone/0000.png"),
    ],
)
def test_trees_are_complete(tmp_path: Path, kind: str, folders: int, example: str) -> None:
    assert standins.draw(kind, tmp_path / kind, size=SIZE, images_per_class=1, workers=1) == folders
    files = digests(tmp_path / kind)
    assert example in files
    assert len(files) == folders
    assert [p.name for p in tmp_path.iterdir()] == [kind]
    with Image.open(tmp_path / kind / example) as image:
        assert (image.mode, image.size) == ("RGB", (SIZE, SIZE))


def test_defaults_name_every_kind() -> None:
    assert set(standins.IMAGES_PER_CLASS) == set(standins.KINDS)
    assert len(toys.BUILDERS) == 12
    assert len(textures.PATTERNS) == len(objects.SOLIDS) == 10


@pytest.mark.parametrize("kind", standins.TREES)
def test_every_class_is_visible(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before black, which a shadow leaves black, what is not black is the object.
    def black(rng: np.random.Generator, size: int, *_: int) -> np.ndarray:
        return np.zeros((size, size, 3))

    for module, name in ((standins.objects, "backdrop"), (standins.objects, "clutter"), (standins.faces, "backdrop")):
        monkeypatch.setattr(module, name, black)
    for number, folder in enumerate(standins.class_folders(kind)):
        pixels = np.asarray(standins.draw_image(kind, 0, number, 0, SIZE), float)
        drawn = pixels.max(axis=2) > 0
        assert 0.04 < drawn.mean() < 0.9, folder
        assert pixels[drawn].std(axis=0).max() > 10, folder


def test_one_toy_keeps_its_colours_and_another_has_its_own() -> None:
    def hues(number: int, k: int) -> np.ndarray:
        pixels = np.asarray(standins.draw_image("objects", 0, number, k, SIZE), float)[8:24, 8:24].reshape(-1, 3)
        return pixels.mean(axis=0) / pixels.mean()

    balls = [i for i, name in enumerate(standins.class_folders("objects")) if name.startswith("ball/")]
    means = np.array([[hues(number, k) for k in range(6)] for number in balls])
    assert means.mean(axis=1).std(axis=0).mean() > means.std(axis=1).mean()


def test_unknown_kind_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'imagenet-12'"):
        standins.draw("imagenet12", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("wrong", [{"images_per_class": 0}, {"size": 8}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need images_per_class"):
        standins.draw("faces", tmp_path / "x", **wrong)


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="remove it"):
        standins.draw("faces", tmp_path, images_per_class=1)


def test_an_interrupted_draw_is_redone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(standins.faces, "portrait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            standins.draw("faces", out, size=SIZE, images_per_class=1, workers=1)
    assert not out.exists()
    assert (tmp_path / "set.partial").exists()
    assert standins.draw("faces", out, size=SIZE, images_per_class=1, workers=1) == 20
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
