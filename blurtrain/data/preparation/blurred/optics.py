"""How a scene is blurred for each of the four classes, at random: light to light, before the camera."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from blurtrain.blur.kernels import box, camera_shake, disk
from blurtrain.blur.point_spread import MAX_SIDE
from blurtrain.data.preparation.blurred.layers import (
    Kernel,
    Rng,
    Scene,
    blurred,
    composed,
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


class Kind(NamedTuple):
    """One way in which photos of a class are blurred."""

    share: float
    """Of the photos of its class."""
    layered: bool
    """One layer alone is blurred: it takes a scene in which that can be seen."""
    draw: Callable[[Scene, Rng, Sizes], Blurred]


def _as_it_is(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    return Blurred(scene.light, "sharp")


def _background_out_of_focus(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    radius = _radius(scene, rng, sizes)
    return Blurred(composed(scene, None, disk(radius, True)), f"background out of focus by {radius:.1f} px")


def _ground_out_of_focus(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    """Sharp at the foot of the subject, and less so the farther behind it, or before it."""
    radius = _radius(scene, rng, sizes)
    ground = _defocused(scene, receding(scene, rng).abs(), 0, radius)
    words = f"background out of focus by up to {radius:.1f} px, by distance from the subject"
    return Blurred(composed(scene, None, ground), words)


def _background_panned(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    kernel, words = _line(scene, rng, sizes, slope=10)
    return Blurred(composed(scene, None, kernel), f"panned, background {words}")


def _subject_out_of_focus(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    radius = _radius(scene, rng, sizes)
    return Blurred(composed(scene, disk(radius, True), None), f"subject out of focus by {radius:.1f} px")


def _subject_and_ground_out_of_focus(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    """In focus from the horizon on."""
    radius = _radius(scene, rng, sizes)
    ground = _defocused(scene, receding(scene, rng).clamp(min=0), radius, 0)
    words = f"subject out of focus by {radius:.1f} px, and the ground to the horizon"
    return Blurred(composed(scene, disk(radius, True), ground), words)


def _all_out_of_focus(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    radius = _radius(scene, rng, sizes)
    return Blurred(blurred(scene.light, disk(radius, True)), f"all out of focus by {radius:.1f} px")


def _all_out_of_focus_by_depth(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    radius, other, words = _two_radii(scene, rng, sizes)
    depth = smooth_map(rng, *scene.light.shape[1:])
    return Blurred(varied(lambda r: blurred(scene.light, disk(r, True)), depth, other, radius), f"by depth {words}")


def _both_out_of_focus(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    radius, other, words = _two_radii(scene, rng, sizes)
    pair = (radius, other) if rng.random() < 0.5 else (other, radius)
    return Blurred(composed(scene, disk(pair[0], True), disk(pair[1], True)), f"both layers {words}")


def _shaken(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    size = int(rng.integers(10, 33))
    kernel = camera_shake(size, int(rng.integers(2**31)))
    return _slightly_out_of_focus(blurred(scene.light, kernel), f"shaken within {size} px", rng)


def _moved(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    kernel, words = _line(scene, rng, sizes)
    return _slightly_out_of_focus(blurred(scene.light, kernel), words, rng)


def _moved_by_depth(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    length, angle = _length(scene, rng, sizes), rng.uniform(0, 180)
    depth = smooth_map(rng, *scene.light.shape[1:])
    least = max(sizes.least_length, length * rng.uniform(0.4, 1))
    light = varied(lambda x: blurred(scene.light, box(x, angle)), depth, least, length)
    return _slightly_out_of_focus(light, f"moved by {least:.1f} to {length:.1f} px at {angle:.0f} degrees", rng)


def _subject_moved(scene: Scene, rng: Rng, sizes: Sizes) -> Blurred:
    kernel, words = _line(scene, rng, sizes)
    return _slightly_out_of_focus(composed(scene, kernel, None), f"subject {words}", rng)


CLASSES = {
    "defocused_blurred": (
        Kind(0.4, False, _all_out_of_focus),
        Kind(0.3, False, _all_out_of_focus_by_depth),
        Kind(0.3, True, _both_out_of_focus),
    ),
    "defocused_object_portrait": (
        Kind(0.6, True, _subject_out_of_focus),
        Kind(0.4, True, _subject_and_ground_out_of_focus),
    ),
    "motion_blurred": (
        Kind(0.3, False, _shaken),
        Kind(0.25, False, _moved),
        Kind(0.2, False, _moved_by_depth),
        Kind(0.25, True, _subject_moved),
    ),
    "sharp": (
        Kind(0.25, False, _as_it_is),
        Kind(0.3, True, _background_out_of_focus),
        Kind(0.3, True, _ground_out_of_focus),
        Kind(0.15, True, _background_panned),
    ),
}
"""The shares of a class sum to 1."""


def kind_of(name: str, rng: Rng) -> Kind:
    """One kind of a class, drawn by their shares."""
    kinds = CLASSES[name]
    return kinds[int(rng.choice(len(kinds), p=[kind.share for kind in kinds]))]


def _defocused(scene: Scene, depth: Tensor, near: float, far: float) -> Tensor:
    """The background [3, H, W] out of focus by radii, in pixels, from `near` where the depth [H, W] is 0 to `far` where
    it is 1; 0 for sharp."""

    def at(radius: float) -> Tensor:
        return scene.background if radius == 0 else blurred(scene.background, disk(radius, True))

    return varied(at, depth, near, far, levels=5)


def _slightly_out_of_focus(light: Tensor, words: str, rng: Rng) -> Blurred:
    """A fifth of what moved."""
    if rng.random() < 0.2:
        return Blurred(blurred(light, disk(1.5, True)), f"{words}, and out of focus by 1.5 px")
    return Blurred(light, words)


def _between(rng: Rng, low: float, high: float, most: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(min(most, max(low, high))))))


def _radius(scene: Scene, rng: Rng, sizes: Sizes) -> float:
    return _between(rng, sizes.least_radius, sizes.most_radius * max(scene.light.shape), MAX_SIDE // 2 - 2)


def _two_radii(scene: Scene, rng: Rng, sizes: Sizes) -> tuple[float, float, str]:
    """The second is half of the first, or more."""
    radius = _radius(scene, rng, sizes)
    other = max(sizes.least_radius, radius * rng.uniform(0.5, 1))
    return radius, other, f"out of focus by {other:.1f} to {radius:.1f} px"


def _length(scene: Scene, rng: Rng, sizes: Sizes) -> float:
    return _between(rng, sizes.least_length, sizes.most_length * max(scene.light.shape), MAX_SIDE - 4)


def _line(scene: Scene, rng: Rng, sizes: Sizes, slope: float = 90) -> tuple[Kernel, str]:
    """Motion along a line of at most so many degrees."""
    length, angle = _length(scene, rng, sizes), rng.uniform(-slope, slope)
    return box(length, angle), f"moved by {length:.1f} px at {angle:.0f} degrees"
