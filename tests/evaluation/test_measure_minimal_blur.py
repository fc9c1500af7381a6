"""Minimal blur of waves that a kernel weakens by a known factor, seen by a network that looks at their strength."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import j1
from torch import Tensor, nn

from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.data.loader import ResidentLoader
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.distributed import Group
from blurtrain.errors import DataError, SettingsError
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measures.minimal_blur import MinimalBlur
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.quality import psnr, ssim
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.models.trained import trained
from blurtrain.settings import Settings

CPU = torch.device("cpu")
SIDE, WAVES = 64, 8
OMEGA = np.pi * WAVES / (SIDE - 1)  # half waves over the image, so that its mirrored borders go on with it
PATTERN = np.cos(OMEGA * np.arange(SIDE))
THRESHOLD = 10.0  # of 255: an image is of class 0 as long as its wave is stronger
TO_224 = 224 / SIDE


class Strength(nn.Module):
    """Logits [N, 2]: the strength of the wave along the rows, in 0..255, and a threshold."""

    def __init__(self, comes_back_at: float | None = None, nan_from: float | None = None):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.register_buffer("centred", torch.from_numpy(PATTERN - PATTERN.mean()).float())
        self.comes_back_at, self.nan_from, self.calls = comes_back_at, nan_from, 0

    def strength(self, images: Tensor) -> Tensor:
        return 127.5 * (images.mean((1, 2)) @ self.centred) / self.centred.square().sum()

    def forward(self, images: Tensor) -> Tensor:
        self.calls += len(images)
        strength = self.strength(images)
        if self.comes_back_at:
            strength = torch.where(strength < self.comes_back_at, 2 * THRESHOLD, strength)
        if self.nan_from:
            strength = strength.where(strength < self.nan_from, torch.nan)
        return torch.stack([strength, torch.full_like(strength, THRESHOLD)], 1) + self.nothing


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Waves of strength 12 to 100 (class a), and flat images (class b, but for one with a wave)."""
    root = tmp_path_factory.mktemp("waves")
    for split in ("train", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
        for number, strength in enumerate([12, 15, 22, 40, 70, 100, 50]):
            row = 128 + strength * PATTERN
            pixels = np.broadcast_to(row[None, :, None], (SIDE, SIDE, 3)).round().astype(np.uint8)
            Image.fromarray(pixels).save(root / split / ("b" if number == 6 else "a") / f"{split}{number}.png")
            flat = np.full((SIDE, SIDE, 3), 90 + number + 20 * (split == "train"), np.uint8)
            Image.fromarray(flat).save(root / split / "b" / f"{split}flat{number}.png")
    recipe = Recipe(images=str(root), resolution=SIDE, splits={"train": "train", "test": "test"}, duplicates="allowed")
    return prepare(tmp_path_factory.mktemp("data"), "waves", recipe)[0]


def subject(waves: Dataset, tiny: Callable[..., Settings], module: nn.Module | None = None, **more: Any) -> Subject:
    half = [0.5, 0.5, 0.5]
    settings = tiny(
        dataset="waves", data={"mean": half, "sd": half, "root": str(waves.folder.parent)}, evaluation={"batch_size": 5}
    )
    images = Images.of(waves, settings.evaluation, SIDE)
    network = trained(module or Strength(), settings, waves, "of a test")
    group = more.pop("group", Group(0, 1, CPU))
    return Subject(network, images, ResidentLoader(images.source, CPU), Transform.of(settings, waves), group, **more)


def measured(subject: Subject, **options: Any) -> Found:
    measure = MinimalBlur(**options)
    return measure.measure(subject, measure.levels([]), per_image=True)


def value(found: Found, level: str, metric: str) -> Any:
    (row,) = [row for row in found.rows if row["blur"] == level and row["metric"] == metric]
    return row.get("count", row.get("value"))


def strengths(one: Subject) -> np.ndarray:
    """By the stored pixels, the strength of each image's wave."""
    pixels = one.images.source.store.read(one.images.indices).astype(float).mean((1, 3))
    centred = PATTERN - PATTERN.mean()
    return pixels @ centred / (centred @ centred)


def weakened(factor: Callable[[np.ndarray], np.ndarray], needed: np.ndarray, largest: float) -> np.ndarray:
    """The first length, at the network's resolution, at which `factor` is below what is needed; inf: none."""
    lengths = np.linspace(0.05, largest, 200_000)
    weak = factor(lengths)
    return np.array([lengths[np.argmax(weak < n)] if (weak < n).any() else np.inf for n in needed])


@pytest.fixture(scope="module")
def found(waves: Dataset, tiny: Callable[..., Settings]) -> Found:
    return measured(subject(waves, tiny))


@pytest.mark.parametrize(
    ("level", "factor", "tolerance"),
    [
        ("gaussian", lambda sigma: np.exp(-0.5 * (OMEGA * sigma) ** 2), 0.021),
        ("disk", lambda radius: 2 * j1(OMEGA * radius) / (OMEGA * radius), 0.03),  # of whole pixels, not of the plane
        ("box-at-0", lambda length: np.sinc(OMEGA * length / (2 * np.pi)), 0.03),
    ],
)
def test_the_smallest_length_is_that_of_the_closed_form(
    waves: Dataset, tiny: Callable[..., Settings], found: Found, level: str, factor: Any, tolerance: float
) -> None:
    one = subject(waves, tiny)
    strength, records = strengths(one), found.records[level]
    waving = strength > THRESHOLD
    assert waving.sum() == 7
    expected = weakened(factor, THRESHOLD / strength[waving], 60) * TO_224
    assert records["length"][waving] == pytest.approx(expected, rel=tolerance)
    assert not records["censored"][waving].any()
    flat = records["censored"][~waving]
    assert flat.all() and value(found, level, "censored") == len(flat)


def test_a_motion_across_the_wave_changes_nothing(found: Found) -> None:
    records = found.records["box-at-90"]
    assert records["censored"].all() and (records["length"] == 32 * np.sqrt(12)).all()
    assert value(found, "box-at-90", "minimal_length") is None
    assert value(found, "box-at-90", "ssim") is None


def test_medians_and_counts_are_those_of_the_records(waves: Dataset, tiny: Callable[..., Settings]) -> None:
    right = measured(subject(waves, tiny), families=["gaussian"], of="right")
    records = right.records["gaussian"]
    assert value(right, "gaussian", "wrong_at_sharp") == 1  # the wave that is called b
    followed = records["followed"]
    assert followed.sum() == 13 and np.isnan(records["length"][~followed]).all()
    (row,) = [row for row in right.rows if row["metric"] == "minimal_sigma"]
    assert row["n"] == 13 and row["value"] is None  # seven of them are flat
    (row,) = [row for row in right.rows if row["metric"] == "ssim"]
    flipped = followed & ~records["censored"]
    assert row["n"] == 6 and row["value"] == pytest.approx(records["ssim"][flipped].mean())
    survival = right.arrays["gaussian"]["survival"]
    assert survival[0, 1] == 13 and survival[:, 2].sum() == 6 and survival[-1, 3] == pytest.approx(7 / 13)
    lengths = np.sort(records["length"][flipped])
    assert survival[:, 0] == pytest.approx(np.unique(lengths))


def test_psnr_and_ssim_are_of_the_image_at_its_flip(
    waves: Dataset, tiny: Callable[..., Settings], found: Found
) -> None:
    from blurtrain.blur import gaussian_blur

    one, records = subject(waves, tiny), found.records["gaussian"]
    pixels = torch.from_numpy(one.images.source.store.read(one.images.indices)).permute(0, 3, 1, 2).float()
    for row in np.flatnonzero(~records["censored"]):
        sharp = pixels[row : row + 1]
        blurred = gaussian_blur(sharp, records["length"][row] / TO_224)
        assert records["psnr"][row] == pytest.approx(float(psnr(sharp, blurred)), rel=1e-5)
        assert records["ssim"][row] == pytest.approx(float(ssim(sharp, blurred)), rel=1e-4)


def test_any_is_the_gentlest_of_the_families(found: Found) -> None:
    names = [level for level in found.records if level != "any"]
    every, any_ = [found.records[level] for level in names], found.records["any"]
    for image in range(len(any_["index"])):
        flips = [k for k, records in enumerate(every) if not records["censored"][image]]
        assert any_["censored"][image] == (not flips)
        for metric in ("ssim", "psnr"):
            assert any_[metric][image] == max(every[k][metric][image] for k in flips or range(len(every)))
        first = max(flips, key=lambda k: every[k]["ssim"][image], default=None)
        assert any_["family"][image] == ("" if first is None else names[first])
    assert found.arrays["any"]["gentlest"].sum() == 7
    # Flat images lose nothing at any blur, so that they say nothing of any loss: the median is of the seven others.
    assert value(found, "any", "minimal_loss") == pytest.approx(np.sort(1 - any_["ssim"][~any_["censored"]])[3])


def test_a_prediction_that_comes_back_is_counted(waves: Dataset, tiny: Callable[..., Settings]) -> None:
    back = measured(subject(waves, tiny, Strength(comes_back_at=1.0)), families=["gaussian"])
    waving = ~back.records["gaussian"]["censored"]
    assert back.records["gaussian"]["returned"][waving].all() and value(back, "gaussian", "returned") == waving.sum()
    never = measured(subject(waves, tiny), families=["gaussian"])
    assert value(never, "gaussian", "returned") == 0


def test_the_network_sees_an_image_twelve_times_at_most(waves: Dataset, tiny: Callable[..., Settings]) -> None:
    module = Strength()
    records = measured(subject(waves, tiny, module), families=["gaussian"]).records["gaussian"]
    assert module.calls == (1 + records["passes"]).sum()
    assert 1 + records["passes"].max() <= 12


def test_images_with_nan_are_counted_and_nothing_is_averaged(waves: Dataset, tiny: Callable[..., Settings]) -> None:
    broken = measured(subject(waves, tiny, Strength(nan_from=60.0)), families=["gaussian"])
    bad = ~broken.records["gaussian"]["finite"]
    assert bad.sum() == 2 and all(row["not_finite"] == 2 for row in broken.rows)
    assert {row["value"] for row in broken.rows if "value" in row} == {None}
    assert np.isnan(broken.records["gaussian"]["length"][bad]).all()
    assert (broken.records["gaussian"]["prediction"][bad] == -1).all()


def test_two_processes_find_what_one_finds(waves: Dataset, tiny: Callable[..., Settings], found: Found) -> None:
    kept: list[Any] = []

    class Second(Group):
        def gather(self, value: Any) -> list[Any]:
            kept.append(value)
            return [[], value]

    class First(Group):
        def gather(self, value: Any) -> list[Any]:
            return [value, kept[0]]

    with pytest.raises(RuntimeError, match="was measured of 5 images, not of the 14"):
        measured(subject(waves, tiny, group=Second(1, 2, CPU)))  # it has the second of three batches
    both = measured(subject(waves, tiny, group=First(0, 2, CPU)))
    assert both.rows == found.rows
    for level, records in found.records.items():
        for name, values in records.items():
            np.testing.assert_array_equal(both.records[level][name], values)


def test_the_mode_of_the_network_is_put_back(waves: Dataset, tiny: Callable[..., Settings]) -> None:
    one = subject(waves, tiny)
    one.network.module.train()
    measured(one, families=["gaussian"])
    assert one.network.module.training


def test_what_cannot_be_measured_is_said_in_a_line(waves: Dataset, tiny: Callable[..., Settings]) -> None:
    one = subject(waves, tiny)
    called_b = np.flatnonzero((strengths(one) > THRESHOLD) & (one.images.source.labels == 1))
    wrong = replace(one, images=replace(one.images, subset=called_b, n=1))
    with pytest.raises(DataError, match="right for none of the 1 sharp images"):
        measured(wrong, of="right", families=["gaussian"])
    with pytest.raises(SettingsError, match=r"largest=0.4 must be more than smallest=0.5"):
        measure_named("minimal-blur largest=0.4")
    with pytest.raises(SettingsError, match="families"):
        measure_named("minimal-blur families=gauss")
