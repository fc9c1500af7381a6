"""Fewer pixels for epochs whose blur leaves little of them."""

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.resampling import scaled
from blurtrain.settings.sections import Reduced

MULTIPLE = 32
"""Sides are multiples of it, as of most networks' strides."""


def reduced_side(reduced: Reduced | None, assignment: Assignment, resolution: int, reference_resolution: int) -> int:
    """The side in pixels that images of this assignment are trained at: the smallest multiple of 32, and at least
    `least_resolution`, where the least of the sigmas (pixels at `reference_resolution`) is still `least_sigma` pixels.

    `resolution` itself where that is not more, and where not all images have a Gaussian.
    """
    if reduced is None or assignment.which is not None or not assignment.sigmas.size:
        return resolution
    least, sides = float(assignment.sigmas.min()), range(reduced.least_resolution, resolution, MULTIPLE)
    return next((s for s in sides if scaled(least, s, reference_resolution) >= reduced.least_sigma), resolution)
