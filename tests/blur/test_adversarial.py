"""Kernels that are learnt against a network."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn.functional import cross_entropy

from blurtrain.blur.adversarial import Ascent, applied, distances, worst_blur


def images(n: int = 4, side: int = 24) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 255


def harm_of(n: int, side: int = 24) -> tuple[torch.nn.Module, Tensor]:
    torch.manual_seed(2)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(3))
    network(torch.zeros(1, 3, side, side))
    return network, torch.arange(n) % 3


def found(ascent: Ascent, shown: Tensor):
    network, labels = harm_of(len(shown))
    torch.manual_seed(3)
    return worst_blur(shown, lambda x: cross_entropy(network(x / 255), labels, reduction="none"), ascent)


def test_kernels_are_convolved_as_scipy_does() -> None:
    shown, kernels = images(4).double(), torch.rand(2, 7, 7, dtype=torch.float64)
    blurred = applied(shown, kernels)
    for k in range(4):
        for channel in range(3):
            expected = convolve(shown[k, channel].numpy(), kernels[k // 2].numpy(), mode="mirror")
            np.testing.assert_allclose(blurred[k, channel].numpy(), expected, atol=1e-10)


def test_gradients_of_kernels_are_right() -> None:
    shown = torch.rand(2, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def of_logits(logits: Tensor) -> Tensor:
        return applied(shown, logits.softmax(1).unflatten(1, (3, 3))).square().sum()

    logits = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(of_logits, (logits,))


@pytest.mark.parametrize("start", ["identity", "random"])
@pytest.mark.parametrize("among", [1, 2])
def test_a_kernel_is_one_and_is_never_less_harmful_than_its_start(start: str, among: int) -> None:
    shown = images()
    worst = found(Ascent(size=9, steps=4, start=start, distance=0.4, among=among), shown)
    assert worst.kernels.shape == (4 // among, 9, 9) and (worst.kernels >= 0).all()
    torch.testing.assert_close(worst.kernels.sum((1, 2)), torch.ones(4 // among), atol=1e-5, rtol=0)
    assert (worst.harm >= worst.harm_at_start).all() and (worst.harm > worst.harm_at_start).any()
    network, labels = harm_of(4)
    losses = cross_entropy(network(worst.images / 255), labels, reduction="none").unflatten(0, (-1, among)).mean(1)
    torch.testing.assert_close(losses.detach(), worst.harm, atol=1e-4, rtol=1e-4)


def test_even_a_step_that_leads_astray_is_not_taken() -> None:
    worst = found(Ascent(size=5, steps=3, rate=1e6, start="identity", distance=0.3), images())
    assert (worst.harm >= worst.harm_at_start).all()


@pytest.mark.parametrize("distance", [0.01, 0.2])
def test_the_bound_is_kept(distance: float) -> None:
    shown = images()
    worst = found(Ascent(size=9, steps=5, rate=3, distance=distance), shown)
    far = distances(shown, worst.images)
    assert (far <= distance + 1e-4).all() and (far > 0.9 * distance).any(), "random pixels are blurred by any kernel"
    by_hand = [
        np.sqrt(((b - a) ** 2).mean()) / np.sqrt(((a - a.mean((1, 2), keepdims=True)) ** 2).mean())
        for a, b in zip(shown.double().numpy(), worst.images.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(far.numpy(), by_hand, rtol=1e-9)


def test_an_image_without_contrast_stays() -> None:
    shown = torch.full((2, 3, 16, 16), 7.0)
    worst = found_flat(shown)
    torch.testing.assert_close(worst.images, shown, atol=1e-4, rtol=0)
    assert torch.isfinite(worst.kernels).all()


def found_flat(shown: Tensor):
    return worst_blur(shown, lambda x: x.mean((1, 2, 3)), Ascent(size=5, steps=2))


@pytest.mark.parametrize(("ascent", "said"), [(Ascent(size=49), "at most 47"), (Ascent(size=3, among=3), "by 3")])
def test_what_cannot_be_is_refused(ascent: Ascent, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        found(ascent, images())


def test_images_in_half_precision_are_blurred_in_single() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = worst_blur(images, lambda shown: -shown.flatten(1).var(1), Ascent(5, 2, 1.0, "random", 0.5, 1))
    assert found.images.dtype == torch.float32 and bool((found.harm >= found.harm_at_start).all())
