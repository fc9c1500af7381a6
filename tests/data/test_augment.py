# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from blurtrain.blur import operators
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Blur, Gaussian, Sharp
from blurtrain.data import augment, erasing
from blurtrain.data.augment import Transform, random_crops
from blurtrain.data.dataset import Dataset
from blurtrain.data.draws import uniform
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from blurtrain.settings import Augmentation, BlurUnits, Settings
from torchvision.transforms import RandomErasing

MEAN, SD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.25)


def transform(resolution: int = 64, arithmetic: torch.dtype = torch.float32, **augmentation: object) -> Transform:
    return Transform(
        Augmentation(**augmentation), resolution, MEAN, SD, BlurUnits(reference_resolution=resolution), 5, arithmetic
    )


def gaussians(sigmas: float | np.ndarray, n: int) -> Assignment:
    """Of n images, each its own, or all the same."""
    return Assignment.gaussian(np.broadcast_to(np.asarray(sigmas, np.float64), n).copy())


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
        own = gaussians(sigmas, n)[places]
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
                seen.append(
                    hashes(transform(112, arithmetic, colour=colour).train(images, indices, 0, gaussians(5.0, 5)))
                )
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
        t = Transform(
            Augmentation(colour=colour),
            112,
            MEAN,
            SD,
            BlurUnits(reference_resolution=112, linear_light=light),
            5,
            arithmetic,
        )
        results.append(t.train(images, indices, 0, gaussians(sigmas, 4)).float())
    exact = results[0]
    monkeypatch.setattr(augment, "by_image", lambda _: False)
    monkeypatch.setattr(operators, "by_image", lambda _: False)
    t = Transform(
        Augmentation(colour=colour), 112, MEAN, SD, BlurUnits(reference_resolution=112, linear_light=light), 5
    )
    difference = (t.train(images, indices, 0, gaussians(sigmas, 4)) - exact).abs()
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
        seen.append(t.blurred(t.resized(images), Gaussian(sigma=4), np.arange(3)))
    assert seen[0].dtype == torch.float32 and torch.equal(*seen)


def test_epochs_and_seeds_differ() -> None:
    images, indices = pixels(4), np.arange(4)
    first = transform().train(images, indices, 0)
    assert not torch.equal(first, transform().train(images, indices, 1))
    other = Transform(Augmentation(), 64, MEAN, SD, BlurUnits(), seed=6)
    assert not torch.equal(first, other.train(images, indices, 0))


def test_normalisation_and_evaluation_without_blur() -> None:
    t = transform()
    images = torch.full((1, 3, 73, 73), 127, dtype=torch.uint8)
    expected = (127 / 255 - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.2, 0.25])
    for blur in (Sharp(), Gaussian(sigma=3), Blur.parse("disk-5"), Blur.parse("zoom-2")):
        seen = t.blurred(t.resized(images), blur, np.arange(1))
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


# --- erasing --------------------------------------------------------------------------------------------------------


def erased_by_definition(index: int, side: int, epoch: int = 3, probability: float = 0.5) -> tuple[int, int, int, int]:
    """torchvision's RandomErasing.forward and get_params, with our draws in place of torch's: top, left, bottom, right.

    The draws are those behind the 59 of geometry and colour: whether, ten areas, ten ratios, place.
    """
    draws = uniform(5, epoch, np.array([index]), 59 + 23)[0, 59:].tolist()
    if draws[0] >= probability:
        return 0, 0, 0, 0
    for area, ratio in zip(draws[1:11], draws[11:21], strict=True):
        pixels = side * side * (0.02 + 0.31 * area)
        aspect = math.exp(math.log(0.3) + ratio * (math.log(3.3) - math.log(0.3)))
        height, width = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if height < side and width < side:
            top, left = int(draws[21] * (side - height + 1)), int(draws[22] * (side - width + 1))
            return top, left, top + height, left + width
    return 0, 0, 0, 0


def seen_by_definition(sharp: np.ndarray, indices: np.ndarray, sigmas: np.ndarray, light: bool) -> np.ndarray:
    """What the network has to see, in float64, of normalised sharp images that nothing was erased of."""
    mean, sd = (np.array(v)[:, None, None] for v in (MEAN, SD))
    seen = sharp.astype(np.float64)
    for image, index, sigma in zip(seen, indices.tolist(), sigmas.tolist(), strict=True):
        top, left, bottom, right = erased_by_definition(index, sharp.shape[-1])
        image[:, top:bottom, left:right] = 0
        if light:
            v = image * sd + mean
            v = np.where(v <= 0.04045, v / 12.92, ((v.clip(0.04045) + 0.055) / 1.055) ** 2.4)
            v = ndimage.gaussian_filter(v, (0, sigma, sigma), mode="mirror")
            v = np.where(v <= 0.0031308, v * 12.92, 1.055 * v.clip(0.0031308) ** (1 / 2.4) - 0.055)
            image[:] = (v - mean) / sd
        else:
            image[:] = ndimage.gaussian_filter(image, (0, sigma, sigma), mode="mirror")
    return seen


@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("colour", [0.0, 0.5])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 5.0, "varied"])
@pytest.mark.parametrize("by_image", [True, False])  # a processor's way, and a GPU's
def test_a_rectangle_is_erased_after_normalisation_and_before_the_blur(
    by_image: bool, sigma: float | str, colour: float, light: bool, arithmetic: torch.dtype, monkeypatch: Any
) -> None:
    images, indices, side = pixels(6, 128), np.arange(40, 46), 112
    monkeypatch.setattr(augment, "by_image", lambda _: by_image)
    monkeypatch.setattr(operators, "by_image", lambda _: by_image)
    sigmas = np.linspace(0, 9, 6) if sigma == "varied" else float(sigma)

    def shown(erasing: float, sigma: float | np.ndarray, arithmetic: torch.dtype) -> np.ndarray:
        a = Augmentation(colour=colour, erasing=erasing)
        t = Transform(a, side, MEAN, SD, BlurUnits(reference_resolution=side, linear_light=light), 5, arithmetic)
        return t.train(images, indices, 3, gaussians(sigma, 6)).double().numpy()

    whole = [bottom > top for top, _, bottom, _ in (erased_by_definition(k, side) for k in indices.tolist())]
    assert any(whole) and not all(whole)
    expected = seen_by_definition(shown(0, 0.0, torch.float32), indices, np.broadcast_to(sigmas, 6), light)
    error = np.abs(shown(0.5, sigmas, arithmetic) - expected).max()
    # Of standard deviations of 50 grey levels; light near black is steep.
    assert error < (1e-5 if arithmetic == torch.float32 else 0.05 if light else 0.03)


@pytest.mark.parametrize("by_image", [True, False])
@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
def test_what_is_erased_is_the_mean_itself_and_not_its_nearest_grey_level(
    by_image: bool, arithmetic: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "by_image", lambda _: by_image)
    monkeypatch.setattr(operators, "by_image", lambda _: by_image)
    a = Augmentation(erasing=1.0, erasing_area=(0.9, 0.9), erasing_ratio=(1.0, 1.0))
    t = Transform(a, 112, (0.5199, 0.4374, 0.3499), (0.1775, 0.1894, 0.1623), BlurUnits(), 5, arithmetic)
    for sigma in (0.0, 1.0, 4.0):
        inside = t.train(pixels(2, 128), np.arange(2), 0, gaussians(2 * sigma, 2))[:, :, 40:72, 40:72]
        assert inside.abs().max() < (1e-6 if arithmetic == torch.float32 else 2e-3)  # half a grey level is 0.01


@pytest.mark.parametrize("resolution", [64, 112])
@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("colour", [0.0, 0.2])
def test_erased_images_look_the_same_in_every_batch(resolution: int, arithmetic: torch.dtype, colour: float) -> None:
    t, n = transform(resolution, arithmetic, colour=colour, erasing=0.5), 8
    images, indices = pixels(n, resolution * 8 // 7), np.arange(100, 100 + n)
    for sigmas in (np.full(n, 4.0), np.linspace(0, 9, n)):

        def shown(places: np.ndarray, sigmas: np.ndarray = sigmas) -> list[str]:
            own = gaussians(sigmas, n)[places]
            return hashes(t.train(images[torch.from_numpy(places)], indices[places], 3, own))

        whole = shown(np.arange(n))
        for parts in (2, 8):
            assert [h for part in np.split(np.arange(n), parts) for h in shown(part)] == whole
        shuffled = np.random.default_rng(0).permutation(n)
        assert shown(shuffled) == [whole[k] for k in shuffled]


def test_erasing_moves_no_other_draw_and_touches_no_other_pixel() -> None:
    images, indices = pixels(6, 128), np.arange(40, 46)
    for colour in (0.0, 0.5):
        without, erased = (transform(112, colour=colour, erasing=p).train(images, indices, 3) for p in (0.0, 0.5))
        for index, before, after in zip(indices.tolist(), without, erased, strict=True):
            top, left, bottom, right = erased_by_definition(index, 112)
            before[:, top:bottom, left:right] = 0
            assert torch.allclose(after, before, atol=1e-6)


@pytest.mark.parametrize("side", [64, 224])
def test_rectangles_are_distributed_as_torchvisions(side: int) -> None:
    n, area = 20_000, side * side
    ours = erasing.drawn(uniform(1, 0, np.arange(n), erasing.DRAWS), side, Augmentation(erasing=0.5))
    torch.manual_seed(0)
    image, theirs = torch.empty(3, side, side), RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    drawn = [theirs.get_params(image, theirs.scale, theirs.ratio, [0.0])[:4] for _ in range(n)]
    hit = ours.height > 0
    mine = np.stack(ours, 1)[hit]
    for own, other in zip(_features(mine, side), _features(np.array(drawn), side), strict=True):
        error = np.sqrt(own.var() / len(own) + other.var() / len(other))
        assert abs(own.mean() - other.mean()) < 3 * error
    assert abs(hit.mean() - 0.5) < 3 * np.sqrt(0.25 / n)
    # The share of all pixels, against the expectation over a fine grid of areas and ratios.
    shares = area * (0.02 + 0.31 * (np.arange(2000) + 0.5)[:, None] / 2000)
    ratios = np.exp(np.log(0.3) + np.log(11) * (np.arange(2000) + 0.5) / 2000)
    height, width = np.round(np.sqrt(shares * ratios)), np.round(np.sqrt(shares / ratios))
    fits = (height < side) & (width < side)
    expected = 0.5 * (1 - (1 - fits.mean()) ** 10) * (height * width)[fits].mean() / area
    found = ours.height * ours.width / area
    assert abs(found.mean() - expected) < 3 * found.std() / np.sqrt(n)


def _features(rectangles: np.ndarray, side: int) -> list[np.ndarray]:
    """Area, log ratio, and where in its range each place is; of rectangles [n, 4]: top, left, height, width."""
    top, left, height, width = rectangles.T
    return [height * width, np.log(height / width), top / (side - height), left / (side - width), height**2, width**2]


def test_a_rectangle_that_never_fits_leaves_the_image_whole() -> None:
    a = Augmentation(erasing=1.0, erasing_area=(1.0, 1.0), erasing_ratio=(1.0, 1.0))
    assert not erasing.drawn(uniform(0, 0, np.arange(9), erasing.DRAWS), 64, a).height.any()
