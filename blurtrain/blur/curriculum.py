"""Sigma as a pure function of how far the training is, and of a uniform draw of the image and one of its batch.

Sigmas are in pixels at the reference resolution; `scaled` brings them to the network's.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blurtrain.blur import curricula as c

Sigma = TypeVar("Sigma", float, NDArray[np.float64])


def sigmas(
    curriculum: c.Curriculum,
    epoch: int,
    epochs: int,
    *,
    within: ArrayLike,
    images: ArrayLike,
    batches: ArrayLike,
) -> NDArray[np.float64]:
    """Blur of images of epoch `epoch` (0-based) out of `epochs`: one sigma an image.

    within: how much of the epoch is over as an image's batch begins, step / steps an epoch; images, batches: draws of
    the image and of its batch, uniform in 0..1. Their shapes are broadcast, e.g. [steps, 1], [steps, N], [steps, 1] to
    [steps, N]. Schedules without chance give all images of a batch the same. Where levels are drawn, the smallest
    draws take the blurriest, so that stratified draws give stratified levels. Raises ValueError for an epoch outside
    the run.
    """
    if not 0 <= epoch < epochs:
        raise ValueError(f"epoch {epoch} is not among {epochs} epochs")
    within, images, batches = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (within, images, batches)))
    drawn = batches if getattr(curriculum, "draw", "image") == "batch" else images
    sigma: float | NDArray[np.float64]
    match curriculum:
        case c.ConstantBlur():
            sigma = curriculum.sigma
        case c.StepwiseBlur():
            sigma = curriculum.sigmas[curriculum.level(epoch, epochs)]
        case c.LinearBlur():
            sigma = curriculum.start + (curriculum.end - curriculum.start) * _progress(epoch, epochs)
        case c.CosineBlur():
            fallen = 0.5 * (1 - np.cos(np.pi * _progress(epoch, epochs)))
            sigma = curriculum.start + (curriculum.end - curriculum.start) * fallen
        case c.GeometricBlur():
            sigma = curriculum.start * curriculum.factor ** (epoch // curriculum.every_epochs)
        case c.MixBlur():
            sigma = _level_drawn(curriculum.sigmas, curriculum.probabilities, drawn)
        case c.UniformBlur():
            # Of the images' draws that are below `share`, each is as likely as any other.
            part = drawn if curriculum.draw == "batch" else drawn / curriculum.share
            blurred = curriculum.high + (curriculum.low - curriculum.high) * part
            sigma = np.where(images < curriculum.share, blurred, 0.0)
        case c.HalfBatchBlur():
            sigma = np.where(images < 0.5, curriculum.sigma, 0.0)
        case c.ReplayBlur():
            level = curriculum.level(epoch, epochs)
            sigma = _level_drawn(curriculum.sigmas[: level + 1], curriculum.weights(level), drawn)
        case c.FadingBlur():
            sigma = np.where(drawn < curriculum.a * np.exp(-curriculum.rate * epoch), curriculum.sigma, 0.0)
        case c.DevelopmentalBlur():
            age = epoch + within if curriculum.ageing == "batch" else epoch
            months = age * curriculum.months_per_epoch
            sigma = 18.06 * np.exp(-0.79 * months) + 1.60 * np.exp(-0.027 * months)
        case c.FeatureSmoothing():
            sigma = 0.0
    return np.full(images.shape, sigma)


def feature_sigma(curriculum: c.Curriculum, epoch: int) -> float:
    """Blur of feature maps in feature pixels, which only Curriculum by Smoothing has; 0 otherwise."""
    if not isinstance(curriculum, c.FeatureSmoothing):
        return 0.0
    return curriculum.sigma * curriculum.factor ** (epoch // curriculum.every_epochs)


def feature_sigma_at_test(curriculum: c.Curriculum, epochs: int) -> float:
    """The same in an evaluation after `epochs` epochs: that of the last of them where `at_test` says so, else 0.

    So it is in the authors' code, which tests after each epoch with that epoch's kernels.
    """
    at_test = isinstance(curriculum, c.FeatureSmoothing) and curriculum.at_test
    return feature_sigma(curriculum, epochs - 1) if at_test else 0.0


def scaled(sigma: Sigma, resolution: int, reference_resolution: int) -> Sigma:
    """Sigma at `reference_resolution` (one, or an array) in pixels at `resolution`: the same share of the image."""
    return sigma * resolution / reference_resolution


def _progress(epoch: int, epochs: int) -> float:
    """0 in the first epoch, 1 in the last."""
    return epoch / (epochs - 1) if epochs > 1 else 0.0


def _level_drawn(levels: tuple[float, ...], weights: ArrayLike, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """A level for each draw, by inverting the distribution over the levels from the blurriest to the sharpest."""
    order = np.argsort(levels)[::-1]
    shares = np.asarray(weights, np.float64)[order]
    limits = np.cumsum(shares) / shares.sum()
    return np.asarray(levels)[order][np.minimum(np.searchsorted(limits, draws, side="right"), len(levels) - 1)]
