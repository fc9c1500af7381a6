import numpy as np
import pytest
import torch

from blurtrain.data.augment import Transform, random_crops
from blurtrain.data.draws import uniform
from blurtrain.settings import Augmentation, Blur


def transform(**augmentation: object) -> Transform:
    return Transform(Augmentation(**augmentation), 64, (0.5, 0.4, 0.3), (0.2, 0.2, 0.25), Blur(), seed=5)


def pixels(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 73, 73), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("colour", [0.0, 0.2])
@pytest.mark.parametrize("sigma", [0.0, 2.3])
def test_an_image_looks_the_same_in_every_batch(colour: float, sigma: float) -> None:
    images, indices, t = pixels(12), np.arange(100, 112), transform(colour=colour)
    whole = t.train(images, indices, 3, sigma)
    halves = torch.cat([t.train(images[k], indices[k], 3, sigma) for k in (slice(0, 6), slice(6, 12))])
    assert torch.equal(whole, halves)
    shuffled = np.random.default_rng(0).permutation(12)
    assert torch.equal(t.train(images[shuffled], indices[shuffled], 3, sigma), whole[shuffled])


def test_epochs_and_seeds_differ() -> None:
    images, indices = pixels(4), np.arange(4)
    first = transform().train(images, indices, 0, 0.0)
    assert not torch.equal(first, transform().train(images, indices, 1, 0.0))
    other = Transform(Augmentation(), 64, (0.5, 0.4, 0.3), (0.2, 0.2, 0.25), Blur(), seed=6)
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
