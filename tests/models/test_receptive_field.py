"""Theoretical receptive fields: closed forms, and what a probe finds that shows which inputs reach a unit."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blurtrain.models import build
from blurtrain.models.receptive_field import receptive_fields

SIDE = 48


def sizes(name: str, side: int = 224) -> dict[str, float]:
    """By layer; on torch's meta device, where nothing is computed."""
    arguments = {"init_weights": False} if "inception" in name else {}
    with torch.device("meta"):
        module, images = build(name, 2, arguments), torch.zeros(1, 3, side, side)
    return {layer: field.rows.size for layer, field in receptive_fields(module, images).items()}


def test_alexnet_is_as_published() -> None:
    found = sizes("alexnet")
    assert [found[f"features.{k}"] for k in (0, 3, 6, 8, 10, 12)] == [11, 51, 99, 131, 163, 195]


# Sizes from Araujo, Norris & Sim (2019) where they have the same network; ResNet by their formula.
@pytest.mark.parametrize(("name", "side", "layer", "size"), [
    ("vgg-16", 64, "features.30", 212),
    ("resnet-18", 64, "layer4.1.conv2", 435),
    ("resnet-50", 64, "layer4.2.conv3", 427),
    ("torchvision/mobilenet_v2", 64, "features.18.0", 491),
    ("torchvision/inception_v3", 128, "Mixed_7c.branch3x3dbl_3b.conv", 1311),
])  # fmt: skip
def test_closed_forms(name: str, side: int, layer: str, size: int) -> None:
    assert sizes(name, side)[layer] == size


class Skips(nn.Module):
    """A residual branch, dilation, different kernels by axis, functional pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.branch = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.wide = nn.Conv2d(4, 4, (1, 5), padding=(0, 2))
        self.last = nn.Conv2d(8, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem(images))
        x = x + self.branch(F.relu(x, inplace=False))
        both = torch.cat([self.wide(x), F.max_pool2d(x, 3, 1, 1)], dim=1)
        found: Tensor = self.last(both)
        return found


class Padded(nn.Module):
    """Asymmetric padding, slices, average pooling, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 4, stride=3)
        self.mix = nn.Linear(4, 4)
        self.last = nn.Conv2d(4, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(F.pad(images, (1, 2, 0, 3)))
        x = F.avg_pool2d(x, 2, 1)[:, :, 1:, ::2]
        x = self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        found: Tensor = self.last(F.batch_norm(x, torch.zeros(4).to(x), torch.ones(4).to(x)))
        return found


def reaching(module: nn.Module, unit: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Rows and columns of the image from which NaN reaches a unit: in double precision, in which torch convolves
    without transforms that would spread it."""
    module = module.double().eval()
    found = []
    with torch.no_grad():
        for axis in (2, 3):
            images = torch.zeros(SIDE, 3, SIDE, SIDE, dtype=torch.float64)
            for k in range(SIDE):
                images[k].select(axis - 1, k).fill_(float("nan"))
            reached = module(images)[:, :, unit[0], unit[1]].isnan().any(1)
            found.append(reached.nonzero()[:, 0].tolist())
    return found[0], found[1]


@pytest.mark.parametrize("make", [Skips, Padded])
def test_every_pixel_of_the_field_and_no_other_reaches_the_unit(make: Callable[[], nn.Module]) -> None:
    module = make()
    field = receptive_fields(module, torch.zeros(1, 3, SIDE, SIDE))["last"]
    for unit in ((0, 0), (field.places[0] // 2, field.places[1] // 2), (field.places[0] - 1, 1)):
        for span, k, seen in zip((field.rows, field.columns), unit, reaching(module, unit), strict=True):
            first = span.start + k * span.stride
            ends = max(first, 0), min(first + span.size, SIDE) - 1
            assert (seen[0], seen[-1]) == ends, f"{make.__name__}, unit {unit}"


def test_the_shortest_path_is_known_beside_the_longest() -> None:
    field = receptive_fields(Skips(), torch.zeros(1, 3, SIDE, SIDE))["last"]
    # stem 5; then 1 or 1 + 4 steps of 2 px; then 1 (the convolution's rows) or 3 by pooling; last 3
    assert (field.rows.size, field.rows.least) == (5 + 8 + 4 + 4, 5 + 0 + 0 + 4)
    assert (field.columns.size, field.columns.least) == (5 + 8 + 8 + 4, 5 + 0 + 4 + 4)


class Gated(nn.Module):
    """Squeeze and excite: behind it, every unit depends on all of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        found: Tensor = self.last(x * self.gate(F.adaptive_avg_pool2d(x, 1)).sigmoid())
        return found


def test_what_is_global_sees_the_whole_image() -> None:
    fields = receptive_fields(Gated(), torch.zeros(1, 3, SIDE, SIDE))
    assert not fields["stem"].is_whole and fields["gate"].is_whole and fields["last"].is_whole
    assert fields["last"].rows.size == SIDE + 2, "with the padding"
    linear = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * SIDE**2, 2))
    assert receptive_fields(linear, torch.zeros(1, 3, SIDE, SIDE))["2"].is_whole
    # FFTs keep shapes, and mix places: what is not known counts as if it depended on all.
    assert receptive_fields(Mixed(), torch.zeros(1, 3, SIDE, SIDE))["last"].is_whole


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.last(torch.fft.fft2(images).real)
        return found


def test_adaptive_pooling_counts_its_largest_bin() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(5))
    field = receptive_fields(module, torch.zeros(1, 3, 13, 13))["1"]
    widths = [int(np.ceil((k + 1) * 13 / 5)) - k * 13 // 5 for k in range(5)]
    assert field.rows.size == max(widths) == 4 and field.rows.stride == 13 / 5


def test_the_middle_of_a_field() -> None:
    field = receptive_fields(nn.Sequential(nn.Conv2d(3, 2, 5, stride=2, padding=2)), torch.zeros(1, 3, 32, 32))["0"]
    assert field.centre((8, 3)) == (16, 6)
