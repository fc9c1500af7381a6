"""What a curriculum is: a settings section that decides which blur each image gets, as a pure function of how far the
training is, of a uniform draw of the image, and of one of its batch. `blurtrain.blur.curricula` holds those there are.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import SerializeAsAny

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blur import Blur
from blurtrain.documents import shown
from blurtrain.kinds import Kind

Draw = Literal["image", "batch"]
"""What has a draw of its own: each image, or each batch, whose blurred images then are all alike."""


@dataclass(frozen=True)
class Moment:
    """When images are shown, and what was drawn for them; the arrays are of one shape."""

    epoch: int
    """0-based."""
    epochs: int
    within: NDArray[np.float64]
    """How much of the epoch is over as an image's batch begins: step / steps an epoch."""
    images: NDArray[np.float64]
    """Draws of the images, uniform in 0..1."""
    batches: NDArray[np.float64]
    """Draws of their batches, uniform in 0..1."""

    @property
    def progress(self) -> float:
        """0 in the first epoch, 1 in the last."""
        return self.epoch / (self.epochs - 1) if self.epochs > 1 else 0.0

    def drawn(self, draw: Draw) -> NDArray[np.float64]:
        """The draws of whatever draws, uniform in 0..1, one an image."""
        return self.batches if draw == "batch" else self.images


class Curriculum(Kind):
    """Which blur each image gets. A user's own derives from this, adds its fields, and defines `sigma_at`
    (or `decide`, where it gives other blurs than Gaussians)."""

    discriminator: ClassVar[str] = "schedule"
    schedule: str

    def assign(
        self, epoch: int, epochs: int, *, within: ArrayLike, images: ArrayLike, batches: ArrayLike
    ) -> Assignment:
        """Blurs of images of epoch `epoch` (0-based) out of `epochs`.

        within: how much of the epoch is over as an image's batch begins, step / steps an epoch; images, batches: draws
        of the image and of its batch, uniform in 0..1. Their shapes are broadcast, e.g. [steps, 1], [steps, N],
        [steps, 1] to [steps, N]. Schedules without chance give all images of a batch the same. Where levels are drawn,
        the smallest draws take the blurriest (or the first of `blurs`), so that stratified draws give stratified
        levels. Raises ValueError for an epoch outside the run.
        """
        if not 0 <= epoch < epochs:
            raise ValueError(f"epoch {epoch} is not among {epochs} epochs")
        arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, np.float64)) for x in (within, images, batches)))
        shape = np.broadcast_shapes(np.shape(within), np.shape(images), np.shape(batches))
        return self.decide(Moment(epoch, epochs, *arrays)).reshape(*shape)

    def decide(self, at: Moment) -> Assignment:
        """`assign`, of arrays that have one shape already."""
        return Assignment.gaussian(np.full(at.images.shape, self.sigma_at(at)))

    def sigma_at(self, at: Moment) -> float | NDArray[np.float64]:
        """Sigma, in pixels at the reference resolution: one, or one an image, of the shape of `at.images`."""
        raise NotImplementedError(f"{type(self).__name__} must define `sigma_at` or `decide`")

    def used(self) -> tuple[Blur, ...]:
        """The blurs that it may give, beside Gaussians of its sigmas."""
        return ()

    def lacking(self, epochs: int) -> str:
        """What of the curriculum never comes in a run of `epochs` epochs, as too few; empty: nothing."""
        return ""

    def shortfall(self, epochs: int) -> str:
        """The same as a line for the user; empty: nothing is missing."""
        if not epochs or not (missing := self.lacking(epochs)):  # without any, nothing is trained
            return ""
        return f"too few epochs ({epochs}) for the {self.schedule} curriculum, which never gets to {missing}"

    def feature_sigma(self, epoch: int) -> float:
        """Blur of feature maps in feature pixels in this epoch; 0: none."""
        return 0.0

    def feature_sigma_at_test(self, epochs: int) -> float:
        """The same in an evaluation after `epochs` epochs."""
        return 0.0

    @property
    def one_draw_a_batch(self) -> bool:
        """Whether what is drawn is drawn for each batch, and not for each image."""
        return getattr(self, "draw", "image") == "batch"

    def describe(self, without: str = "schedule") -> str:
        """The schedule, and in what it differs from that schedule's defaults: `constant sigma=4`. (`without`: a setting
        that says nothing.)"""
        fields = type(self).model_fields
        values = {name: value for name in fields if (value := getattr(self, name)) != fields[name].default}
        for name in ("schedule", without):
            values.pop(name, None)
        return " ".join([self.schedule, *(f"{name}={shown(value)}" for name, value in values.items())])


AnyCurriculum = SerializeAsAny[Curriculum]
"""What a settings field takes: a mapping with `schedule`."""
