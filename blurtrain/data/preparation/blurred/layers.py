"""A scene of two layers, subject and background, and how it looks when either is blurred."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from blurtrain.blur.convolution import convolve
from blurtrain.blur.kernels import disk, gaussian

Kernel = NDArray[np.float64] | None
"""A point-spread function; None: nothing is blurred."""
Rng = np.random.Generator
FEATHER = 0.7
"""Sigma, in pixels, by which edges of mattes are softened: masks have none, cameras no hard ones."""


class Scene(NamedTuple):
    """Linear light in 0..1."""

    light: Tensor
    """[3, H, W], subject and background as they were photographed."""
    matte: Tensor
    """[1, H, W]: how much of each pixel is the subject."""
    background: Tensor
    """[3, H, W]: with what could stand behind the subject."""


def scene_of(light: Tensor, mask: Tensor, behind: Tensor | None = None) -> Scene:
    """From light [3, H, W], and a mask [H, W] of the subject: 1 where it is.

    behind: another photo [3, H, W] to put the subject before; None: its own background, filled in behind it.
    """
    matte = blurred(mask[None].clamp(0, 1), gaussian(FEATHER))
    if behind is None:
        # A little around the subject is of both, and not taken for background.
        return Scene(light, matte, filled(light, (blurred(mask[None], gaussian(2.0)) < 0.02).float()))
    return Scene(matte * light + (1 - matte) * behind, matte, behind)


def blurred(layer: Tensor, kernel: Kernel) -> Tensor:
    """A layer [C, H, W] convolved with a kernel."""
    return layer if kernel is None else convolve(layer[None], kernel)[0]


def composed(scene: Scene, subject: Kernel, background: Kernel | Tensor) -> Tensor:
    """The scene [3, H, W] with each layer blurred by its own kernel; where the subject's edge is blurred, the
    background shows through it, blurred by its own. background: also the blurred background itself [3, H, W]."""
    if subject is None and background is None:
        return scene.light
    matte = blurred(scene.matte, subject)
    behind = background if isinstance(background, Tensor) else blurred(scene.background, background)
    return blurred(scene.light * scene.matte, subject) + (1 - matte) * behind


def distinguishable(scene: Scene) -> bool:
    """Whether blur of one layer alone would be seen, and be that of the photo's subject or of its background: the
    subject is a twelfth to three fifths of the photo, and has fine detail in a third of it, the background in half."""
    if not 1 / 12 <= float(scene.matte.mean()) <= 3 / 5:
        return False
    return _detailed(scene.light, scene.matte) > 1 / 3 and _detailed(scene.background, 1 - scene.matte) > 1 / 2


def _detailed(light: Tensor, where: Tensor) -> float:
    """Share of the squares of 16 px, of those mostly well within `where` [1, H, W], that a disk of radius 2 would
    change by 0.012 and more on average (of 0..1, as files store it)."""
    within = (blurred(where, disk(4.0, True)) > 0.99).float()  # without its own outline
    stored = light.clamp(0, 1) ** (1 / 2.2)
    change = (stored - blurred(stored, disk(2.0, True))).abs().mean(0, keepdim=True)
    weight = avg_pool2d(within[None], 16, ceil_mode=True)
    mean = avg_pool2d((change * within)[None], 16, ceil_mode=True) / weight.clamp(min=1e-6)
    known = mean[weight > 0.5]
    return float((known > 0.012).float().mean()) if len(known) else 0.0


def filled(light: Tensor, known: Tensor) -> Tensor:
    """Light [3, H, W] where it is known [1, H, W], elsewhere a smooth continuation (pull and push over halvings)."""
    if min(light.shape[1:]) < 2 or bool((known > 0).all()):
        return light
    weight = avg_pool2d(known[None], 2, ceil_mode=True)
    mean = avg_pool2d((light * known)[None], 2, ceil_mode=True) / weight.clamp(min=1e-6)
    coarse = filled(mean[0], (weight[0] > 0).float())
    spread = interpolate(coarse[None], light.shape[1:], mode="bilinear", align_corners=False)[0]
    return known * light + (1 - known) * spread


def varied(draw: Callable[[float], Tensor], depth: Tensor, low: float, high: float, levels: int = 3) -> Tensor:
    """Blur that varies over the photo: draw(x) is the photo [3, H, W] blurred by x; depth [H, W] in 0..1 goes from low
    to high. In between, neighbouring levels are mixed."""
    place = depth * (levels - 1)
    parts = [
        draw(low + (high - low) * level / (levels - 1)) * (1 - (place - level).abs()).clamp(min=0)
        for level in range(levels)
    ]
    return torch.stack(parts).sum(0)


def smooth_map(rng: Rng, height: int, width: int) -> Tensor:
    """[height, width] in 0..1: a slope in some direction with slow waves, as the depth of a ground or a room is."""
    angle, waves = rng.uniform(0, 2 * np.pi), torch.from_numpy(rng.uniform(-0.4, 0.4, (1, 1, 4, 4)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope = torch.from_numpy(np.cos(angle) * x + np.sin(angle) * y)
    found = slope + interpolate(waves, (height, width), mode="bicubic", align_corners=False)[0, 0]
    return ((found - found.min()) / (found.max() - found.min())).float()


def receding(scene: Scene, rng: Rng) -> Tensor:
    """[H, W] in -1..1: how far from the subject a ground is, on which it stands. 0 along a line (at random a little
    tilted) through its foot, 1 from the horizon up, which is a fifth to three fifths of the way to the upper border;
    by as much a row, negative below."""
    height, width = scene.light.shape[1:]
    rows = torch.nonzero(scene.matte[0].amax(1) > 0.5).flatten()
    foot = float(rows[-1] + 1) / height if len(rows) else 1.0
    horizon, tilt = foot * rng.uniform(0.4, 0.8), rng.uniform(-0.1, 0.1)
    y, x = np.mgrid[0 : 1 : height * 1j, -0.5 : 0.5 : width * 1j]
    return torch.from_numpy(((foot - y + tilt * x) / (foot - horizon)).clip(-1, 1).astype(np.float32))


def drawn_mask(rng: Rng, height: int, width: int) -> Tensor:
    """[height, width], 1 within what stands before the rest, where photos come without masks: one or two rounded shapes
    that may be cut off by borders, or all that is on one side of a line (a wall, a table). A fiftieth of the photo at
    least, and seven tenths at most, unless that has too few pixels."""
    for _ in range(100):
        if rng.random() < 0.25:
            found = _side(rng, height, width)
        else:
            shapes = [_rounded(rng, height, width) for _ in range(1 + (rng.random() < 0.3))]
            found = np.maximum.reduce(shapes)
        if 0.02 <= found.mean() <= 0.7:
            break
    return torch.from_numpy(found.astype(np.float32))


def _side(rng: Rng, height: int, width: int) -> NDArray[np.bool_]:
    """What is left or right of a line, or below it."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = rng.uniform(-30, 30) + rng.choice([0.0, 90.0, 180.0])  # of the direction in which it lies; 90: below
    along = np.cos(np.radians(angle)) * (x - 0.5) + np.sin(np.radians(angle)) * (y - 0.5)
    beside: NDArray[np.bool_] = along > rng.uniform(0.0, 0.35)
    return beside


def _rounded(rng: Rng, height: int, width: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    across, up = rng.uniform(0.08, 0.4), rng.uniform(0.12, 0.5)
    cx, cy = rng.uniform(0, 1), rng.uniform(0.3, 0.9) if rng.random() < 0.5 else 1 - rng.uniform(0, 0.6) * up
    angle = np.arctan2((y - cy) / up, (x - cx) / across)
    distance = np.hypot((x - cx) / across, (y - cy) / up)
    turns = np.arange(2, 7)
    waves = rng.normal(0, 0.25, len(turns)) / turns
    phases = rng.uniform(0, 2 * np.pi, len(turns))
    edge = 1 + (waves * np.cos(turns * angle[..., None] + phases)).sum(-1)
    inside: NDArray[np.bool_] = distance < edge
    return inside
