"""ImageNet-C as published, against what its program calls, or the documented algorithm, coded again: OpenCV, SciPy's
zoom, loops; on a photograph, on noise, and on black and white, interiors and borders alike."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from blurtrain.blur import as_published, corruptions
from blurtrain.blur.blurs import Blur
from blurtrain.errors import SettingsError
from blurtrain.settings.identity import identity_of

cv2 = pytest.importorskip("cv2")
SEVERITIES = (1, 2, 3, 4, 5)
Pixels = NDArray[np.uint8]


@functools.cache
def images() -> tuple[Pixels, ...]:
    from matplotlib import cbook

    with Image.open(cbook.get_sample_data("grace_hopper.jpg")) as photograph:
        photo = np.asarray(photograph.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (224, 224, 3)).astype(np.uint8)
    blocks = (255 * rng.integers(0, 2, (7, 7, 3))).astype(np.uint8).repeat(32, 0).repeat(32, 1)
    return photo, noise, blocks


def cut(image: Any) -> Pixels:
    return np.uint8(np.clip(image, 0, 1) * 255)


def edge_repeated(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Down, then across; sums in the order of SciPy, on which the last bit of a sum of whites depends."""
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    taps /= taps.sum()
    for _ in range(2):
        padded = np.pad(image, ((radius, radius), (0, 0), (0, 0)), mode="edge")
        total = taps[radius] * padded[radius:-radius]
        for k in range(radius):
            total += taps[k] * (padded[k : k + 224] + padded[2 * radius - k : 2 * radius - k + 224])
        image = total.transpose(1, 0, 2)
    return image


def gaussian(image: Pixels, severity: int, _: int) -> Pixels:
    return cut(edge_repeated(image / 255.0, (1, 2, 3, 4, 6)[severity - 1]))


def glass(image: Pixels, severity: int, index: int) -> Pixels:
    """With our draws of where each pixel takes its value from."""
    sigma = (0.7, 0.9, 1, 1.1, 1.5)[severity - 1]
    moved = cut(edge_repeated(image / 255.0, sigma))
    for channel in range(3):
        source = corruptions.glass_map(224, 224, severity, 0, index)
        moved[..., channel] = moved[..., channel].ravel()[source].reshape(224, 224)
    return cut(edge_repeated(moved / 255.0, sigma))


def defocus(image: Pixels, severity: int, _: int) -> Pixels:
    radius, sigma = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][severity - 1]
    half, taps = (8, 3) if radius <= 8 else (radius, 5)
    x, y = np.meshgrid(np.arange(-half, half + 1), np.arange(-half, half + 1))
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (taps, taps), sigma)
    return cut(np.dstack([cv2.filter2D(image[..., k] / 255.0, -1, kernel) for k in range(3)]))


def motion(image: Pixels, severity: int, index: int) -> Pixels:
    """ImageMagick's, in 16 bits: each pixel gathers along a line, beyond the border from the nearest pixel. (The real
    one, 6.9.11, was compared once: no pixel differed, on 24 images at each severity.)"""
    radius, sigma = [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)][severity - 1]
    angle = math.radians(corruptions.motion_angle(0, index))
    weights = [math.exp(-(k * k) / (2 * sigma * sigma)) for k in range(2 * radius + 1)]
    rows, columns = np.mgrid[:224, :224]
    total = np.zeros(image.shape)
    for k, weight in enumerate(weights):
        below = np.clip(rows + math.ceil(k * math.sin(angle) - 0.5), 0, 223)
        right = np.clip(columns + math.ceil(k * math.cos(angle) - 0.5), 0, 223)
        total += weight / sum(weights) * 257 * image[below, right]
    return np.uint8(np.floor(total + 0.5) // 257)


def zoom(image: Pixels, severity: int, _: int) -> Pixels:
    ranges = [(1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)]
    source = (image / 255.0).astype(np.float32)
    factors, total = np.arange(*ranges[severity - 1]), np.zeros_like(source)
    for factor in factors:
        kept = math.ceil(224 / factor)
        corner = (224 - kept) // 2
        grown = ndimage.zoom(source[corner : corner + kept, corner : corner + kept], (factor, factor, 1), order=1)
        corner = (len(grown) - 224) // 2
        total += grown[corner : corner + 224, corner : corner + 224]
    return cut((source + total) / (len(factors) + 1))


REFERENCES: dict[str, Callable[[Pixels, int, int], Pixels]] = {
    "gaussian": gaussian, "glass": glass, "defocus": defocus, "motion": motion, "zoom": zoom
}  # fmt: skip


def as_jpeg(image: Pixels) -> Pixels:
    _, file = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]


def shown(family: str, severity: int, indices: list[int]) -> Pixels:
    """By the label, as evaluations have it."""
    name = {"gaussian": "imagenet-c-gaussian"}.get(family, family)
    batch = torch.from_numpy(np.stack(images())).permute(0, 3, 1, 2).float()
    blurred = Blur.parse(f"{name}-{severity}-published").blurred(batch, indices, resolution=224)
    assert blurred.dtype == torch.float32 and blurred.shape == batch.shape
    return blurred.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("family", REFERENCES)
def test_every_pixel_is_within_one_of_the_reference(family: str, severity: int) -> None:
    indices = [4, 0, 11]
    reference, ours = REFERENCES[family], as_published.FAMILIES[family]
    for image, index, stored in zip(images(), indices, shown(family, severity, indices), strict=True):
        expected = reference(image, severity, index)
        before = ours(image, severity, 0, index).astype(int) - expected
        assert np.abs(before).max() <= 1
        assert np.mean(before != 0) < 1e-4
        assert np.abs(stored - as_jpeg(expected)).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_defocus_kernel_is_the_published_one(severity: int) -> None:
    kernel = as_published.defocus_kernel(severity)
    assert kernel.sum() == pytest.approx({4: 1.01298, 5: 1.01079}.get(severity, 1), abs=1e-5)
    np.testing.assert_allclose(kernel / kernel.sum(dtype=float), corruptions.defocus(severity), atol=1e-9)


def test_what_is_drawn_belongs_to_the_image_and_in_training_to_the_epoch() -> None:
    batch = torch.tensor(images()[0]).permute(2, 0, 1)[None].float().expand(3, -1, -1, -1)
    for label in ("motion-1-published", "glass-1-published"):
        blur = Blur.parse(label)
        seen = blur.blurred(batch, [3, 4, 3], resolution=224)
        assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])
        drawn = [blur.blurred(batch[:1], [3], resolution=224, training=True, epoch=epoch) for epoch in (0, 1)]
        assert not torch.equal(*drawn) and not torch.equal(drawn[0][0], seen[0])


def test_the_exact_form_is_what_it_was() -> None:
    exact, published = Blur.parse("defocus-3"), Blur.parse("defocus-3-published")
    assert exact == Blur.parse("defocus-3-exact") and exact.label == "defocus-3"
    assert exact.is_convolution() and not published.is_convolution()  # which training has a fast way for
    assert exact.reach(224, 4.0) == 8 and published.reach(224, 4.0) is None
    assert "form" not in identity_of(exact) and identity_of(published)["form"] == "published"
    image = torch.tensor(images()[0]).permute(2, 0, 1).float()
    one = torch.empty_like(image)
    published.blur_one(image, 0, one, resolution=224)
    assert torch.equal(one, published.blurred(image[None], [0], resolution=224)[0])


def test_another_size_is_refused() -> None:
    blur = Blur.parse("motion-2-published")
    with pytest.raises(SettingsError, match=r"^blur motion-2-published: is made of images of 224 px, not of 256; take"):
        blur.check(256)
    with pytest.raises(SettingsError, match="not of 64"):
        blur.blurred(torch.zeros(1, 3, 64, 64), [0], resolution=64)
    with pytest.raises(ValueError, match=r"images must be \[N, 3, 224, 224\]"):
        blur.blurred(torch.zeros(1, 3, 224, 300), [0], resolution=224)
    blur.check(224)
