"""Sine gratings, and what the responses of units to them say of spatial frequency and orientation."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ORIENTATIONS, FREQUENCIES, PHASES = 15, 25, 4
GREY = 127.5
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gratings:
    """All gratings of a size, of full contrast around a mid grey."""

    side: int
    """Pixels."""

    @property
    def orientations(self) -> Array:
        """Degrees, 0 to 168: of the direction in which the wave runs, from along a row (0: vertical stripes) towards
        the bottom."""
        return np.arange(ORIENTATIONS) * 180 / ORIENTATIONS

    @property
    def frequencies(self) -> Array:
        """Cycles a pixel, from two an image to one in two pixels, in equal steps of octaves."""
        return np.geomspace(2 / self.side, 0.5, FREQUENCIES)

    def at(self, orientation: int) -> Tensor:
        """[frequencies * phases, 3, side, side] in 0..255, of one orientation: all phases of a frequency together."""
        angle = math.radians(float(self.orientations[orientation]))
        axis = torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2
        along = axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle)
        frequencies = torch.from_numpy(self.frequencies)[:, None, None, None]
        phases = (torch.arange(PHASES, dtype=torch.float64) * 2 * math.pi / PHASES)[None, :, None, None]
        waves = GREY + GREY * (2 * math.pi * frequencies * along + phases).cos()
        return waves.flatten(0, 1).float()[:, None].expand(-1, 3, -1, -1)


def responses(outcome: Tensor, grey: Tensor) -> Tensor:
    """[frequencies, channels], of feature maps [frequencies * phases, C, h, w]: how far they exceed that of a uniform
    grey [1, C, h, w], and 0 where they do not; mean over phases and over the middle half of rows and columns, which
    padding reaches least."""
    height, width = outcome.shape[-2:]
    rows, columns = (slice(side // 4, side - side // 4) for side in (height, width))
    more = (outcome[..., rows, columns] - grey[..., rows, columns]).clamp_min(0)
    return more.mean((2, 3)).view(-1, PHASES, outcome.shape[1]).mean(1)


@dataclass(frozen=True)
class Tuned:
    """Of each unit, arrays [N]; NaN where it does not respond to any grating."""

    frequency: Array
    """Cycles a pixel, of the grating that it responds to most."""
    orientation: Array
    """Degrees, of the same."""
    bandwidth: Array
    """Octaves between the frequencies, at this orientation, at which half the response is left; NaN also where it does
    not fall to half on both sides."""
    selectivity: Array
    """0: all orientations alike, 1: one alone; length of the mean of exp(2 i orientation), weighted by the responses at
    this frequency."""
    curves: Array
    """[N, frequencies]: responses at this orientation, the largest being 1."""


def tuned(tuning: Array, gratings: Gratings) -> Tuned:
    """What responses [N, orientations, frequencies], none of them negative, say."""
    count = len(tuning)
    units = np.arange(count)
    best = tuning.reshape(count, -1).argmax(1)
    orientation, frequency = best // FREQUENCIES, best % FREQUENCIES
    largest = tuning[units, orientation, frequency]
    responds = largest > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = tuning[units, orientation] / largest[:, None]
        around = tuning[units, :, frequency]
        vectors = around @ np.exp(2j * np.radians(gratings.orientations))
        selectivity = np.abs(vectors) / around.sum(1)
    curves[~responds] = np.nan
    return Tuned(
        np.where(responds, gratings.frequencies[frequency], np.nan),
        np.where(responds, gratings.orientations[orientation], np.nan),
        _half_widths(curves, frequency, gratings.frequencies),
        selectivity,
        curves,
    )


def _half_widths(curves: Array, best: NDArray[np.int64], frequencies: Array) -> Array:
    octaves = np.log2(frequencies)
    found = np.full(len(curves), np.nan)
    for k, (curve, peak) in enumerate(zip(curves, best.tolist(), strict=True)):
        ends = [_falls(curve[peak::-1], octaves[peak::-1]), _falls(curve[peak:], octaves[peak:])]
        if None not in ends:
            found[k] = ends[1] - ends[0]  # type: ignore[operator]
    return found


def _falls(curve: Array, octaves: Array) -> float | None:
    """Where a curve that begins at 1 first comes to a half; between two points, on the line between them."""
    below = np.flatnonzero(curve < 0.5)
    if not len(below):
        return None
    k = int(below[0])
    part = (curve[k - 1] - 0.5) / (curve[k - 1] - curve[k])
    return float(octaves[k - 1] + part * (octaves[k] - octaves[k - 1]))
