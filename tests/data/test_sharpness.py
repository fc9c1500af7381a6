"""Measures of sharpness without a reference: known answers, what leaves them alone, and that blur always shows."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from blurtrain.cli import main
from blurtrain.data.sharp_folder import look_at, ordered, sheet, summary
from blurtrain.data.sharpness import MEASURES, SMALLEST, edge_width, grey, laplacian, reblur, sharpness, slope
from blurtrain.errors import DataError

SIGMAS = (0, 0.5, 1, 2, 4, 8)


def blurred(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    return gaussian_filter(image, (sigma, sigma, 0)[: image.ndim], mode="mirror") if sigma else image


def picture() -> NDArray[np.float64]:
    """As in tests/evaluation/test_quality.py."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    waves = 60 * np.sin(x / 3)[..., None] * np.array([1, 0.6, 0.3])
    steps = 40 * np.sign(np.sin(y / 5))[..., None] * np.array([0.2, 0.7, 1])
    return (128 + waves + steps + rng.normal(0, 10, (40, 48, 3))).clip(0, 255).round()


def photograph_like(power: float, side: int = 256, seed: int = 0) -> NDArray[np.float64]:
    """Noise whose power falls with frequency to the given power."""
    frequency = np.hypot.outer(np.fft.fftfreq(side), np.fft.fftfreq(side))
    frequency[0, 0] = 1
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(side, side)))
    image = np.fft.ifft2(noise * frequency ** (power / 2)).real
    return 128 + 40 * image / image.std()


def steps(side: int = 160, seed: int = 1) -> NDArray[np.float64]:
    """Rectangles of some greys: steps, as in the world of things."""
    rng, image = np.random.default_rng(seed), np.full((side, side), 128.0)
    for _ in range(12):
        top, left, height, width = rng.integers(0, side - 50), rng.integers(0, side - 50), *rng.integers(30, 60, 2)
        image[top : top + height, left : left + width] = rng.integers(0, 256)
    return image


@pytest.mark.parametrize(("sigma", "value"), [(0, 0.44767114619576404), (0.7, 0.47657981495077),
                                              (1.5, 0.5690822790874507), (4, 0.8345728757190641)])  # fmt: skip
def test_reblur_is_scikit_images_blur_effect(sigma: float, value: float) -> None:
    """Numbers of scikit-image 0.26.0."""
    assert reblur(grey(blurred(picture(), sigma))) == pytest.approx(value, abs=1e-9)


def test_laplacian_of_a_checkerboard() -> None:
    board = 128 + 10 * (1 - 2.0 * (np.add.outer(np.arange(30), np.arange(40)) % 2))
    assert laplacian(board) == pytest.approx((8 * 10) ** 2)


@pytest.mark.parametrize("power", [-1.5, -2, -2.6])
def test_slope_is_that_of_the_spectrum(power: float) -> None:
    found = [slope(photograph_like(power, seed=seed)) for seed in range(6)]
    assert np.mean(found) == pytest.approx(power, abs=0.1)


@pytest.mark.parametrize("sigma", [1, 2, 3, 4])
def test_the_width_of_a_blurred_step(sigma: float) -> None:
    step = np.full((64, 64), 50.0)
    step[:, 32:] = 200
    assert edge_width(blurred(step, sigma)) == pytest.approx(np.hypot(sigma, 1), rel=0.05)


@pytest.mark.parametrize("image", [steps(), photograph_like(-2), picture()], ids=["steps", "noise", "picture"])
def test_more_blur_always_shows(image: NDArray[np.float64]) -> None:
    found = [sharpness(blurred(image, sigma).round()) for sigma in SIGMAS[:5]]
    for name, measure in MEASURES.items():
        values = [measure.sharper * one[name] for one in found]
        assert values == sorted(values, reverse=True) and len(set(values)) == len(values), name


@pytest.mark.images
def test_more_blur_shows_on_photographs(images_root: Path) -> None:
    paths = sorted((images_root / "imagenette" / "val").rglob("*.JPEG"))[::100]
    assert len(paths) >= 5
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float64)
        found = [sharpness(blurred(pixels, sigma).round()) for sigma in SIGMAS]
        for name, measure in MEASURES.items():
            values = [measure.sharper * one[name] for one in found]
            assert values == sorted(values, reverse=True), f"{name} of {path.name}"


def test_what_leaves_them_alone() -> None:
    image = grey(picture())
    own = sharpness(image)
    for other in (image[::-1], image[:, ::-1], image.T):
        assert sharpness(other.copy()) == pytest.approx(own, rel=0.02)  # edge_width rounds directions to eighths
    dimmed = sharpness(0.5 * image + 60)
    for name in ("reblur", "edge_width", "slope"):
        assert dimmed[name] == pytest.approx(own[name], rel=1e-6), name
    assert dimmed["laplacian"] == pytest.approx(0.25 * own["laplacian"])


def test_of_nothing_nothing_is_said() -> None:
    flat = sharpness(np.full((40, 40), 90.0))
    assert flat["laplacian"] == 0 and flat["reblur"] == 1
    assert np.isnan(flat["slope"]) and np.isnan(flat["edge_width"])
    with pytest.raises(ValueError, match="too small"):
        sharpness(np.zeros((SMALLEST - 1, 100)))
    with pytest.raises(ValueError, match=r"must be \[H, W\]"):
        sharpness(np.zeros((40, 40, 4)))


# --- of a folder ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folders of images, sharp and blurred, and a file that is none."""
    for name, sigma in (("sharp", 0.0), ("soft", 2.0)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for seed in range(3):
            pixels = blurred(steps(96, seed), sigma * (1 + seed / 2)).round().astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(tmp_path / "in" / name / f"{seed}.png")
    (tmp_path / "in" / "soft" / "broken.png").write_bytes(b"no image")
    return tmp_path / "in"


def test_folders_are_summed_up_and_what_cannot_be_read_is_named(folder: Path) -> None:
    images, wrong = look_at(folder, None, 1)
    assert len(images) == 6 and list(wrong) == ["soft/broken.png"]
    sharp, soft, both = summary(images, "edge_width")
    assert [row["folder"] for row in (sharp, soft, both)] == ["sharp", "soft", "all"]
    widths = [one.values["edge_width"] for one in images if one.folder == "soft"]
    assert soft["edge_width"]["median"] == np.median(widths) and soft["n"] == 3
    assert sharp["edge_width"]["q3"] < soft["edge_width"]["q1"] and sharp["reblur"]["q3"] < soft["reblur"]["q1"]
    assert soft["blurriest"] == ["soft/2.png", "soft/1.png", "soft/0.png"]
    assert [one.path for one in look_at(folder, 3, 1)[0]] == ["sharp/0.png", "soft/0.png"]  # evenly apart: one is none


def test_the_sheet_shows_pixels_as_they_are_blurred_first(folder: Path) -> None:
    images, _ = look_at(folder, None, 1)
    (folder / "sheet.png").write_bytes(sheet(folder, images, "edge_width", columns=2))
    shown = np.asarray(Image.open(folder / "sheet.png"))
    first = ordered(images, "edge_width")[0]
    assert first.path == "soft/2.png"
    assert (shown[6 : 6 + 96, 6 : 6 + 96] == np.asarray(Image.open(folder / first.path))).all()


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["data", "sharpness", *words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    code, out, err = run(str(folder), "--json", "--out", str(folder / "sheet.png"))
    document = json.loads(out)
    assert code == 0 and (folder / "sheet.png").exists() and "left out soft/broken.png" in err
    assert len(document["images"]) == 6 and [row["n"] for row in document["folders"]] == [3, 3, 6]
    code, out, _ = run(str(folder))
    assert code == 0 and "more is sharper" in out and "blurriest by reblur" in out
    for words, cause in (
        ((str(folder / "none"),), "no such folder"),
        ((str(folder), "--out", "sheet.jpg"), "must end in .png"),
        ((str(folder), "--images", "0"), "at least 1"),
    ):
        code, _, err = run(*words)
        assert code == 2 and cause in err and len(err.strip().splitlines()) == 1


def test_a_folder_of_damaged_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 1 images can be measured; a\.png: no image, by its content"):
        look_at(tmp_path, None, 1)
