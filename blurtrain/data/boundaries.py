"""Where the boundaries of classes run in a mask."""

import numpy as np
from numpy.typing import NDArray

from blurtrain.tasks.segmentation import VOID

DISTANCE = 4
"""Pixels, between the centres of two, that count as near (Vasiljevic et al. 2016)."""


def near_boundaries(mask: NDArray[np.uint8], distance: int = DISTANCE) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pixels of a mask [H, W] have one of another class within `distance` (a disk), two arrays [H, W]: where
    VOID is no class, and where it is one.

    Data sets differ in that: VOC draws a line of void along its boundaries, so that few pixels are near another class
    in the first sense; others draw none. Void pixels themselves are near nothing in either.
    """
    known = mask != VOID
    near_class, near_any = np.zeros_like(known), np.zeros_like(known)
    around = np.pad(mask, distance, "edge")  # what lies beyond the border is at least as near within
    height, width = mask.shape
    steps = range(-distance, distance + 1)
    for down, across in ((d, a) for d in steps for a in steps if 0 < d * d + a * a <= distance * distance):
        top, left = distance + down, distance + across
        other = around[top : top + height, left : left + width]
        differs = other != mask
        near_any |= differs
        near_class |= differs & (other != VOID)
    return near_class & known, near_any & known
