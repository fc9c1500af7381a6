"""Kernels by their taps and runs, compiled by Numba, against SciPy's convolution in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from blurtrain.blur import convolve, kernels
from blurtrain.blur import taps as taps_module
from blurtrain.blur.blurs import Blur, Disk
from blurtrain.blur.convolution import convolve_each
from blurtrain.blur.resampling import resampled
from blurtrain.blur.taps import MOST_SWEEPS, taps_of

pytest.importorskip("numba")

SHAKES = list(kernels.shakes_for("train", range(3), protocol_seed=1, epoch=2))
RUNS = {"disk 4": kernels.disk(4), "disk 12": kernels.disk(12), "box 30 down": kernels.box(30, 90)}
TAPS = {
    "disk 2": kernels.disk(2),
    "disk 8 at 384": resampled(kernels.disk(8), 224 / 384),
    "antialiased disk 3": kernels.disk(3.3, antialias=True),
    "box 8": kernels.box(8),
    "identity": np.ones((1, 1)),
    "nothing": np.zeros((3, 3)),
    **{f"shake {k}": shake for k, shake in enumerate(SHAKES)},
}
EITHER = {**RUNS, **TAPS}
SIZES = [(40, 33), (9, 6), (1, 7), (30, 1), (130, 70)]


def noise(*shape: int) -> Tensor:
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0))


def exact(image: Tensor, kernel: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.convolve(channel, kernel, mode="mirror") for channel in image.double().numpy()])


def test_columns_of_equal_weights_are_runs_where_that_saves_sweeps() -> None:
    assert all(taps_of(kernel).ends is not None for kernel in RUNS.values())
    assert all(taps_of(kernel).ends is None for kernel in TAPS.values())
    assert taps_of(kernels.disk(12)).sweeps == 50 and taps_of(kernels.disk(12)).longest == 25
    assert taps_of(kernels.disk(2)).sweeps == 13


@pytest.mark.parametrize("name", EITHER)
@pytest.mark.parametrize("size", SIZES)
def test_equals_scipy_at_any_size_and_at_the_borders(name: str, size: tuple[int, int]) -> None:
    images = noise(2, 3, *size)
    for image, ours in zip(images, convolve(images, EITHER[name], method="taps"), strict=True):
        assert np.abs(ours.double().numpy() - exact(image, EITHER[name])).max() < 1e-3


@pytest.mark.parametrize("scale, offset", [(1e-3, 0.0), (1.0, -1e4), (1e6, 0.0), (0.0, 0.0), (0.0, 200.3)])
def test_runs_are_as_exact_at_any_scale(scale: float, offset: float) -> None:
    image = (noise(1, 300, 20) - 128) * scale + offset
    ours = convolve(image[None], kernels.disk(12), method="taps")[0]
    largest = max(float(image.abs().max()), 1e-9)
    assert np.abs(ours.double().numpy() - exact(image, kernels.disk(12))).max() < 1e-3 / 255 * largest


def test_no_error_adds_up_over_a_large_image() -> None:
    image = torch.full((1, 4000, 24), 254.7)
    assert (convolve(image[None], kernels.disk(4), method="taps") - 254.7).abs().max() < 1e-4


def test_an_image_does_not_depend_on_the_others_or_on_the_threads() -> None:
    each = list(EITHER.values())
    images, before = noise(len(each), 3, 112, 100), torch.get_num_threads()
    whole = convolve_each(images, each)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(convolve_each(images, each), whole)
    finally:
        torch.set_num_threads(before)
    for k, kernel in enumerate(each):
        assert torch.equal(convolve_each(images[k : k + 1], [kernel])[0], whole[k])
        assert torch.equal(convolve(images[k : k + 1], kernel)[0], whole[k])
    turned = list(range(len(each)))[::-1]
    assert torch.equal(convolve_each(images[turned], [each[k] for k in turned]), whole[turned])


def test_images_may_lie_in_memory_in_any_way() -> None:
    images, kernel = noise(2, 3, 40, 40), kernels.disk(4)
    plain = convolve_each(images, [kernel] * 2)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(convolve_each(last, [kernel] * 2), plain)
    mirrored = convolve_each(images.flip(3)[:, :, ::2], [kernel] * 2)
    assert torch.equal(mirrored, convolve_each(images.flip(3)[:, :, ::2].contiguous(), [kernel] * 2))
    bytes_ = images.to(torch.uint8)
    assert torch.equal(convolve_each(bytes_, [kernel] * 2), convolve_each(bytes_.float(), [kernel] * 2).round().byte())


@pytest.mark.parametrize("label", ["disk-2", "disk-6", "box-7-30", "gaussian-3", "imagenet-c-zoom-2"])
def test_one_image_is_blurred_and_normalised_as_a_batch_is(label: str) -> None:
    blur, images = Blur.parse(label), noise(2, 3, 64, 64)
    normal = torch.tensor([120.0, 110.0, 100.0]).view(3, 1, 1), torch.tensor([0.02, 0.03, 0.04]).view(3, 1, 1)
    draws = {"resolution": 64, "seed": 3, "epoch": 2, "training": True}
    expected = (blur.blurred(images, [0, 1], **draws) - normal[0]) * normal[1]
    out = torch.empty_like(images)
    for k in range(2):
        blur.blur_one(images[k], k, out[k], normal, **draws)
    assert (out - expected).abs().max() < 1e-5
    blur.blur_one(images[1], 1, out[0], **draws)
    assert torch.allclose(out[0], blur.blurred(images[1:], [1], **draws)[0], atol=1e-3)


def test_a_blur_of_one_s_own_that_is_more_than_its_kernel_is_taken_at_its_word() -> None:
    class Brighter(Disk):
        def blurred(self, images: Any, indices: Any, **draws: Any) -> Any:
            return super().blurred(images, indices, **draws) + 1

    images, out = noise(1, 3, 32, 32), torch.empty(3, 32, 32)
    Brighter(radius=2).blur_one(images[0], 0, out, resolution=224)
    assert torch.equal(out, convolve_each(images, [kernels.disk(2)])[0] + 1)


def test_what_is_not_finite_stays_where_the_kernel_takes_it() -> None:
    for kernel in (kernels.disk(4), kernels.disk(2)):
        image = noise(1, 1, 40, 40)
        image[0, 0, 5, 5] = torch.nan
        seen = convolve_each(image, [kernel])[0, 0].isfinite()
        assert seen[20:, 20:].all() and not seen[5, 5]


def test_other_ways_where_taps_are_many_or_numba_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    images, dense = noise(1, 3, 64, 64), kernels.gaussian(3.0)
    assert taps_of(dense).sweeps > MOST_SWEEPS
    assert torch.equal(convolve_each(images, [dense]), convolve(images, dense, method="fourier"))
    with_it = convolve_each(images, [kernels.disk(4)])
    monkeypatch.setattr("blurtrain.blur.convolution.available", lambda: False)
    without = convolve_each(images, [kernels.disk(4)])
    assert torch.equal(without, convolve(images, kernels.disk(4), method="spatial"))
    assert (with_it - without).abs().max() < 1e-3
    with pytest.raises(ValueError, match="by Numba"):
        convolve(images, dense, method="taps")


def test_mistakes_are_told() -> None:
    images = noise(1, 3, 8, 8)
    for kernel, words in ((np.ones((4, 4)), "odd"), (np.full((3, 3), np.nan), "not finite"), (np.ones(3), "must be")):
        with pytest.raises(ValueError, match=words):
            convolve_each(images, [kernel])


def test_reflection_is_numpys() -> None:
    for side, radius in ((5, 3), (5, 11), (2, 4), (1, 3)):
        expected = np.pad(np.arange(side), radius, mode="reflect")
        assert (taps_module.reflected(side, radius) == expected).all()
