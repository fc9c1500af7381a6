"""The original study's data path, as its code has it: Pillow and torchvision in worker processes, kornia on batches."""

# ruff: noqa: I001  (torchvision_ops comes before torchvision)

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
from torchvision import datasets, transforms
from torchvision.transforms import functional
from torchvision.transforms import InterpolationMode


def original_loader(
    images: Path,
    resolution: int,
    colour: float,
    erasing: float,
    mean: Sequence[float],
    sd: Sequence[float],
    batch: int,
    workers: int,
) -> Any:
    """A DataLoader of the class folders in `images`: resize, random crop, colour operations (each with probability
    `colour`; 0: none), flip, normalisation, erasing (with probability `erasing`); sharp float32 images and labels."""
    stages = [
        transforms.Resize((round(resolution * 8 / 7),) * 2),
        transforms.RandomResizedCrop(resolution, scale=(0.5, 1.0), interpolation=InterpolationMode.BICUBIC),
        *([transforms.RandomOrder(_colour_operations(colour))] if colour else []),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(list(mean), list(sd)),
        *([transforms.RandomErasing(erasing, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0)] if erasing else []),
    ]
    dataset = datasets.ImageFolder(str(images), transforms.Compose(stages))
    return DataLoader(dataset, batch, shuffle=True, num_workers=workers, persistent_workers=True)


def _colour_operations(probability: float) -> list[Any]:
    jitters = [{"brightness": 0.2}, {"contrast": 0.2}, {"saturation": 0.2}, {"hue": 0.2}]
    return [
        *(transforms.RandomApply([transforms.ColorJitter(**jitter)], probability) for jitter in jitters),
        transforms.RandomEqualize(probability),
        transforms.RandomPosterize(4, probability),
        transforms.RandomAutocontrast(probability),
    ]


def original_blur(images: Tensor, sigma: float, taps: int) -> Tensor:
    """Gaussian blur of images [N, 3, H, W], sigma in their pixels, by kornia or, where that is not installed, by
    torchvision."""
    if importlib.util.find_spec("kornia") is None:
        return functional.gaussian_blur(images, [taps, taps], [sigma, sigma])
    import kornia

    return kornia.filters.gaussian_blur2d(images, (taps, taps), (sigma, sigma))
