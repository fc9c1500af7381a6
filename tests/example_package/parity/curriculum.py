"""A curriculum: which blur each image gets. (Settings are checked without torch, so it is not imported here.)"""

import numpy as np

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blur import Blur
from blurtrain.blur.blurs import AnyBlur, Sharp
from blurtrain.blur.curriculum import Curriculum, Moment


class Alternating(Curriculum):
    """`blur` in the epochs of odd number, counted from 1; sharp images in the others."""

    blur: AnyBlur

    def decide(self, at: Moment) -> Assignment:
        sharp = at.epoch % 2 == 1
        return Assignment.of(self.used(), np.full(at.images.shape, 1 if sharp else 0))

    def used(self) -> tuple[Blur, ...]:
        return (self.blur, Sharp())
