"""Tested by scales and crops: what comes of it for runs, and that an evaluation without a protocol stays as it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve
from torch import Tensor, nn

from blurtrain.blur.blurs import Disk
from blurtrain.blur.kernels import disk
from blurtrain.cli import main
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.dataset import Dataset
from blurtrain.errors import DataError, SettingsError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.views import Scaled, at_its_size, eight_bit_blurred, scaled
from blurtrain.models.trained import Preprocessing, TrainedNetwork
from blurtrain.run import Run
from blurtrain.settings import Augmentation, BlurUnits, Evaluation, Protocol, Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
PROTOCOL = {"defined_at": 96, "scales": [80, 64]}


@pytest.fixture(scope="module")
def trained(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A done run whose own evaluation is by the protocol."""
    runs = tmp_path_factory.mktemp("runs")
    train(tiny(optimisation={"epochs": 1, "warmup_epochs": 0}, evaluation={"protocol": PROTOCOL}), runs)
    return next(path.parent for path in runs.glob("*/result.json"))


def evaluated(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *(str(word) for word in words), "--json"])
    out, err = capsys.readouterr()
    assert not caught.value.code, err
    found: dict[str, object] = json.loads(out)
    return found


def test_the_end_of_training_is_by_the_protocol_and_not_computed_again(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = (Run(trained).result() or {})["accuracy"]
    document = json.loads((Run(trained).evaluations / accuracy).read_text())
    assert (document["protocol"], document["resolution"], document["n"]) == ("all-80+64@96", 96, 9)
    again = evaluated(capsys, trained)
    assert (again["file"], again["rows"]) == (accuracy, document["rows"])
    assert len(list(Run(trained).evaluations.glob("*.json"))) == 1
    five = evaluated(capsys, trained, "evaluation.protocol.crops=five")
    assert five["protocol"] == "five-80+64@96" and five["file"] != accuracy


def test_measured_anew_it_is_what_the_end_of_training_measured(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((Run(trained).evaluations / (Run(trained).result() or {})["accuracy"]).read_text())["rows"]
    shutil.copytree(trained, tmp_path / trained.name, ignore=shutil.ignore_patterns("accuracy-*"))
    rows: Any = evaluated(capsys, tmp_path / trained.name)["rows"]
    assert [row.get("count") for row in rows] == [row.get("count") for row in before]
    assert [row.get("value", 0.0) for row in rows] == pytest.approx([row.get("value", 0.0) for row in before], rel=1e-5)


def test_without_a_protocol_the_key_is_what_it_was(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = evaluated(capsys, trained, "evaluation.protocol=null")
    assert "protocol" not in plain and "crop" not in plain


def test_mistakes_give_one_line(tiny: Tiny, tmp_path: Path) -> None:
    for protocol, said in (
        ({"scales": [64, 64]}, "64 is given twice"),
        ({"scales": [0]}, "scales.0: input should be greater than or equal to 8"),
        ({"scales": [32, 96], "crops": "five"}, "at scale 32 the test images are smaller than a crop of 64 px"),
        ({"scales": [16, 96]}, "scale 16 is smaller than the network takes"),
    ):
        with pytest.raises(SettingsError) as caught:
            train(tiny(evaluation={"protocol": protocol}), tmp_path)
        assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"scales=\[96\] would fit"):
        train(tiny(evaluation={"protocol": {"scales": [16, 96]}}), tmp_path)


def test_blur_and_scale_are_those_of_a_float64_oracle() -> None:
    """A disk by SciPy with mirrored borders, 8 bits, and the resize as sums over a triangle as wide as the ratio."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 3, 48, 60), dtype=np.uint8)
    kernel = disk(3.0)
    blurred = np.stack(
        [[convolve(channel, kernel, mode="mirror") for channel in image] for image in pixels.astype(float)]
    )
    eight_bit = np.rint(blurred.clip(0, 255))
    wanted = np.einsum("yh,nchw,xw->ncyx", triangle(48, 32), eight_bit, triangle(60, 40))
    seen = list[Tensor]()

    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return torch.zeros(len(images), 2)

    network = TrainedNetwork(Seen(), Preprocessing(32, 32, (0.0,) * 3, (1.0,) * 3), ("a", "b"), "it")
    transform = Transform(Augmentation(), 48, (0.0,) * 3, (1.0,) * 3, BlurUnits(), 0)
    views = Scaled(network, transform, Protocol(defined_at=48, scales=(32,), crops="five"))
    # Stored lying: the first image upright, the second as it is.
    canvas = torch.zeros(2, 3, 48, 70, dtype=torch.uint8)
    canvas[..., :60] = torch.from_numpy(pixels)
    batch = Batch(canvas, torch.zeros(2), np.arange(2), np.array([[60, 48], [48, 60]]))
    views.of(batch)(Disk(radius=3, at=48))
    assert [tuple(crop.shape) for crop in seen] == [(1, 3, 32, 32)] * 10
    for row, crop in enumerate(seen[:5]):  # the shape of fewer rows comes first
        left = [0, 8, 0, 8, 4][row]
        assert np.abs(255 * crop[0].numpy() - wanted[1, :, :, left : left + 32]).max() < 0.02
    for row, crop in enumerate(seen[5:]):
        top = [0, 0, 8, 8, 4][row]
        upright = np.swapaxes(wanted[0], 1, 2)
        assert np.abs(255 * crop[0].numpy() - upright[:, top : top + 32]).max() < 0.02


def test_blur_is_in_pixels_at_the_defined_size_whatever_the_photograph() -> None:
    """A small and a large version of one picture look alike after a disk of 8 pixels at 384, seen at 128."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 30, 40, generator=generator) * 255
    large = torch.nn.functional.interpolate(coarse, (600, 800), mode="bicubic").clamp(0, 255).to(torch.uint8)
    small = scaled(large.float(), 1 / 2, "bilinear").round().to(torch.uint8)
    at = Transform(Augmentation(), 384, (0.0,) * 3, (1.0,) * 3, BlurUnits(), 0)
    seen = []
    for images in (large, small):
        sharp = at_its_size(images, at)
        blurred = eight_bit_blurred(sharp, Disk(radius=8, at=384), np.arange(2), at)
        assert sharp.shape[-2:] == (384, 512)
        for pixels in (sharp, blurred):
            assert torch.equal(pixels, pixels.clamp(0, 255).round())
        seen.append(scaled(blurred, 128 / 384, "bilinear"))
    assert seen[0].shape == (2, 3, 128, 171) and (seen[0] - seen[1]).abs().mean() < 1
    assert not torch.equal(seen[0], seen[0].round()), "the network sees what is not rounded"


def triangle(old: int, new: int) -> NDArray[np.float64]:
    """[new, old]: weights of antialiased bilinear resizing."""
    ratio = old / new
    centres = (np.arange(new) + 0.5) * ratio - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - centres[:, None]) / ratio)
    return weights / weights.sum(1, keepdims=True)


def test_the_subset_is_the_same_for_everyone_and_grows(prepared: Dataset) -> None:
    def chosen(k: int | None, defined_at: int) -> list[str]:
        protocol = Protocol(defined_at=defined_at, images_per_class=k)
        images = Images.of(prepared, Evaluation(protocol=protocol), 64)
        assert k is None or np.bincount(images.source.labels[images.subset]).tolist() == [k] * 3
        return [images.source.store.rows[index]["path"] for index in images.indices]

    one, two, all_of_them = chosen(1, 64), chosen(2, 64), chosen(None, 64)
    assert len(one) == 3 and set(one) < set(two) < set(all_of_them)
    assert chosen(2, 96) == two  # of another store
    with pytest.raises(DataError, match="images_per_class=9: dataset 'textures' has only 3 test images of 'checks'"):
        chosen(9, 64)


def test_the_subset_counts(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = evaluated(capsys, trained, "evaluation.protocol.images_per_class=2")
    assert (few["protocol"], few["n"], few["largest_class"], few["drop_last"]) == ("all-80+64@96-2", 6, 2, False)
