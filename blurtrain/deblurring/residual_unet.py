"""A network that restores images, blind to what has blurred them: a U-Net of residual blocks."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from blurtrain.errors import SettingsError, nearest

MOST = {"width": 512, "depth": 6}
"""What its arguments are at most; at least 1."""


def build_restoring(arguments: Mapping[str, Any]) -> "ResidualUNet":
    """A `ResidualUNet`, drawn from torch's random state; raises SettingsError, one line, for arguments that it does not
    take, or out of range."""
    for name, value in arguments.items():
        if name not in MOST:
            raise SettingsError(f"network.arguments.{name}: unknown to residual-unet; {nearest(name, MOST)}")
        if type(value) is not int or not 1 <= value <= MOST[name]:
            raise SettingsError(f"network.arguments.{name}: residual-unet takes 1 to {MOST[name]}, not {value!r}")
    return ResidualUNet(**arguments)


class ResidualUNet(nn.Module):
    """Images [N, 3, H, W] of 0..1 to what they were before they were degraded, of the same shape, in any range.

    As the denoiser of Zhang et al. 2021 (IEEE TPAMI 44, 6360: DRUNet), but small, and without a map of the noise:
    `depth` times two residual blocks and a convolution that halves the sides and doubles the channels, of which the
    first has `width`; then the way back, each step added to what there was at its size. Nothing normalises, so that an
    image comes out the same whatever batch it is in. It begins as the identity: the last convolution is zero, and what
    it gives is added to the image. Sides that 2^depth does not divide are continued by reflection.

    Raises SettingsError for images with a side of less than 2^depth pixels.
    """

    def __init__(self, width: int = 16, depth: int = 3):
        super().__init__()
        self.multiple = 2**depth
        widths = [*pairwise(width * 2**k for k in range(depth + 1))]
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(Residual(a), Residual(a), nn.Conv2d(a, b, 2, stride=2)) for a, b in widths
        )
        self.body = nn.Sequential(*(Residual(width * self.multiple) for _ in range(2)))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(b, a, 2, stride=2), Residual(a), Residual(a)) for a, b in reversed(widths)
        )
        self.tail = nn.Conv2d(width, 3, 3, padding=1)
        for part in (self.tail.weight, self.tail.bias):
            nn.init.zeros_(part)

    def forward(self, images: Tensor) -> Tensor:
        """Restored images [N, 3, H, W]; raises SettingsError where they are too small."""
        height, width = images.shape[-2:]
        if min(height, width) < self.multiple:
            raise SettingsError(f"images of {height} x {width} pixels are too small: at least {self.multiple} a side")
        below, beside = -height % self.multiple, -width % self.multiple
        padded = functional.pad(images, (0, beside, 0, below), mode="reflect")
        found = self.head(padded - 0.5)
        sizes: list[Tensor] = []
        for step in self.down:
            sizes.append(found)
            found = step(found)
        found = self.body(found)
        for step, before in zip(self.up, reversed(sizes), strict=True):
            found = step(found) + before
        return images + self.tail(found)[..., :height, :width]


class Residual(nn.Module):
    """Two convolutions of 3 x 3, whose outcome is added to what they are given."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Features [N, width, H, W], as they are given."""
        return features + self.second(torch.relu(self.first(features)))
