"""The blur curricula that a run can be told to follow; `blurtrain.blur.curriculum` says what each means.

Sigmas are in pixels at the reference resolution (224 unless `blur.reference_resolution` says otherwise).
"""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from blurtrain.schema import Probability, Section, Sigma, added_later


class ConstantBlur(Section):
    """The same sigma throughout."""

    schedule: Literal["constant"] = "constant"
    sigma: Sigma = 0.0


class StepwiseBlur(Section):
    """One level after the other, as in the blurry-to-clear study (Jenkins et al. 2025); two levels are a single step,
    and rising levels the reversed order."""

    schedule: Literal["stepwise"] = "stepwise"
    sigmas: tuple[Sigma, ...] = Field((8.0, 4.0, 2.0, 1.0, 0.0), min_length=1)
    epochs_per_level: float | None = added_later(None, gt=0)
    """None: the levels share the run equally. A number: so long each, and the last to the end of the run."""


class LinearBlur(Section):
    """From `start` to `end` in equal steps, one an epoch."""

    schedule: Literal["linear"] = "linear"
    start: Sigma = 8.0
    end: Sigma = 0.0


class CosineBlur(Section):
    """From `start` to `end` along half a cosine: slow at both ends."""

    schedule: Literal["cosine"] = "cosine"
    start: Sigma = 8.0
    end: Sigma = 0.0


class GeometricBlur(Section):
    """`start`, times `factor` every `every_epochs` (Yoshihara et al. 2023: x 0.9 every 5)."""

    schedule: Literal["geometric"] = "geometric"
    start: Sigma = 4.0
    factor: float = Field(0.9, gt=0, le=1)
    every_epochs: float = Field(5.0, gt=0)


class MixBlur(Section):
    """Each image at a level of its own, drawn with these probabilities (Jang & Tong 2024: strong and weak blur)."""

    schedule: Literal["mix"] = "mix"
    sigmas: tuple[Sigma, ...] = Field((0.0, 1.0, 2.0, 4.0, 8.0), min_length=1)
    probabilities: tuple[Probability, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)

    @model_validator(mode="after")
    def _is_a_distribution(self) -> "MixBlur":
        if len(self.sigmas) != len(self.probabilities):
            raise ValueError(f"{len(self.sigmas)} sigmas but {len(self.probabilities)} probabilities")
        if not math.isclose(sum(self.probabilities), 1, abs_tol=1e-6):
            raise ValueError(f"probabilities add up to {sum(self.probabilities):g}, not to 1")
        return self


class UniformBlur(Section):
    """Each image at a sigma of its own, uniform in low..high (Yoshihara et al. 2023: 0..5)."""

    schedule: Literal["uniform"] = "uniform"
    low: Sigma = 0.0
    high: Sigma = 5.0

    @model_validator(mode="after")
    def _is_an_interval(self) -> "UniformBlur":
        if self.low > self.high:
            raise ValueError(f"low={self.low:g} is more than high={self.high:g}")
        return self


class HalfBatchBlur(Section):
    """One half of each batch at `sigma`, the other sharp (Yoshihara et al. 2023: blurred-and-sharp mix)."""

    schedule: Literal["half-batch"] = "half-batch"
    sigma: Sigma = 4.0


class ReplayBlur(Section):
    """Levels of equal duration, in each of which the earlier ones come again (Visual Acuity Curriculum, 2025).

    At level k an image gets level j <= k with a probability proportional to the epochs up to the end of level j.
    """

    schedule: Literal["replay"] = "replay"
    sigmas: tuple[Sigma, ...] = Field((8.0, 4.0, 2.0, 1.0, 0.0), min_length=1)


class FadingBlur(Section):
    """Each image at `sigma` with probability a * exp(-rate * epoch), else sharp (Visual Acuity Curriculum, 2025)."""

    schedule: Literal["fading"] = "fading"
    sigma: Sigma = 4.0
    a: Probability = 1.0
    rate: float = Field(0.05, ge=0)
    """Per epoch."""


class DevelopmentalBlur(Section):
    """Visual acuity by age: 18.06 exp(-0.79 m) + 1.60 exp(-0.027 m) pixels at 224, m in months (Developmental Visual
    Diet, 2026; of it the acuity alone). An epoch has the age that it begins with; the source ages with every batch."""

    schedule: Literal["developmental"] = "developmental"
    months_per_epoch: float = Field(2.0, gt=0)


class FeatureSmoothing(Section):
    """Blur of feature maps, not of images: after every convolution a Gaussian of `sigma` feature pixels, times `factor`
    every `every_epochs` (Curriculum by Smoothing, Sinha et al. 2020). Images stay sharp."""

    schedule: Literal["feature-smoothing"] = "feature-smoothing"
    sigma: Sigma = 1.0
    factor: float = Field(0.9, gt=0, le=1)
    every_epochs: float = Field(5.0, gt=0)
    kernel_size: int = Field(3, ge=3, le=15)

    @model_validator(mode="after")
    def _is_odd(self) -> "FeatureSmoothing":
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd")
        return self


Curriculum = Annotated[
    ConstantBlur
    | StepwiseBlur
    | LinearBlur
    | CosineBlur
    | GeometricBlur
    | MixBlur
    | UniformBlur
    | HalfBatchBlur
    | ReplayBlur
    | FadingBlur
    | DevelopmentalBlur
    | FeatureSmoothing,
    Field(discriminator="schedule"),
]
