"""The fused kernel on a GPU: against float64, against the plain operators, and without waiting.

The part `fused` of `make gpu` compares every tiling with float64."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from blurtrain.blur import resized_crop_blur
from blurtrain.blur.assignment import Assignment
from blurtrain.blur.fused import normalised_crop_blur, unavailable
from blurtrain.data.augment import Transform
from blurtrain.settings import Augmentation, BlurUnits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs the package triton"),
]
CUDA, MEAN, SD = torch.device("cuda", 0), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SIGMAS = torch.tensor([0.0, 1.5, 3.0, 8.0, 60.0], dtype=torch.float64)
TOLERANCE = {torch.float32: (1e-3, 1e-3), torch.bfloat16: (2.0, 1.0)}  # below sigma 3, and from there on


@pytest.fixture(autouse=True)
def can_be_had() -> None:
    if reason := unavailable(CUDA, torch.bfloat16):
        pytest.skip(reason)


def noise(height: int = 160, width: int = 200, channels_last: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(SIGMAS), height, width, 3), generator=generator, dtype=torch.uint8)
    return pixels.permute(0, 3, 1, 2) if channels_last else pixels.permute(0, 3, 1, 2).contiguous()


def geometry() -> tuple[Tensor, ...]:
    """Top, left, height, width: the whole image, at its edges, one pixel, and between."""
    return tuple(
        torch.tensor(each)
        for each in ([0, 10, 31, 96, 5], [0, 60, 3, 199, 40], [160, 150, 129, 64, 30], [200, 140, 90, 1, 99])
    )


FLIP = torch.tensor([False, True, True, False, True])


def fused(images: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """As pixels in 0..255, on the processor."""
    sd, mean = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (SD, MEAN))
    out = normalised_crop_blur(images.to(CUDA), *geometry(), size, FLIP, SIGMAS, mean=MEAN, sd=SD, dtype=dtype)
    return 255 * (out.cpu().double() * sd + mean)


def worst(ours: Tensor, exact: Tensor) -> list[float]:
    return (ours - exact.cpu()).abs().amax((1, 2, 3)).tolist()


def within(errors: list[float], dtype: torch.dtype) -> bool:
    return all(e < TOLERANCE[dtype][int(sigma >= 3)] for e, sigma in zip(errors, SIGMAS.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size, channels_last", [((224, 224), True), ((97, 210), False), ((64, 64), True)])
def test_it_is_the_operator_of_float64(dtype: torch.dtype, size: tuple[int, int], channels_last: bool) -> None:
    images = noise(channels_last=channels_last)
    exact = resized_crop_blur(images.double(), *geometry(), size, FLIP, SIGMAS)
    errors = worst(fused(images, size, dtype), exact)
    assert within(errors, dtype), errors
    plain = resized_crop_blur(images.to(CUDA), *geometry(), size, FLIP, SIGMAS)  # in float32
    assert within(worst(fused(images, size, dtype), plain.double()), dtype)


def transform(dtype: torch.dtype) -> Transform:
    units = BlurUnits(reference_resolution=128)
    return Transform(Augmentation(colour=0), 128, MEAN, SD, units, 3, dtype, crop_and_blur="fused")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_transform_shows_what_a_processor_shows(dtype: torch.dtype) -> None:
    images, indices = noise(146, 146), np.arange(len(SIGMAS))
    chosen, assignment = transform(dtype), Assignment.gaussian(SIGMAS.numpy())
    assert chosen.without_fused(CUDA) is None
    shown = chosen.train(images.to(CUDA), indices, 0, assignment)
    plain = replace(chosen, arithmetic=torch.float32, crop_and_blur="plain").train(images, indices, 0, assignment)
    assert shown.dtype == dtype
    apart = (shown.cpu().float() - plain).abs() * 255 * torch.tensor(SD).view(3, 1, 1)
    assert within(apart.amax((1, 2, 3)).tolist(), dtype)


def test_an_image_has_the_same_bits_each_time_and_in_every_batch() -> None:
    images, indices = noise(146, 146).to(CUDA), np.arange(len(SIGMAS))
    chosen, sigmas = transform(torch.bfloat16), SIGMAS.numpy()
    once = chosen.train(images, indices, 0, Assignment.gaussian(sigmas))
    assert torch.equal(once, chosen.train(images, indices, 0, Assignment.gaussian(sigmas)))
    for k in indices:
        alone = chosen.train(images[k : k + 1], indices[k : k + 1], 0, Assignment.gaussian(sigmas[k : k + 1]))
        assert torch.equal(alone[0], once[k])


@pytest.mark.parametrize("sigma", [0.0, 8.0, None], ids=["clear", "one sigma", "sigmas"])
def test_nothing_waits_for_the_device(sigma: float | None) -> None:
    images, indices = noise(146, 146).to(CUDA), np.arange(len(SIGMAS))
    assignment = Assignment.gaussian(SIGMAS.numpy() if sigma is None else np.full(len(SIGMAS), sigma))
    chosen = transform(torch.bfloat16)
    chosen.train(images, indices, 0, assignment)
    torch.cuda.set_sync_debug_mode("error")
    try:
        chosen.train(images, indices, 1, assignment)
    finally:
        torch.cuda.set_sync_debug_mode("default")
