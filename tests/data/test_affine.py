"""The warp against torchvision's, against its definition in float64, and within the whole transform."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import hashlib

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from blurtrain.blur import gaussian_blur, operators
from blurtrain.blur.assignment import Assignment
from blurtrain.data import affine, augment
from blurtrain.data.affine import Warps, warp
from blurtrain.data.augment import Transform
from blurtrain.data.draws import uniform
from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from blurtrain.settings import Augmentation, BlurUnits
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

MEAN, SD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.25)
CROP_NOTHING = {"crop_scale": (1, 1), "crop_ratio": (1, 1), "flip": 0, "colour": 0}
ALL = {"rotation": 15, "translation": 0.1, "zoom": 0.3, "hsv_hue": 0.015, "hsv_saturation": 0.4, "hsv_value": 0.3}


def pixels(n: int, side: int) -> torch.Tensor:
    """Smooth images as loaders bring them: channels are last in memory."""
    noise = np.random.default_rng(0).random((n, side, side, 3))
    noise = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0))
    noise = 255 * (noise - noise.min()) / np.ptp(noise)
    return torch.from_numpy(noise.astype(np.uint8)).permute(0, 3, 1, 2)


def warps(*rows: tuple[float, float, float, float]) -> Warps:
    return Warps(*np.array(rows, float).T)


WARPS = warps((0, 1, 0, 0), (15, 1, 0, 0), (0, 1.3, 0, 0), (0, 0.7, 0, 0), (0, 1, 0.25, -0.125), (-33, 1.2, 0.1, 0.2))


def test_a_warp_is_torchvisions_wherever_that_finds_pixels() -> None:
    """Which moves by whole pixels only, and leaves the rest black."""
    side = 40
    images = pixels(len(WARPS.angle), side).float()
    got = warp(images, WARPS, "bilinear")
    for k, image in enumerate(images):
        angle, zoom, down, across = (float(values[k]) for values in WARPS)
        about = {"angle": angle, "scale": zoom, "translate": [across * side, down * side], "shear": [0.0, 0.0]}
        theirs = tv.affine(image, **about, interpolation=InterpolationMode.BILINEAR)
        inside = tv.affine(torch.ones(1, side, side), **about, interpolation=InterpolationMode.BILINEAR)[0] > 0.999
        assert inside.float().mean() > 0.4
        assert (got[k] - theirs)[:, inside].abs().max() < 0.02, k


def keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution (1981) with a = -0.75."""
    x, a = np.abs(x), -0.75
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - np.abs(x), 0)


KERNELS = {"bilinear": triangle, "bicubic": keys}


def by_definition(image: NDArray[np.float64], interpolation: str, *warp: float) -> NDArray[np.float64]:
    """`image` [C, S, S] after (angle, zoom, down, across), mirrored about the centres of its outermost pixels."""
    angle, zoom, down, across = warp
    side, kernel, radians = image.shape[-1], KERNELS[interpolation], np.radians(angle)
    centre = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - centre - side * np.array([down, across])[:, None, None]
    from_x = (np.cos(radians) * x + np.sin(radians) * y) / zoom + centre
    from_y = (-np.sin(radians) * x + np.cos(radians) * y) / zoom + centre
    mirror = np.concatenate([np.arange(side), np.arange(side - 2, 0, -1)])
    result = np.zeros_like(image)
    for i in range(-1, 3):
        for j in range(-1, 3):
            row, column = np.floor(from_y).astype(int) + i, np.floor(from_x).astype(int) + j
            weight = kernel(from_y - row) * kernel(from_x - column)
            result += weight * image[:, mirror[row % len(mirror)], mirror[column % len(mirror)]]
    return result


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_warp_is_its_definition_also_beyond_the_border(interpolation: str) -> None:
    some = Warps(*(np.append(values, far) for values, far in zip(WARPS, (170, 0.3, 0.9, -1), strict=True)))
    images = pixels(len(some.angle), 33).float()
    got = warp(images, some, interpolation)
    for k, image in enumerate(images.double().numpy()):
        expected = by_definition(image, interpolation, *(float(values[k]) for values in some))
        assert np.abs(got[k].numpy() - expected).max() < 0.02, k


def test_what_is_too_fine_for_a_smaller_image_is_gone_before_it_can_alias() -> None:
    stripes = 255.0 * (torch.arange(64) % 2).expand(1, 3, 64, 64)
    half = warps((20, 0.5, 0, 0))
    aliased, soft = (
        warp(image, half, "bicubic") for image in (stripes, gaussian_blur(stripes, float(half.softening()[0])))
    )
    assert aliased.std() > 60 and soft.std() < 8 and soft.mean() == pytest.approx(127.5, abs=1)
    assert warps((20, 1, 0.1, 0.1), (0, 1.4, 0, 0)).softening().tolist() == [0, 0]


def test_warps_are_spread_as_torchvisions() -> None:
    n, a = 20_000, Augmentation(rotation=15, translation=0.1, zoom=0.3)
    ours = affine.drawn(uniform(1, 0, np.arange(n), affine.DRAWS), a)
    torch.manual_seed(0)
    random = v2.RandomAffine(15, (0.1, 0.1), (0.7, 1.3))
    image = torch.empty(1, 10_000, 10_000, device="meta")
    theirs = [random.make_params([image]) for _ in range(n // 4)]
    columns = [(p["angle"], p["scale"], p["translate"][1] / 1e4, p["translate"][0] / 1e4) for p in theirs]
    for own, other in zip(ours, np.array(columns).T, strict=True):
        error = np.sqrt(own.var() / len(own) + other.var() / len(other))
        assert abs(own.mean() - other.mean()) < 4 * error
        assert own.std() == pytest.approx(other.std(), rel=0.03)
        assert (own.min(), own.max()) == pytest.approx((other.min(), other.max()), rel=0.01)
    assert np.abs(np.corrcoef(ours) - np.eye(4)).max() < 0.03


def gaussians(sigma: float | NDArray[np.float64], side: int) -> Assignment:
    """Of pixels of an input of `side` pixels."""
    sigmas = np.full(8, sigma) if isinstance(sigma, float) else sigma
    return Assignment.gaussian(sigmas * 224 / side)


# --- in the transform -----------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["by image", "batch"])
def by_image(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor's way, and a GPU's."""
    for module in (augment, operators):
        monkeypatch.setattr(module, "by_image", lambda _: request.param)


@pytest.mark.usefixtures("by_image")
@pytest.mark.parametrize("sigma", [0.0, 3.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_crop_is_softened_warped_and_then_blurred(sigma: float, interpolation: str) -> None:
    side, indices = 112, np.arange(40, 46)
    images = pixels(6, side)
    a = Augmentation(**CROP_NOTHING, rotation=90, translation=0.3, zoom=0.5, interpolation=interpolation)
    got = (
        Transform(a, side, MEAN, SD, BlurUnits(), 5)
        .train(images, indices, 3, gaussians(sigma, side)[:6])
        .double()
        .numpy()
    )
    mean, sd = (np.array(v)[:, None, None] for v in (MEAN, SD))
    # The draws are those behind the 82 of geometry, colour and erasing.
    for image, seen, draw in zip(
        images.double().numpy(), got, 2 * uniform(5, 3, indices, 4, first=82) - 1, strict=True
    ):
        zoom = 1 + 0.5 * draw[1]
        soft = np.ceil(16 * np.sqrt(max(1 / zoom**2 - 1, 0)) / 2) / 16
        image = ndimage.gaussian_filter(image, (0, soft, soft), mode="mirror", radius=int(4 * soft) + 1)
        image = by_definition(image, interpolation, 90 * draw[0], zoom, 0.3 * draw[2], 0.3 * draw[3])
        image = ndimage.gaussian_filter(image, (0, sigma, sigma), mode="mirror")
        assert np.abs(seen - (image / 255 - mean) / sd).max() < 5e-3  # of standard deviations of 50 grey levels


@pytest.mark.usefixtures("by_image")
@pytest.mark.parametrize("colour", [0.0, 0.5])
def test_a_warp_that_moves_nothing_leaves_crop_flip_colour_and_erasing_as_they_are(colour: float) -> None:
    images, indices = pixels(8, 128), np.arange(40, 48)
    plain, warped = (
        Transform(Augmentation(colour=colour, erasing=0.5, **more), 112, MEAN, SD, BlurUnits(), 5).train(
            images, indices, 3, gaussians(2.0, 112)
        )
        for more in ({}, {"rotation": 1e-9, "translation": 1e-9, "zoom": 1e-9})
    )
    assert torch.allclose(plain, warped, atol=0.02)  # a grey level may tip
    assert (plain - warped).abs().mean() < 1e-3


@pytest.mark.parametrize("resolution", [64, 112])  # all at once, and image by image
@pytest.mark.parametrize("arithmetic", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("colour", [0.0, 0.5])
def test_an_image_looks_the_same_in_every_batch_and_with_any_number_of_threads(
    resolution: int, arithmetic: torch.dtype, colour: float
) -> None:
    a = Augmentation(colour=colour, erasing=0.5, **ALL)
    t = Transform(a, resolution, MEAN, SD, BlurUnits(), 5, arithmetic)
    images, indices, sigmas = pixels(8, resolution * 8 // 7), np.arange(100, 108), np.linspace(0, 9, 8)

    def shown(places: NDArray[np.int64]) -> list[str]:
        blur = gaussians(sigmas[places], resolution)
        seen = t.train(images[torch.from_numpy(places)], indices[places], 3, blur)
        assert seen.dtype == arithmetic
        return [hashlib.sha256(image.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest() for image in seen]

    whole, before = shown(np.arange(8)), torch.get_num_threads()
    assert len(set(whole)) == 8
    assert [h for part in np.split(np.arange(8), 8) for h in shown(part)] == whole
    shuffled = np.random.default_rng(0).permutation(8)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert shown(shuffled) == [whole[k] for k in shuffled]
    finally:
        torch.set_num_threads(before)
