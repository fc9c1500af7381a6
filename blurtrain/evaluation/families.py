"""Families of kernels that widen by one number, so that each image can be blurred by a member of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import REFERENCE, Blur, Box, Disk, Gaussian, KernelBlur
from blurtrain.blur.convolution import convolve_each
from blurtrain.blur.light import linear_light, srgb
from blurtrain.blur.operators import gaussian_blur_each
from blurtrain.blur.resampling import resampled
from blurtrain.data.augment import Transform

ANGLES = (0, 45, 90, 135)


@dataclass(frozen=True)
class Family:
    """Kernels of one form."""

    name: str
    length: str
    """What its members differ in: sigma, radius, length; pixels at 224."""
    times: float
    """That length, by the standard deviation of the kernel along the axis where it is widest."""
    member: Callable[[float], Blur]
    """The blur of a length."""

    def blurred(self, images: Tensor, lengths: NDArray[np.float64], transform: Transform) -> Tensor:
        """Images [N, C, H, W] in 0..255 at the transform's resolution, each blurred by the member of its own length
        [N]; in 0..255 again, not rounded (but where they are deblurred)."""
        units, resolution = transform.blur, transform.resolution
        light = linear_light(images) if units.linear_light else images
        if self.member is _gaussian:
            light = gaussian_blur_each(light, lengths * resolution / REFERENCE, units.truncate)
        else:
            kernels = {length: self._kernel(length, resolution) for length in np.unique(lengths).tolist()}
            light = convolve_each(light, [kernels[length] for length in lengths.tolist()])
        pixels = srgb(light) if units.linear_light else light
        if transform.deblur is None:
            return pixels
        for length in np.unique(lengths).tolist():
            own = torch.from_numpy(np.flatnonzero(lengths == length)).to(pixels.device)
            pixels[own] = transform.deblurred(pixels[own], self.member(length), np.zeros(len(own), np.int64))
        return pixels

    def _kernel(self, length: float, resolution: int) -> NDArray[np.float64]:
        member = self.member(length)
        assert isinstance(member, KernelBlur)
        return resampled(member.point_spread(0), resolution / member.at)


def _gaussian(sigma: float) -> Blur:
    return Gaussian(sigma=sigma)


def _disk(radius: float) -> Blur:
    return Disk(radius=radius, edge="antialiased")  # a hard one does not change with every radius


def _box(angle: float) -> Callable[[float], Blur]:
    return lambda length: Box(length=length, angle=angle)


FAMILIES = {
    "gaussian": (Family("gaussian", "sigma", 1.0, _gaussian),),
    "disk": (Family("disk", "radius", 2.0, _disk),),
    "box": tuple(Family(f"box-at-{angle}", "length", math.sqrt(12), _box(angle)) for angle in ANGLES),
}
"""By the name that options use."""
