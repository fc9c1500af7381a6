"""Methods of deblurring against independent references in float64, and on images of known kernels."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage
from torch import Tensor

from blurtrain.blur import kernels
from blurtrain.blur.blurs import Blur, Disk
from blurtrain.deblurring import Deblurring
from blurtrain.errors import SettingsError

Array = NDArray[np.float64]
LEVELS = ("disk-4@384", "disk-8@384", "shake@384")
NON_BLIND = ("wiener", "richardson-lucy", "total-variation")
DECIBELS = 0.3


def scenes(n: int, side: int) -> Tensor:
    """Images [n, 3, side, side] of 0..255 with edges, shades and texture, each another."""
    images = []
    for number in range(n):
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:side, :side] / side
        image = np.full((3, side, side), 90.0) + 60 * rng.normal(size=(3, 1, 1)) * (x + y - 1)
        for _ in range(25):
            across, down, radius = rng.random(3) * (1, 1, 0.25)
            disk, half = np.hypot(x - across, y - down) < radius, (abs(x - across) < radius) & (y > down)
            inside = disk if rng.random() < 0.5 else half
            image[:, inside] = rng.uniform(0, 255, (3, 1))
        image += 12 * ndimage.gaussian_filter(rng.normal(size=image.shape), (0, 0.7, 0.7))
        images.append(image.clip(0, 255).round())
    return torch.from_numpy(np.stack(images))


def blurred(images: Tensor, blur: Blur, side: int) -> Tensor:
    """At 8 bits."""
    return blur.blurred(images, range(len(images)), resolution=side).clamp(0, 255).round()


def psnr(images: Tensor | Array, others: Tensor) -> Array:
    error = np.asarray(images, np.float64).clip(0, 255).round() - others.double().numpy()
    return 10 * np.log10(255**2 / (error**2).mean((1, 2, 3)))


def method(label: str) -> Deblurring:
    found: Deblurring = Deblurring.model_validate(label)
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("label", NON_BLIND)
def test_with_the_true_kernel_every_image_gains(label: str, level: str) -> None:
    side, blur = 112, Blur.parse(level.replace("@384", "@192"))
    images = scenes(6, side).float()
    given = blurred(images, blur, side)
    found = method(label).deblurred(given, blur, range(6), resolution=side)
    gained = psnr(found, images) - psnr(given, images)
    assert gained.min() > 0.5, gained


# --- independent references -------------------------------------------------------------------------------------------


def periods(images: Tensor) -> Array:
    """Each channel with its mirror images [N * C, 2 side - 2, 2 side - 2]: a period of what reflecting borders mean."""
    side = images.shape[-1]
    channels = images.double().numpy().reshape(-1, side, side) / 255
    return np.pad(channels, ((0, 0), (0, side - 2), (0, side - 2)), mode="reflect")


def half_period(side: int) -> Array:
    """How often each pixel occurs in half a period."""
    return np.outer(*[np.r_[0.5, np.ones(side - 2), 0.5]] * 2)


def transposed(image: Array, spread: Array) -> Array:
    """The transpose of SciPy's convolution with mirroring borders: what fell beyond them is folded back."""
    side, r = len(image), len(spread) // 2
    whole = ndimage.convolve(np.pad(image, r), spread[::-1, ::-1], mode="constant")
    for axis in (0, 1):
        whole = np.moveaxis(whole, axis, 0)
        inner = whole[r : r + side].copy()
        inner[1 : r + 1] += whole[:r][::-1]
        inner[side - 1 - r : side - 1] += whole[r + side :][::-1]
        whole = np.moveaxis(inner, 0, axis)
    return whole


def of_one_period(channels: Array, like: Tensor) -> Array:
    side = like.shape[-1]
    return 255 * channels[:, :side, :side].reshape(like.shape)


def test_wiener_is_scikit_images_on_the_reflected_period() -> None:
    restoration = pytest.importorskip("skimage.restoration", reason="scikit-image is not installed")
    images, blur = scenes(2, 64).float(), Disk(radius=4, at=64)
    given = blurred(images, blur, 64)
    noise, gradient = 0.004, 0.07
    found = method(f"wiener noise={noise} gradient={gradient}").deblurred(given, blur, range(2), resolution=64)
    waves = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(126))
    rough = np.sqrt(waves[:, None] + waves[None, : 126 // 2 + 1])
    spread = kernels.disk(4.0)
    each = [restoration.wiener(one, spread, (noise / gradient) ** 2, rough.astype(complex), clip=False)
            for one in periods(given)]  # fmt: skip
    expected = of_one_period(np.stack(each), given)
    np.testing.assert_allclose(found.numpy(), expected.clip(0, 255), atol=0.05)
    assert abs(psnr(found, images) - psnr(expected, images)).max() < DECIBELS


@pytest.mark.parametrize("spread", [kernels.disk(3.0), kernels.shake_for("test", 3)], ids=["disk", "shake"])
def test_richardson_lucy_is_that_of_scipy(spread: Array) -> None:
    sharp = scenes(1, 64)[:, :1].double()
    given = ndimage.convolve(sharp[0, 0].numpy(), spread, mode="mirror").round() / 255
    found = method("richardson-lucy iterations=15").restored(torch.from_numpy(given)[None, None].float(), [spread])
    w = half_period(64)
    expected, evenly = given, transposed(w, spread)
    for _ in range(15):
        ratio = given / ndimage.convolve(expected, spread, mode="mirror")
        expected = expected * transposed(w * ratio, spread) / evenly
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=2e-3)


def test_richardson_lucy_is_near_scikit_images() -> None:
    restoration = pytest.importorskip("skimage.restoration", reason="scikit-image is not installed")
    images, blur = scenes(2, 64).float(), Disk(radius=3, at=64)
    given = blurred(images, blur, 64)
    found = method("richardson-lucy").deblurred(given, blur, range(2), resolution=64)
    wide = np.pad(given.double().numpy().reshape(-1, 64, 64) / 255, ((0, 0), (63, 63), (63, 63)), mode="reflect")
    each = [restoration.richardson_lucy(one, kernels.disk(3.0), 30, clip=False)[63:-63, 63:-63] for one in wide]
    expected = 255 * np.stack(each).reshape(given.shape)
    assert abs(psnr(found, images) - psnr(expected, images)).max() < DECIBELS


@pytest.mark.parametrize("spread", [kernels.disk(2.0), kernels.camera_shake(8, 5)], ids=["disk", "shake"])
def test_total_variation_reaches_the_least_of_its_sum(spread: Array) -> None:
    """The primal-dual steps of Chambolle & Pock (2011), in NumPy, find the same minimum."""
    side, weight = 40, 1e-3
    sharp = scenes(1, side)[:, :1].double() / 255
    given = ndimage.convolve(sharp[0, 0].numpy(), spread, mode="mirror")
    w = half_period(side)

    def energy(x: Array) -> float:
        loss = 0.5 * (w * (ndimage.convolve(x, spread, mode="mirror") - given) ** 2).sum()
        return float(
            loss + weight * ((w[1] * abs(np.diff(x, axis=0))).sum() + (w[:, 1:2] * abs(np.diff(x, axis=1))).sum())
        )

    options = f"total-variation noise={np.sqrt(weight * 0.03)} iterations=150"
    found = method(options).restored(torch.from_numpy(given)[None, None], [spread])[0, 0].numpy()
    expected = _primal_dual(given, spread, weight, w)
    assert energy(found) < 1.01 * energy(expected) + 1e-6
    images = 255 * sharp
    assert abs(psnr(255 * found[None, None], images) - psnr(255 * expected[None, None], images)) < DECIBELS


def _primal_dual(given: Array, spread: Array, weight: float, w: Array, steps: int = 3000) -> Array:
    side = len(given)
    x = bar = given.copy()
    p, q = np.zeros((side - 1, side)), np.zeros((side, side - 1))
    fit = np.zeros_like(given)
    tau = sigma = 0.95 / np.sqrt(9.0)
    for _ in range(steps):
        p = np.clip(p + sigma * np.diff(bar, axis=0), -weight * w[1], weight * w[1])
        q = np.clip(q + sigma * np.diff(bar, axis=1), -weight * w[:, 1:2], weight * w[:, 1:2])
        moved = fit + sigma * (ndimage.convolve(bar, spread, mode="mirror") - given)
        fit = moved * w / (w + sigma)
        back = transposed(fit, spread)
        back[:-1] -= p
        back[1:] += p
        back[:, :-1] -= q
        back[:, 1:] += q
        before, x = x, x - tau * back
        bar = 2 * x - before
    return x


# --- what methods are asked for ---------------------------------------------------------------------------------------


def test_sharp_images_are_left_as_they_are() -> None:
    images = scenes(2, 32).float()
    found = method("wiener").deblurred(images, Blur.parse("sharp"), range(2), resolution=32)
    torch.testing.assert_close(found, images, rtol=0, atol=0)


def test_unsharp_adds_what_a_gaussian_takes_away() -> None:
    images = scenes(1, 40).float()
    found = method("unsharp sigma=1.5 amount=0.5").deblurred(images, Blur.parse("glass-3"), [0], resolution=40)
    pixels = images[0].double().numpy()
    smooth = np.stack([ndimage.gaussian_filter(channel, 1.5, mode="mirror") for channel in pixels])
    np.testing.assert_allclose(found[0].numpy(), (1.5 * pixels - 0.5 * smooth).clip(0, 255), atol=0.02)


def test_images_are_restored_alike_in_any_batch() -> None:
    images, blur = scenes(5, 48).float(), Blur.parse("shake@192")
    given = blurred(images, blur, 48)
    whole = method("wiener").deblurred(given, blur, range(5), resolution=48)
    alone = method("wiener").deblurred(given[3:4], blur, [3], resolution=48)
    torch.testing.assert_close(whole[3:4], alone, rtol=0, atol=0.02)


@pytest.mark.parametrize("level", ["gaussian-3", "box-9-random", "disk-4"])
def test_kernels_are_those_that_the_blur_convolves_with(level: str) -> None:
    blur, images = Blur.parse(level), scenes(2, 80).double()
    expected = blur.blurred(images, [4, 5], resolution=80)
    for k, kernel in enumerate(blur.kernels([4, 5], resolution=80)):
        by_scipy = [ndimage.convolve(channel, kernel, mode="mirror") for channel in images[k].numpy()]
        np.testing.assert_allclose(expected[k].numpy(), by_scipy, atol=1e-3)


@pytest.mark.parametrize("level", ["glass-3", "zoom-2", "lowpass-8"])
def test_a_blur_without_kernel_is_refused_in_one_line(level: str) -> None:
    blur = Blur.parse(level)
    with pytest.raises(SettingsError) as caught:
        method("wiener").deblurred(scenes(1, 32).float(), blur, [0], resolution=32)
    assert "needs the kernel" in str(caught.value) and blur.label in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("wiener noise=0", "greater than 0"),
        ("wiener noises=0.1", "noises"),
        ({"type": "weiner"}, "wiener"),
        ("richardson-lucy iterations=0", "iterations"),
        ("total-variation noise=-1", "noise"),
    ],
)
def test_mistakes_are_named(given: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Deblurring.model_validate(given)


@pytest.mark.parametrize("label", ["wiener", "wiener noise=0.01", "unsharp sigma=3.0 amount=0.5"])
def test_a_label_says_the_method(label: str) -> None:
    assert method(label).label == label.replace("3.0", "3")
    assert method(method(label).label) == method(label)
    assert Deblurring.model_validate(method(label).model_dump()) == method(label)
