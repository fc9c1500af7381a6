"""Object and network scales: against torch's resize and SciPy in float64, and by the moments of an impulse."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from blurtrain.blur import kernels
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import Blur, Gaussian, KernelBlur
from blurtrain.blur.resampling import resampled
from blurtrain.data.augment import _BEFORE_SCALED, Transform
from blurtrain.data.draws import uniform
from blurtrain.data.scaled_crop import DRAWS, ScaledCrops
from blurtrain.errors import SettingsError
from blurtrain.settings import Augmentation, BlurUnits, Scaled, compose

SIZE, SEED = 40, 3
SCALED = {"object_scales": [59, 64, 68], "defined_at": 64, "network_scales": [48]}
SIDES = np.array([[60, 84], [60, 60], [100, 60], [66, 60], [60, 119], [60, 61]])


def transform(**scaled: Any) -> Transform:
    augmentation = Augmentation(colour=0, scaled=Scaled(**{**SCALED, **scaled}))
    return Transform(augmentation, SIZE, (0, 0, 0), (1 / 255,) * 3, BlurUnits(), SEED)


def canvases() -> tuple[Tensor, list[NDArray[np.float64]]]:
    """Images in the corner of a canvas, portraits transposed, beside noise that none may see; and as they are."""
    draw = np.random.default_rng(0)
    canvas = draw.integers(0, 256, (len(SIDES), 3, 60, 119), dtype=np.uint8)
    images = []
    for place, (height, width) in zip(canvas, SIDES, strict=True):
        smooth = ndimage.zoom(draw.uniform(0, 255, (3, 9, 9)), (1, height / 9, width / 9), order=1)
        image = np.clip(smooth + draw.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
        images.append(image.astype(np.float64))
        lying = image.swapaxes(1, 2) if height > width else image
        place[:, : lying.shape[1], : lying.shape[2]] = lying
    return torch.from_numpy(canvas), images


def assignment(*labels: str) -> Assignment:
    return Assignment.of(tuple(map(Blur.parse, labels)), np.arange(len(SIDES)) % len(labels))


def kernel(blur: Blur, index: int, side: int = 64) -> NDArray[np.float64]:
    if not isinstance(blur, KernelBlur):
        return kernels.gaussian(blur.sigma) if isinstance(blur, Gaussian) else np.ones((1, 1))
    return resampled(blur.point_spread(index, seed=SEED, epoch=2, training=True), side / blur.at)


def resized(image: NDArray[np.float64], sides: NDArray[np.int64]) -> NDArray[np.float64]:
    size = tuple(int(side) for side in sides)
    return interpolate(torch.from_numpy(image)[None], size, mode="bicubic", antialias=True)[0].numpy()


def expected(quantise: bool, spreads: list[NDArray[np.float64]], scaled: Scaled) -> Tensor:
    draws = uniform(SEED, 2, np.arange(len(SIDES)), DRAWS, first=_BEFORE_SCALED)
    crops = ScaledCrops.drawn(draws, SIDES, int(SIDES.min()), SIZE, scaled, 0.5)
    out = []
    for k, image in enumerate(canvases()[1]):
        large = resized(image, crops.blurred[k])
        blurred = np.stack([ndimage.convolve(channel, spreads[k], mode="mirror") for channel in large])
        blurred = np.clip(blurred, 0, 255).round() if quantise else blurred
        top, left = crops.start[k]
        shown = resized(blurred, crops.shown[k])[:, top : top + SIZE, left : left + SIZE]
        out.append(shown[:, :, ::-1] if crops.flip[k] else shown)
    return torch.from_numpy(np.stack(out))


@pytest.mark.parametrize("quantise, worst, mean", [(False, 2e-3, 1e-4), (True, 1.5, 1e-3)])
@pytest.mark.parametrize("labels", [("disk-4@64", "box-7-30@64"), ("shake@384", "sharp"), ("disk-30@64",)])
def test_as_torch_and_scipy_in_float64(quantise: bool, worst: float, mean: float, labels: tuple[str, ...]) -> None:
    """A pixel that lies halfway between two 8-bit values may be rounded either way."""
    own, scaled = assignment(*labels), transform(quantise=quantise)
    spread = [own.blurs[own.which[k]] for k in range(len(SIDES))]  # type: ignore[index]
    spreads = [kernel(blur, k) for k, blur in enumerate(spread)]
    given = scaled.train(canvases()[0], np.arange(len(SIDES)), 2, own, SIDES)
    difference = (given - expected(quantise, spreads, scaled.augmentation.scaled)).abs()
    assert difference.max() < worst and difference.mean() < mean


def test_gaussians_by_sigma_are_one_operator_where_nothing_is_rounded() -> None:
    sigmas = np.linspace(0, 12, len(SIDES)) * 224 / 64
    images, indices = canvases()[0], np.arange(len(SIDES))
    one = transform(quantise=False).train(images, indices, 2, Assignment.gaussian(sigmas), SIDES)
    blurs = tuple(Blur.parse(f"gaussian-{s * 64 / 224:.12g}@64" if s else "sharp") for s in sigmas)
    each = transform(quantise=False).train(images, indices, 2, Assignment.of(blurs, indices), SIDES)
    assert (one - each).abs().max() < 2e-3


def test_an_image_comes_out_the_same_in_any_batch() -> None:
    images, indices, own = canvases()[0], np.arange(len(SIDES)), assignment("disk-4@64", "shake@384")
    whole = transform().train(images, indices, 2, own, SIDES)
    for part in (slice(1, 2), slice(2, 5)):
        assert torch.equal(transform().train(images[part], indices[part], 2, own[part], SIDES[part]), whole[part])


@pytest.mark.parametrize("object_scale", [356, 384, 410])
@pytest.mark.parametrize("network_scale", [256, 512])
@pytest.mark.parametrize("label", ["disk-8@384", "box-9-90@384", "gaussian-4@384", "shake@384"])
def test_the_effective_blur_is_the_same_at_every_scale(object_scale: int, network_scale: int, label: str) -> None:
    """By the second moment of what a point becomes, less that of the sharp path."""
    image = torch.zeros(1, 3, 300, 300, dtype=torch.uint8)
    image[:, :, 150, 150] = 255
    settings = Scaled(object_scales=(object_scale,), network_scales=(network_scale,), quantise=False)
    augmentation = Augmentation(colour=0, flip=0, scaled=settings)
    size, one = int(object_scale * network_scale / 384), np.zeros(1, np.int64)
    scaled = Transform(augmentation, size, (0, 0, 0), (1 / 255,) * 3, BlurUnits(), SEED)
    sharp, blurred = (
        moments(scaled.train(image, one, 2, Assignment.of((Blur.parse(b),), one))) for b in ("sharp", label)
    )
    own = moments(torch.from_numpy(kernel(Blur.parse(label), 0, 384).copy())[None, None])
    assert blurred - sharp == pytest.approx(own * (network_scale / 384) ** 2, rel=0.01)


def moments(images: Tensor) -> float:
    """Sum of the second central moments of an image along rows and columns."""
    image = images[0, 0].double().numpy()
    weights = image / image.sum()
    total = 0.0
    for axis in (0, 1):
        profile, places = weights.sum(1 - axis), np.arange(image.shape[axis])
        centre = profile @ places
        total += profile @ (places - centre) ** 2
    return total


def test_a_whole_image_is_squeezed_where_a_square_is_wanted() -> None:
    """As in the look at pretrained weights, and in validation."""
    canvas, images = canvases()
    squeezed = transform().resized(canvas, SIDES)
    for image, given in zip(images, squeezed, strict=True):
        whole = torch.from_numpy(image)[None]
        exact = interpolate(whole, (SIZE, SIZE), mode="bilinear", antialias=True).clamp(0, 255)
        assert (exact[0] - given).abs().max() < 0.51


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(SettingsError, match="zoom-2 depends on the whole image"):
        transform().train(canvases()[0], np.arange(len(SIDES)), 0, assignment("zoom-2"), SIDES)
    base = {"dataset": "faces", "regime": "clear", "augmentation": {"colour": 0, "scaled": {"network_scales": [224]}}}
    with pytest.raises(SettingsError, match="208 pixels, less than the crop of"):
        compose(base, "run")
    with pytest.raises(SettingsError, match="scaled does not go with colour"):
        compose({**base, "augmentation": {"colour": 0.2, "scaled": {}}}, "run")
