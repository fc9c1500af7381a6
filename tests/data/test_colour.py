"""The batched colour operations against torchvision's, which works on one image (or one strength) at a time."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

from collections.abc import Callable

import numpy as np
import pytest
import torch

from blurtrain.data import colour as c
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from torchvision.transforms.v2 import functional as tv


def pictures() -> torch.Tensor:
    """Noise of low contrast, a gradient, a constant, saturated colours."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(60, 140, (3, 24, 24), generator=generator)
    ramp = torch.arange(24)[None, :, None].expand(3, 24, 24) * torch.tensor([10, 5, 2])[:, None, None]
    constant = torch.full((3, 24, 24), 77)
    saturated = torch.randint(0, 2, (3, 24, 24), generator=generator) * 255
    return torch.stack([noise, ramp, constant, saturated]).to(torch.uint8)


STRENGTHS = torch.tensor([0.8, 1.0, 1.13, 1.2]).view(4, 1, 1, 1)
TURNS = torch.tensor([-0.2, 0.0, 0.07, 0.2]).view(4, 1, 1, 1)
WITH_STRENGTH = [
    (c.brightness, tv.adjust_brightness, STRENGTHS),
    (c.contrast, tv.adjust_contrast, STRENGTHS),
    (c.saturation, tv.adjust_saturation, STRENGTHS),
    (c.hue, tv.adjust_hue, TURNS),
]
WITHOUT = [(c.equalise, tv.equalize), (c.posterise, lambda x: tv.posterize(x, 4)), (c.autocontrast, tv.autocontrast)]


@pytest.mark.parametrize("ours, theirs, strengths", WITH_STRENGTH)
def test_operations_with_a_strength_agree_to_a_grey_level(
    ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor], strengths: torch.Tensor
) -> None:
    images = pictures()
    got = ours(images.float(), strengths).clamp(0, 255).round()
    for image, strength, result in zip(images, strengths.flatten().tolist(), got, strict=True):
        assert (result - theirs(image, strength).float()).abs().max() <= 1  # torchvision truncates where we round


@pytest.mark.parametrize("ours, theirs", WITHOUT)
def test_operations_without_a_strength_agree(
    ours: Callable[..., torch.Tensor], theirs: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    images = pictures()
    assert (ours(images.float(), STRENGTHS).clamp(0, 255).round() - theirs(images).float()).abs().max() <= 1


def draws(n: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, c.DRAWS))


def test_probability_zero_does_nothing_and_values_stay_eight_bit() -> None:
    images = pictures().float()
    assert torch.equal(c.colour(images.clone(), c.drawn(draws(4), 0.0, 0.2)), images)
    changed = c.colour(images.clone(), c.drawn(draws(4), 1.0, 0.2))
    assert not torch.equal(changed, images)
    assert torch.equal(changed, changed.round().clamp(0, 255))


def test_what_happens_to_an_image_does_not_depend_on_its_batch() -> None:
    images, numbers = pictures().float().repeat(8, 1, 1, 1), draws(32)
    whole = c.colour(images.clone(), c.drawn(numbers, 0.5, 0.2))
    for k in range(32):
        alone = c.colour(images[k : k + 1].clone(), c.drawn(numbers[k : k + 1], 0.5, 0.2))
        assert torch.equal(whole[k : k + 1], alone), k


def test_one_image_by_itself_is_what_it_is_in_a_batch() -> None:
    images, operations = pictures().float().repeat(8, 1, 1, 1), c.drawn(draws(32), 0.5, 0.2)
    whole = c.colour(images.clone(), operations)
    for k in range(32):
        # Strengths are a Python float there and in a float32 tensor here: a grey level may tip.
        difference = (c.colour_image(images[k].clone(), k, operations) - whole[k]).abs()
        assert difference.max() <= 1 and (difference > 0).float().mean() < 1e-2, k


@pytest.mark.parametrize("which", range(7))
def test_tables_on_a_processor_are_the_operations(which: int) -> None:
    """Each operation first and second of two, so that tables are composed, and met by what is no table."""
    images, strengths = pictures(), np.array([[1.13, 0.87, 1.19, -0.13]] * 4)
    for other in range(7):
        order = np.array([[which, other, 0, 0, 0, 0, 0]] * 4)
        operations = c.Operations(np.full(4, 2), order, strengths)
        whole = c.colour(images.float(), operations)
        for k, image in enumerate(images):
            difference = (c.colour_image(image.float(), k, operations) - whole[k]).abs()
            # A value half way between two levels may become either, and an operation after it may make more of that.
            assert (difference != 0).float().mean() < 0.01, (which, other, k)


def test_values_are_rounded_half_to_even_before_all_operations() -> None:
    image = torch.tensor([-3.0, 0.5, 1.5, 2.5, 254.5, 260.0]).repeat(3, 1)[:, None].contiguous()
    nothing = c.Operations(np.zeros(1, np.int64), np.zeros((1, 7), np.int64), np.ones((1, 4)))
    assert c.colour_image(image, 0, nothing)[0, 0].tolist() == [0, 0, 2, 2, 254, 255]


def test_order_is_drawn_for_each_image() -> None:
    """Posterise then brighten is not brighten then posterise: both must occur, for the same selection."""
    image = pictures()[:1].float()
    forced = np.full((2, c.DRAWS), 0.999)
    brightness, posterise = c.OPERATIONS.index(c.brightness), c.OPERATIONS.index(c.posterise)
    forced[:, 7 + brightness] = forced[:, 7 + posterise] = 0.0  # only these two are selected
    forced[0, [brightness, posterise]] = 0.1, 0.2
    forced[1, [brightness, posterise]] = 0.2, 0.1
    first, second = c.colour(image.repeat(2, 1, 1, 1), c.drawn(forced, 0.2, 0.2))
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) <= set(range(0, 256, 16))


@pytest.mark.parametrize("which", range(7))
def test_each_operation_comes_with_its_probability(which: int) -> None:
    chances = draws(20_000)[:, 7 + which]
    assert (chances < 0.2).mean() == pytest.approx(0.2, abs=0.01)
