"""The curricula there are, by what their sources say. Sigmas are in pixels at the reference resolution (224 unless
`blur.reference_resolution` says otherwise)."""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blur import Blur
from blurtrain.blur.curriculum import AnyCurriculum, Curriculum, Draw, Moment
from blurtrain.blur.levels import Levels, OneBlur
from blurtrain.blur.sight import ADULT, Sight, acuity
from blurtrain.schema import Probability, Sigma, added_later

__all__ = ["AnyCurriculum", "Curriculum"]

_AGES_AN_EPOCH = 8
Length = Annotated[float, Field(gt=0)]
Sigmas = NDArray[np.float64]


class Constant(OneBlur):
    """The same blur throughout."""

    schedule: Literal["constant"] = "constant"
    sigma: Sigma = 0.0
    """In pixels at the reference resolution."""

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        if self.blur:
            return Assignment.of((self.blur,), np.zeros(at.images.shape, np.int64))
        return Assignment.gaussian(np.full(at.images.shape, self.sigma))


class Stepwise(Levels):
    """One level after the other, as in the blurry-to-clear study (Jenkins et al. 2025); two levels are a single step,
    and rising levels the reversed order."""

    schedule: Literal["stepwise"] = "stepwise"
    epochs_per_level: float | None = added_later(None, gt=0)
    """None: the levels share the run equally. A number: so long each, and the last to the end of the run."""

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        return self.at_levels(np.full(at.images.shape, self.level(at.epoch, at.epochs)))

    def level(self, epoch: int, epochs: int) -> int:
        """The place of the level that the 0-based `epoch` out of `epochs` has: that which it begins with."""
        count = len(self.names())
        if self.epochs_per_level is None:
            return _stage([1.0] * count, epoch, epochs)
        return min(int(epoch // self.epochs_per_level), count - 1)

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`."""
        return self.never({self.level(epoch, epochs) for epoch in range(epochs)})


class Between(Curriculum):
    """A schedule from one sigma to another."""

    start: Sigma = 8.0
    """Of the first epoch, in pixels at the reference resolution."""
    end: Sigma = 0.0
    """Of the last epoch."""

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`."""
        return f"sigma {self.end:g}" if epochs == 1 and self.start != self.end else ""


class Linear(Between):
    """From `start` to `end` in equal steps, one an epoch."""

    schedule: Literal["linear"] = "linear"

    def sigma_at(self, at: Moment) -> float:
        """See `Curriculum.sigma_at`."""
        return self.start + (self.end - self.start) * at.progress


class Cosine(Between):
    """From `start` to `end` along half a cosine: slow at both ends."""

    schedule: Literal["cosine"] = "cosine"

    def sigma_at(self, at: Moment) -> float:
        """See `Curriculum.sigma_at`."""
        fallen = 0.5 * (1 - np.cos(np.pi * at.progress))
        return float(self.start + (self.end - self.start) * fallen)


class Geometric(Curriculum):
    """`start`, times `factor` every `every_epochs` (Yoshihara et al. 2023: x 0.9 every 5)."""

    schedule: Literal["geometric"] = "geometric"
    start: Sigma = 4.0
    """Of the first epochs, in pixels at the reference resolution."""
    factor: float = Field(0.9, gt=0, le=1)
    """By which sigma is multiplied; 1: it stays."""
    every_epochs: float = Field(5.0, gt=0)
    """After so many epochs each time."""

    def sigma_at(self, at: Moment) -> float:
        """See `Curriculum.sigma_at`."""
        return float(self.start * self.factor ** (at.epoch // self.every_epochs))

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`."""
        return _second_sigma(self.factor, self.every_epochs, epochs)


class Mix(Levels):
    """Levels that are drawn with these probabilities (Jang & Tong 2024: strong and weak blur)."""

    schedule: Literal["mix"] = "mix"
    sigmas: tuple[Sigma, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    """In pixels at the reference resolution; 0: sharp."""
    probabilities: tuple[Probability, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)
    """Of the levels, in their order; their sum is 1."""
    draw: Draw = added_later("image")
    """Whether each image draws by itself, or all of a batch alike."""
    sharp_epochs: int = added_later(0, ge=0)
    """So long all images stay sharp, before the mix begins: a network that is trained, then fine-tuned, in one run."""

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if len(self.names()) != len(self.probabilities):
            what = "blurs" if self.blurs else "sigmas"
            raise ValueError(f"{len(self.names())} {what} but {len(self.probabilities)} probabilities")
        if not math.isclose(sum(self.probabilities), 1, abs_tol=1e-6):
            raise ValueError(f"probabilities add up to {sum(self.probabilities):g}, not to 1")
        return self

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        if at.epoch < self.sharp_epochs:
            return Assignment.gaussian(np.zeros(at.images.shape))
        return self.at_levels(self.drawn(self.probabilities, at.drawn(self.draw)))

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`."""
        return "the mix" if epochs <= self.sharp_epochs else ""


class Uniform(Curriculum):
    """Sigma uniform in low..high (Yoshihara et al. 2023: 0..5, of one half of each batch)."""

    schedule: Literal["uniform"] = "uniform"
    low: Sigma = 0.0
    """The least sigma, in pixels at the reference resolution."""
    high: Sigma = 5.0
    """The largest sigma, at least `low`."""
    share: float = added_later(1.0, gt=0, le=1)
    """Share of each batch that is blurred at all; the rest is sharp. One half is exact in every batch of even size (of
    odd size: one image more or less); other shares hold on average."""
    draw: Draw = added_later("image")
    """Whether each image draws a sigma of its own, or all that are blurred in a batch have the same."""

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low={self.low:g} is more than high={self.high:g}")
        return self

    def sigma_at(self, at: Moment) -> Sigmas:
        """See `Curriculum.sigma_at`."""
        # Of the images' draws that are below `share`, each is as likely as any other.
        part = at.batches if self.draw == "batch" else at.images / self.share
        blurred = self.high + (self.low - self.high) * part
        return np.where(at.images < self.share, blurred, 0.0)


class HalfBatch(OneBlur):
    """One half of each batch blurred, the other sharp (Yoshihara et al. 2023: blurred-and-sharp mix)."""

    schedule: Literal["half-batch"] = "half-batch"

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        return self.where(at.images < 0.5)


class Replay(Levels):
    """Levels in each of which the earlier ones come again (Visual Acuity Curriculum, 2025).

    At level k, level j <= k is drawn with a probability proportional to the epochs up to the end of level j.
    """

    schedule: Literal["replay"] = "replay"
    durations: tuple[Length, ...] | None = added_later(None)
    """Relative lengths of the levels, scaled to the run, so that [13, 27, 160] are epochs in a run of 200 and the same
    shares of any other. None: all equally long."""
    draw: Draw = added_later("image")
    """Whether each image draws by itself, or all of a batch alike."""

    @model_validator(mode="after")
    def _one_duration_a_level(self) -> Self:
        if self.durations is not None and len(self.durations) != len(self.names()):
            what = "blurs" if self.blurs else "sigmas"
            raise ValueError(f"{len(self.names())} {what} but {len(self.durations)} durations")
        return self

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        level = self.level(at.epoch, at.epochs)
        weights = list(itertools.accumulate(self._lengths()))[: level + 1]
        return self.at_levels(self.drawn(weights, at.drawn(self.draw)))

    def level(self, epoch: int, epochs: int) -> int:
        """The place of the newest level in the 0-based `epoch` out of `epochs`: that which it begins with."""
        return _stage(self._lengths(), epoch, epochs)

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`; a level that was passed over comes again with the next."""
        return self.never(set(range(self.level(epochs - 1, epochs) + 1)))

    def _lengths(self) -> Sequence[float]:
        return self.durations or [1.0] * len(self.names())


class Fading(OneBlur):
    """Blurred with probability a * exp(-rate * epoch), else sharp (Visual Acuity Curriculum, 2025, continuous)."""

    schedule: Literal["fading"] = "fading"
    a: Probability = 1.0
    """Probability in the first epoch."""
    rate: float = Field(0.05, ge=0)
    """Per epoch."""
    draw: Draw = added_later("image")
    """Whether each image draws by itself, or all of a batch alike."""

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        return self.where(at.drawn(self.draw) < self.a * np.exp(-self.rate * at.epoch))


class Developmental(Curriculum):
    """Visual acuity by age: 18.06 exp(-0.79 m) + 1.60 exp(-0.027 m) pixels at 224, m in months (Developmental Visual
    Diet, 2026; of it the acuity alone, without contrast and colour). The authors' code has two digits more: 18.036,
    0.7934, 1.6012, 0.02705."""

    schedule: Literal["developmental"] = "developmental"
    months_per_epoch: float = Field(2.0, gt=0)
    """By how many months sight ages in an epoch; it begins at birth."""
    ageing: Literal["epoch", "batch"] = added_later("epoch")
    """What the age grows with: `batch`, as in the source; `epoch`: all of an epoch has the age that it begins with."""

    def sigma_at(self, at: Moment) -> Sigmas:
        """See `Curriculum.sigma_at`."""
        age = at.epoch + at.within if self.ageing == "batch" else np.asarray(float(at.epoch))
        months = age * self.months_per_epoch
        sigma: Sigmas = acuity(months)
        return sigma


class DevelopmentalDiet(Curriculum):
    """Sight by age, whole: acuity, colour and contrast sensitivity (Developmental Visual Diet, 2026; its authors give
    an epoch 2 months). Each can be left out; with acuity alone it is `developmental`. See `blurtrain.blur.sight`."""

    schedule: Literal["developmental-diet"] = "developmental-diet"
    months_per_epoch: float = Field(2.0, gt=0)
    """By how many months sight ages in an epoch; it begins at birth."""
    ageing: Literal["epoch", "batch"] = "batch"
    """What the age grows with: `batch`, as in the source, but in 8 equal steps an epoch at most, so that what is
    logged stays short; `epoch`: all of an epoch has the age that it begins with."""
    acuity: bool = True
    """Whether visual acuity follows age; false: it is full."""
    colour: bool = True
    """Whether colour sensitivity does."""
    contrast: bool = True
    """Whether contrast sensitivity does."""
    threshold: float = Field(0.1, ge=0, le=1000)
    """The authors' beta, of contrast sensitivity: the larger, the more is left out."""
    slope: float = Field(150.0, gt=0, le=300)
    """Of contrast sensitivity, as `threshold`: see `blurtrain.blur.sight.Sight`."""

    def decide(self, at: Moment) -> Assignment:
        """See `Curriculum.decide`."""
        parts = np.floor(at.within * _AGES_AN_EPOCH + 1e-9) if self.ageing == "batch" else np.zeros(at.within.shape)
        ages, which = np.unique(parts, return_inverse=True)
        blurs = tuple(self._sight((at.epoch + age / _AGES_AN_EPOCH) * self.months_per_epoch) for age in ages.tolist())
        return Assignment.of(blurs, which.reshape(at.within.shape).astype(np.int64))

    def used(self) -> tuple[Blur, ...]:
        """See `Curriculum.used`: of one age, as all can be had of the same images."""
        return (self._sight(self.months_per_epoch),)

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`."""
        months = epochs * self.months_per_epoch
        return f"adult sight ({ADULT:g} months; it ends at {months:g})" if months < ADULT else ""

    def _sight(self, months: float) -> Sight:
        return Sight(
            months=min(months, 1200.0),
            acuity=self.acuity,
            colour=self.colour,
            contrast=self.contrast,
            threshold=self.threshold,
            slope=self.slope,
        )


class FeatureSmoothing(Curriculum):
    """Blur of feature maps, not of images: after convolutions a Gaussian of `sigma` feature pixels, times `factor`
    every `every_epochs` (Curriculum by Smoothing, Sinha et al. 2020). Images stay sharp."""

    schedule: Literal["feature-smoothing"] = "feature-smoothing"
    sigma: Sigma = 1.0
    """Of the first epochs, in pixels of the feature map."""
    factor: float = Field(0.9, gt=0, le=1)
    """By which sigma is multiplied; 1: it stays."""
    every_epochs: float = Field(5.0, gt=0)
    """After so many epochs each time."""
    kernel_size: int = Field(3, ge=3, le=15)
    """Taps a side of the Gaussian, odd."""
    border: Literal["reflect", "zero"] = added_later("reflect")
    """What lies beyond the border of a feature map; the authors' code has zeros."""
    convolutions: Literal["all", "as-published"] = added_later("all")
    """After which convolutions. as-published: none of size 1 x 1 (in the authors' ResNets these are the shortcuts), and
    in a chain with poolings, as VGG is, only the last before each pooling."""
    at_test: bool = added_later(False)
    """Smooth in evaluation too, by the sigma of the last epoch, as the authors do: then the weights by themselves are
    not the whole network."""

    @model_validator(mode="after")
    def _is_odd(self) -> Self:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd")
        return self

    def sigma_at(self, at: Moment) -> float:
        """See `Curriculum.sigma_at`."""
        return 0.0

    def feature_sigma(self, epoch: int) -> float:
        """See `Curriculum.feature_sigma`."""
        return float(self.sigma * self.factor ** (epoch // self.every_epochs))

    def feature_sigma_at_test(self, epochs: int) -> float:
        """That of the last epoch where `at_test` says so: the authors' code tests after each epoch with its kernels."""
        return self.feature_sigma(epochs - 1) if self.at_test and epochs else 0.0

    def lacking(self, epochs: int) -> str:
        """See `Curriculum.lacking`."""
        return _second_sigma(self.factor, self.every_epochs, epochs)


def _second_sigma(factor: float, every_epochs: float, epochs: int) -> str:
    """What a sigma that falls by `factor` every `every_epochs` never gets to in a run of `epochs`."""
    if epochs > every_epochs or factor == 1:
        return ""
    return f"any sigma below the first (the next begins after epoch {every_epochs:g})"


def _stage(lengths: Sequence[float], epoch: int, epochs: int) -> int:
    """In which of the stages of these relative lengths, scaled to a run of `epochs`, the 0-based `epoch` begins."""
    ends = list(itertools.accumulate(lengths))
    # A billionth of an epoch, because lengths like 0.1 and 0.2 do not add up to 0.3.
    return sum(epoch >= epochs * end / ends[-1] - 1e-9 for end in ends[:-1])


Curriculum.kinds = {
    str(kind.model_fields["schedule"].default): kind
    for kind in (
        Constant,
        Stepwise,
        Linear,
        Cosine,
        Geometric,
        Mix,
        Uniform,
        HalfBatch,
        Replay,
        Fading,
        Developmental,
        DevelopmentalDiet,
        FeatureSmoothing,
    )
}
