"""Sigma as a pure function of how far the training is, and of one uniform draw an image.

Sigmas are in pixels at the reference resolution; `scaled` brings them to the network's.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blurtrain import curricula as c

Sigma = TypeVar("Sigma", float, NDArray[np.float64])


def sigmas(curriculum: c.Curriculum, epoch: int, epochs: int, draws: ArrayLike) -> NDArray[np.float64]:
    """Blur of the images of epoch `epoch` (0-based) out of `epochs`: one sigma for each of `draws` (uniform in 0..1).

    Schedules without chance give every image the same. Where an image's level is drawn, the smallest draws take the
    blurriest level, so that stratified draws give stratified levels. Raises ValueError for an epoch outside the run.
    """
    if not 0 <= epoch < epochs:
        raise ValueError(f"epoch {epoch} is not among {epochs} epochs")
    draws = np.asarray(draws, np.float64)
    match curriculum:
        case c.ConstantBlur():
            sigma = curriculum.sigma
        case c.StepwiseBlur():
            sigma = curriculum.sigmas[_level(curriculum.sigmas, curriculum.epochs_per_level, epoch, epochs)]
        case c.LinearBlur():
            sigma = curriculum.start + (curriculum.end - curriculum.start) * _progress(epoch, epochs)
        case c.CosineBlur():
            fallen = 0.5 * (1 - np.cos(np.pi * _progress(epoch, epochs)))
            sigma = curriculum.start + (curriculum.end - curriculum.start) * fallen
        case c.GeometricBlur():
            sigma = curriculum.start * curriculum.factor ** (epoch // curriculum.every_epochs)
        case c.MixBlur():
            return _drawn(curriculum.sigmas, curriculum.probabilities, draws)
        case c.UniformBlur():
            return curriculum.high + (curriculum.low - curriculum.high) * draws
        case c.HalfBatchBlur():
            return np.where(draws < 0.5, curriculum.sigma, 0.0)
        case c.ReplayBlur():
            # Levels are equally long, so the epochs up to the end of level j are proportional to j + 1.
            level = _level(curriculum.sigmas, None, epoch, epochs)
            return _drawn(curriculum.sigmas[: level + 1], np.arange(1.0, level + 2), draws)
        case c.FadingBlur():
            return np.where(draws < curriculum.a * np.exp(-curriculum.rate * epoch), curriculum.sigma, 0.0)
        case c.DevelopmentalBlur():
            months = epoch * curriculum.months_per_epoch
            sigma = 18.06 * np.exp(-0.79 * months) + 1.60 * np.exp(-0.027 * months)
        case c.FeatureSmoothing():
            sigma = 0.0
    return np.full(draws.shape, sigma)


def feature_sigma(curriculum: c.Curriculum, epoch: int) -> float:
    """Blur of feature maps in feature pixels, which only Curriculum by Smoothing has; 0 otherwise."""
    if not isinstance(curriculum, c.FeatureSmoothing):
        return 0.0
    return curriculum.sigma * curriculum.factor ** (epoch // curriculum.every_epochs)


def scaled(sigma: Sigma, resolution: int, reference_resolution: int) -> Sigma:
    """Sigma at `reference_resolution` (one, or an array) in pixels at `resolution`: the same share of the image."""
    return sigma * resolution / reference_resolution


def _progress(epoch: int, epochs: int) -> float:
    """0 in the first epoch, 1 in the last."""
    return epoch / (epochs - 1) if epochs > 1 else 0.0


def _level(levels: tuple[float, ...], epochs_per_level: float | None, epoch: int, epochs: int) -> int:
    if epochs_per_level is None:
        return epoch * len(levels) // epochs
    return min(int(epoch // epochs_per_level), len(levels) - 1)


def _drawn(levels: tuple[float, ...], weights: ArrayLike, draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """A level for each draw, by inverting the distribution over the levels from the blurriest to the sharpest."""
    order = np.argsort(levels)[::-1]
    shares = np.asarray(weights, np.float64)[order]
    limits = np.cumsum(shares) / shares.sum()
    return np.asarray(levels)[order][np.minimum(np.searchsorted(limits, draws, side="right"), len(levels) - 1)]
