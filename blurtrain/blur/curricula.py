"""The blur curricula that a run can be told to follow; `blurtrain.blur.curriculum` says what each means.

Sigmas are in pixels at the reference resolution (224 unless `blur.reference_resolution` says otherwise).
"""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from blurtrain.schema import Probability, Section, Sigma, added_later

Draw = Literal["image", "batch"]
"""What has a draw of its own: each image, or each batch, whose blurred images then are all alike."""
Length = Annotated[float, Field(gt=0)]


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

    def level(self, epoch: int, epochs: int) -> int:
        """Which of `sigmas` the 0-based `epoch` out of `epochs` has: that which it begins with."""
        if self.epochs_per_level is None:
            return _stage([1.0] * len(self.sigmas), epoch, epochs)
        return min(int(epoch // self.epochs_per_level), len(self.sigmas) - 1)


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
    """Levels that are drawn with these probabilities (Jang & Tong 2024: strong and weak blur)."""

    schedule: Literal["mix"] = "mix"
    sigmas: tuple[Sigma, ...] = Field((0.0, 1.0, 2.0, 4.0, 8.0), min_length=1)
    probabilities: tuple[Probability, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)
    draw: Draw = added_later("image")

    @model_validator(mode="after")
    def _is_a_distribution(self) -> "MixBlur":
        if len(self.sigmas) != len(self.probabilities):
            raise ValueError(f"{len(self.sigmas)} sigmas but {len(self.probabilities)} probabilities")
        if not math.isclose(sum(self.probabilities), 1, abs_tol=1e-6):
            raise ValueError(f"probabilities add up to {sum(self.probabilities):g}, not to 1")
        return self


class UniformBlur(Section):
    """Sigma uniform in low..high (Yoshihara et al. 2023: 0..5, of one half of each batch)."""

    schedule: Literal["uniform"] = "uniform"
    low: Sigma = 0.0
    high: Sigma = 5.0
    share: float = added_later(1.0, gt=0, le=1)
    """Share of each batch that is blurred at all; the rest is sharp. One half is exact in every batch of even size (of
    odd size: one image more or less); other shares hold on average."""
    draw: Draw = added_later("image")

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
    """Levels in each of which the earlier ones come again (Visual Acuity Curriculum, 2025).

    At level k, level j <= k is drawn with a probability proportional to the epochs up to the end of level j.
    """

    schedule: Literal["replay"] = "replay"
    sigmas: tuple[Sigma, ...] = Field((8.0, 4.0, 2.0, 1.0, 0.0), min_length=1)
    durations: tuple[Length, ...] | None = added_later(None)
    """Relative lengths of the levels, scaled to the run, so that [13, 27, 160] are epochs in a run of 200 and the same
    shares of any other. None: all equally long."""
    draw: Draw = added_later("image")

    @model_validator(mode="after")
    def _one_duration_a_level(self) -> "ReplayBlur":
        if self.durations is not None and len(self.durations) != len(self.sigmas):
            raise ValueError(f"{len(self.sigmas)} sigmas but {len(self.durations)} durations")
        return self

    def level(self, epoch: int, epochs: int) -> int:
        """How many of `sigmas` came before the one that the 0-based `epoch` out of `epochs` begins with."""
        return _stage(self._lengths(), epoch, epochs)

    def weights(self, level: int) -> list[float]:
        """What the probabilities of the levels 0..`level` are proportional to, while `level` is the newest."""
        return list(itertools.accumulate(self._lengths()))[: level + 1]

    def _lengths(self) -> Sequence[float]:
        return self.durations or [1.0] * len(self.sigmas)


class FadingBlur(Section):
    """`sigma` with probability a * exp(-rate * epoch), else sharp (Visual Acuity Curriculum, 2025, continuous)."""

    schedule: Literal["fading"] = "fading"
    sigma: Sigma = 4.0
    a: Probability = 1.0
    rate: float = Field(0.05, ge=0)
    """Per epoch."""
    draw: Draw = added_later("image")


class DevelopmentalBlur(Section):
    """Visual acuity by age: 18.06 exp(-0.79 m) + 1.60 exp(-0.027 m) pixels at 224, m in months (Developmental Visual
    Diet, 2026; of it the acuity alone, without contrast and colour). The authors' code has two digits more: 18.036,
    0.7934, 1.6012, 0.02705."""

    schedule: Literal["developmental"] = "developmental"
    months_per_epoch: float = Field(2.0, gt=0)
    ageing: Literal["epoch", "batch"] = added_later("epoch")
    """What the age grows with: `batch`, as in the source; `epoch`: all of an epoch has the age that it begins with."""


class FeatureSmoothing(Section):
    """Blur of feature maps, not of images: after convolutions a Gaussian of `sigma` feature pixels, times `factor`
    every `every_epochs` (Curriculum by Smoothing, Sinha et al. 2020). Images stay sharp."""

    schedule: Literal["feature-smoothing"] = "feature-smoothing"
    sigma: Sigma = 1.0
    factor: float = Field(0.9, gt=0, le=1)
    every_epochs: float = Field(5.0, gt=0)
    kernel_size: int = Field(3, ge=3, le=15)
    border: Literal["reflect", "zero"] = added_later("reflect")
    """What a kernel meets beyond the border of a feature map; the authors' code has zeros."""
    convolutions: Literal["all", "as-published"] = added_later("all")
    """After which convolutions. as-published: none of size 1 x 1 (in the authors' ResNets these are the shortcuts), and
    in a chain with poolings, as VGG is, only the last before each pooling."""
    at_test: bool = added_later(False)
    """Smooth in evaluation too, by the sigma of the last epoch, as the authors do: then the weights by themselves are
    not the whole network."""

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


def shortfall(curriculum: Curriculum, epochs: int) -> str:
    """What of `curriculum` is missing from a run of `epochs` epochs, as too few, in a line; empty: nothing."""
    missing = ""
    match curriculum:
        case StepwiseBlur() | ReplayBlur():
            seen = {curriculum.level(epoch, epochs) for epoch in range(epochs)}
            if isinstance(curriculum, ReplayBlur):
                seen = set(range(max(seen) + 1))  # a level that was passed over comes again with the next
            levels = enumerate(curriculum.sigmas)
            missing = ", ".join(f"level {k + 1} (sigma {sigma:g})" for k, sigma in levels if k not in seen)
        case LinearBlur() | CosineBlur():
            if epochs == 1 and curriculum.start != curriculum.end:
                missing = f"sigma {curriculum.end:g}"
        case GeometricBlur() | FeatureSmoothing():
            if epochs <= curriculum.every_epochs and curriculum.factor < 1:
                missing = f"any sigma below the first (the next begins after epoch {curriculum.every_epochs:g})"
        case _:
            pass
    if not missing:
        return ""
    return f"too few epochs ({epochs}) for the {curriculum.schedule} curriculum, which never gets to {missing}"


def _stage(lengths: Sequence[float], epoch: int, epochs: int) -> int:
    """In which of the stages of these relative lengths, scaled to a run of `epochs`, the 0-based `epoch` begins."""
    ends = list(itertools.accumulate(lengths))
    # A billionth of an epoch, because lengths like 0.1 and 0.2 do not add up to 0.3.
    return sum(epoch >= epochs * end / ends[-1] - 1e-9 for end in ends[:-1])
