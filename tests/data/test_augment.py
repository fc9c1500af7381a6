import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from blurtrain.blur import operators
from blurtrain.data import augment
from blurtrain.data.augment import Transform, random_crops
from blurtrain.data.catalog import Dataset
from blurtrain.data.draws import uniform
from blurtrain.settings import Augmentation, Blur, Settings

MEAN, SD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.25)


def transform(resolution: int = 64, arithmetic: torch.dtype = torch.float32, **augmentation: object) -> Transform:
    return Transform(Augmentation(**augmentation), resolution, MEAN, SD, Blur(), 5, arithmetic)


def pixels(n: int, side: int = 73) -> torch.Tensor:
    """Images as loaders bring them: channels are last in memory."""
    images = torch.randint(0, 256, (n, side, side, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return images.permute(0, 3, 1, 2)


def hashes(images: torch.Tensor) -> list[str]:
    return [hashlib.sha256(image.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest() for image in images]


@pytest.mark.parametrize("colour", [0.0, 0.2])
@pytest.mark.parametrize("sigma", [0.0, 2.3, 6.0, "varied"])
@pytest.mark.parametrize("resolution", [64, 112])  # all at once, and image by image
@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
def test_an_image_looks_the_same_in_every_batch(
    colour: float, sigma: float | str, resolution: int, arithmetic: torch.dtype
) -> None:
    """Whole batches, halves, quarters, singles (as ranks would share them), in another order."""
    t, n = transform(resolution, arithmetic, colour=colour), 8
    images, indices = pixels(n, resolution * 8 // 7), np.arange(100, 100 + n)
    sigmas = np.linspace(0, 9, n) if sigma == "varied" else float(sigma)

    def shown(places: np.ndarray) -> torch.Tensor:
        own = sigmas if isinstance(sigmas, float) else sigmas[places]
        result = t.train(images[torch.from_numpy(places)], indices[places], 3, own)
        assert result.dtype == arithmetic and result.shape == (len(places), 3, resolution, resolution)
        return result

    whole = hashes(shown(np.arange(n)))
    for parts in (2, 4, 8):
        assert [h for part in np.split(np.arange(n), parts) for h in hashes(shown(part))] == whole
    shuffled = np.random.default_rng(0).permutation(n)
    assert hashes(shown(shuffled)) == [whole[k] for k in shuffled]


@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
def test_large_images_look_the_same_with_any_number_of_threads(arithmetic: torch.dtype) -> None:
    images, indices, before = pixels(5, 128), np.arange(5), torch.get_num_threads()
    seen = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for colour in (0.0, 0.5):
                seen.append(hashes(transform(112, arithmetic, colour=colour).train(images, indices, 0, 5.0)))
    finally:
        torch.set_num_threads(before)
    assert seen[:2] == seen[2:4] == seen[4:]


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("colour", [0.0, 1.0])
@pytest.mark.parametrize("sigma", [0.0, 5.0, "varied"])
def test_image_by_image_is_what_all_at_once_is(
    light: bool, colour: float, sigma: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU does it. Colour operations round, so that a grey level may tip here or there."""
    images, indices = pixels(4, 128), np.arange(4)
    sigmas = np.linspace(0, 9, 4) if sigma == "varied" else float(sigma)
    results = []
    for arithmetic in (torch.float32, torch.bfloat16):
        t = Transform(Augmentation(colour=colour), 112, MEAN, SD, Blur(linear_light=light), 5, arithmetic)
        results.append(t.train(images, indices, 0, sigmas).float())
    exact = results[0]
    monkeypatch.setattr(augment, "by_image", lambda _: False)
    monkeypatch.setattr(operators, "by_image", lambda _: False)
    t = Transform(Augmentation(colour=colour), 112, MEAN, SD, Blur(linear_light=light), 5)
    difference = (t.train(images, indices, 0, sigmas) - exact).abs()
    assert (difference > 1e-4).float().mean() < 1e-3 and difference.max() < 0.03
    assert (results[1] - exact).abs().max() < (0.06 if light else 0.03)  # of standard deviations of 50 grey levels


def test_the_settings_say_in_which_arithmetic(tiny: Callable[..., Settings], prepared: Dataset) -> None:
    for name, arithmetic in (
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float32),
        ("float64", torch.float32),
    ):
        assert Transform.of(tiny(precision={"arithmetic": name}), prepared).arithmetic == arithmetic


@pytest.mark.parametrize("resolution", [64, 112])
def test_evaluation_is_in_float32_whatever_training_is_in(resolution: int) -> None:
    images = pixels(3, resolution * 8 // 7)
    seen = []
    for arithmetic in (torch.float32, torch.bfloat16):
        t = transform(resolution, arithmetic)
        seen.append(t.blurred(t.resized(images), 4.0))
    assert seen[0].dtype == torch.float32 and torch.equal(*seen)


def test_epochs_and_seeds_differ() -> None:
    images, indices = pixels(4), np.arange(4)
    first = transform().train(images, indices, 0, 0.0)
    assert not torch.equal(first, transform().train(images, indices, 1, 0.0))
    other = Transform(Augmentation(), 64, MEAN, SD, Blur(), seed=6)
    assert not torch.equal(first, other.train(images, indices, 0, 0.0))


def test_normalisation_and_evaluation_without_blur() -> None:
    t = transform()
    images = torch.full((1, 3, 73, 73), 127, dtype=torch.uint8)
    expected = (127 / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.2, 0.25])
    for sigma in (0.0, 3.0):
        seen = t.blurred(t.resized(images), sigma)
        assert seen.shape == (1, 3, 64, 64)
        assert torch.allclose(seen, expected.view(1, 3, 1, 1).expand_as(seen), atol=1e-5)


def test_crops_lie_inside_and_are_spread_as_asked() -> None:
    a = Augmentation(crop_scale=(0.25, 1.0), crop_ratio=(0.75, 4 / 3), flip=0.3)
    top, left, height, width, flip = random_crops(uniform(0, 0, np.arange(20_000), 41), 100, a)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 100).all() and (left + width <= 100).all()
    area, ratio = height * width / 1e4, width / height
    assert area.min() > 0.24 and ratio.min() > 0.73 and ratio.max() < 1.36
    assert flip.mean() == pytest.approx(0.3, abs=0.01)
    # Area is uniform up to 3/4, from where on the ratio may push a crop out of the image.
    shares = np.histogram(area, bins=4, range=(0.25, 0.73))[0] / len(area)
    assert shares == pytest.approx([shares.mean()] * 4, abs=0.01)
    assert np.median(top[height < 70] / (100 - height[height < 70])) == pytest.approx(0.5, abs=0.02)


def test_a_crop_that_never_fits_becomes_the_largest_centred_one() -> None:
    a = Augmentation(crop_scale=(1.0, 1.0), crop_ratio=(2.0, 2.0))
    top, left, height, width, _ = random_crops(uniform(0, 0, np.arange(3), 41), 100, a)
    assert (top == 25).all() and (left == 0).all() and (height == 50).all() and (width == 100).all()
