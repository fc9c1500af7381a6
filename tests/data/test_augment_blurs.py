"""Blurs of every kind in the training transform: those of the engine, on the images that stay sharp otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Blur
from blurtrain.blur.light import linear_light, srgb
from blurtrain.data.augment import Transform
from blurtrain.settings import Augmentation, BlurUnits

MEAN, SD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.25)
BLURS = tuple(map(Blur.parse, ["disk-8", "shake@384", "box-20-random", "gaussian-8", "sharp", "zoom-2", "motion-3"]))
N = 2 * len(BLURS)
INDICES = np.arange(40, 40 + N)
ASSIGNED = Assignment.of(BLURS, np.arange(N) % len(BLURS))


def pixels(side: int) -> Tensor:
    images = torch.randint(0, 256, (N, side, side, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return images.permute(0, 3, 1, 2)


def transform(resolution: int, light: bool = False) -> Transform:
    a = Augmentation(colour=0.5, erasing=0.5)
    return Transform(a, resolution, MEAN, SD, BlurUnits(linear_light=light, truncate=3), 5)


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("resolution", [64, 112])  # all at once, and image by image
def test_each_image_is_the_sharp_one_blurred_by_its_own_blur(resolution: int, light: bool) -> None:
    t, images = transform(resolution, light), pixels(resolution * 8 // 7)
    seen = t.train(images, INDICES, 3, ASSIGNED)
    mean, sd = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, SD))
    sharp = 255 * (transform(resolution).train(images, INDICES, 3) * sd + mean)
    for k, index in enumerate(INDICES):
        given = linear_light(sharp[k : k + 1]) if light else sharp[k : k + 1]
        blur = BLURS[k % len(BLURS)]
        expected = blur.blurred(given, [index], resolution=resolution, seed=5, epoch=3, training=True, truncate=3)
        expected = ((srgb(expected) if light else expected) / 255 - mean) / sd
        assert (seen[k] - expected[0]).abs().max() < 1e-4, blur.label


@pytest.mark.parametrize("resolution", [64, 112])
def test_an_image_looks_the_same_in_every_batch(resolution: int) -> None:
    t, images = transform(resolution), pixels(resolution * 8 // 7)

    def shown(places: np.ndarray) -> Tensor:
        return t.train(images[torch.from_numpy(places)], INDICES[places], 3, ASSIGNED[places])

    whole, order = shown(np.arange(N)), np.random.default_rng(0).permutation(N)
    assert torch.equal(shown(order), whole[torch.from_numpy(order)])
    assert torch.equal(torch.cat([shown(part) for part in np.split(np.arange(N), N)]), whole)
    assert torch.equal(torch.cat([shown(part) for part in np.split(np.arange(N), 2)]), whole)


def test_the_arithmetic_is_what_the_network_gets() -> None:
    exact = transform(64).train(pixels(73), INDICES, 3, ASSIGNED)
    rounded = replace(transform(64), arithmetic=torch.bfloat16).train(pixels(73), INDICES, 3, ASSIGNED)
    assert torch.equal(rounded, exact.to(torch.bfloat16))


def test_gaussians_as_blurs_are_gaussians_as_sigmas() -> None:
    sigmas = Assignment.gaussian(np.full(N, 8.0))
    blurs = Assignment.of((Blur.parse("gaussian-8"),), np.zeros(N, np.int64))
    for resolution in (64, 112):
        t, images = transform(resolution), pixels(resolution * 8 // 7)
        assert torch.allclose(t.train(images, INDICES, 0, sigmas), t.train(images, INDICES, 0, blurs), atol=1e-5)


def test_evaluation_draws_by_the_index_alone_and_at_the_resolution() -> None:
    for label in ("shake@384", "box-20-random", "disk-8"):
        blur, images = Blur.parse(label), pixels(64).float()
        seen = transform(64).blurred(images, blur, INDICES)
        other = replace(transform(64), seed=9).blurred(images[3:], blur, INDICES[3:])
        assert torch.equal(other, seen[3:])
        expected = transform(64).normalise(blur.blurred(images, INDICES, resolution=64))
        assert torch.equal(seen, expected)
