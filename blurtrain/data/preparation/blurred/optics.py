"""How a scene is blurred for each of the four classes, at random: light to light, before the camera."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from blurtrain.blur.kernels import box, camera_shake, disk
from blurtrain.data.preparation.blurred.layers import (
    Kernel,
    Rng,
    Scene,
    blurred,
    composed,
    distinguishable,
    receding,
    smooth_map,
    varied,
)


class Sizes(NamedTuple):
    """How much blur there is, at random: as likely from one to twice as from twice to four times. Pixels, and shares of
    the longer side of the photo."""

    least_radius: float = 2.0
    most_radius: float = 0.03
    least_length: float = 7.0
    most_length: float = 0.06


class Blurred(NamedTuple):
    """A blurred scene."""

    light: Tensor
    """[3, H, W]."""
    how: str
    """In words, for the list of what has been drawn."""


def sharp(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    """Nothing blurred; or the background alone: out of focus (a portrait), or panned."""
    kind = rng.random()
    if kind < 0.25 or not distinguishable(scene):
        return Blurred(scene.light, "sharp")
    if kind < 0.85:
        radius = _radius(scene, rng, sizes)
        if kind < 0.55:
            return Blurred(composed(scene, None, disk(radius, True)), f"background out of focus by {radius:.1f} px")
        ground = _by_distance(scene, rng, 0, radius)
        return Blurred(composed(scene, None, ground), f"background out of focus by up to {radius:.1f} px, by distance")
    kernel, words = _line(scene, rng, sizes, slope=10)
    return Blurred(composed(scene, None, kernel), f"panned, background {words}")


def defocused_object_portrait(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    """The subject out of focus, its background sharp."""
    radius = _radius(scene, rng, sizes)
    if rng.random() < 0.6:
        return Blurred(composed(scene, disk(radius, True), None), f"subject out of focus by {radius:.1f} px")
    ground = _by_distance(scene, rng, radius, 0)
    words = f"subject out of focus by {radius:.1f} px, and so is the ground before it"
    return Blurred(composed(scene, disk(radius, True), ground), words)


def defocused_blurred(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    """All out of focus: alike, by depth, or the subject otherwise than its background."""
    radius, kind = _radius(scene, rng, sizes), rng.random()
    if kind < 0.4:
        return Blurred(blurred(scene.light, disk(radius, True)), f"all out of focus by {radius:.1f} px")
    other = max(sizes.least_radius, radius * rng.uniform(0.5, 1))
    words = f"out of focus by {other:.1f} to {radius:.1f} px"
    if kind < 0.7:
        depth = smooth_map(rng, *scene.light.shape[1:])
        light = varied(lambda r: blurred(scene.light, disk(r, True)), depth, other, radius)
        return Blurred(light, f"by depth {words}")
    pair = (radius, other) if rng.random() < 0.5 else (other, radius)
    return Blurred(composed(scene, disk(pair[0], True), disk(pair[1], True)), f"both layers {words}")


def motion_blurred(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    """The camera moved along a line, or shook; or the subject moved. Sometimes a little out of focus besides."""
    kind = rng.random()
    kernel: Kernel
    if kind < 0.3:
        size = int(rng.integers(10, 33))
        kernel, words = camera_shake(size, int(rng.integers(2**31))), f"shaken within {size} px"
    else:
        kernel, words = _line(scene, rng, sizes)
    if kind < 0.55:
        light = blurred(scene.light, kernel)
    elif kind < 0.75 or not distinguishable(scene):
        length, angle = _length(scene, rng, sizes), rng.uniform(0, 180)
        depth = smooth_map(rng, *scene.light.shape[1:])
        least = max(sizes.least_length, length * rng.uniform(0.4, 1))
        light = varied(lambda x: blurred(scene.light, box(x, angle)), depth, least, length)
        words = f"moved by {least:.1f} to {length:.1f} px at {angle:.0f} degrees"
    else:
        light, words = composed(scene, kernel, None), f"subject {words}"
    if rng.random() < 0.2:
        light, words = blurred(light, disk(1.5, True)), f"{words}, and out of focus by 1.5 px"
    return Blurred(light, words)


CLASSES = {
    "defocused_blurred": defocused_blurred,
    "defocused_object_portrait": defocused_object_portrait,
    "motion_blurred": motion_blurred,
    "sharp": sharp,
}


def _by_distance(scene: Scene, rng: Rng, near: float, far: float) -> Tensor:
    """The background [3, H, W] out of focus by radii from near to far, pixels, 0 for sharp."""

    def at(radius: float) -> Tensor:
        return scene.background if radius == 0 else blurred(scene.background, disk(radius, True))

    return varied(at, receding(rng, *scene.light.shape[1:]), near, far, levels=5)


def _between(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def _radius(scene: Scene, rng: Rng, sizes: Sizes) -> float:
    return _between(rng, sizes.least_radius, sizes.most_radius * max(scene.light.shape))


def _length(scene: Scene, rng: Rng, sizes: Sizes) -> float:
    return _between(rng, sizes.least_length, sizes.most_length * max(scene.light.shape))


def _line(scene: Scene, rng: Rng, sizes: Sizes, slope: float = 90) -> tuple[Kernel, str]:
    """Motion along a line of at most so many degrees."""
    length, angle = _length(scene, rng, sizes), rng.uniform(-slope, slope)
    return box(length, angle), f"moved by {length:.1f} px at {angle:.0f} degrees"
