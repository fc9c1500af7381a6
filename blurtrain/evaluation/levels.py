"""Levels of blur that are measured, and what they are called."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur, Gaussian, Sharp
from blurtrain.blur.light import linear_light, srgb
from blurtrain.data.augment import Transform
from blurtrain.settings import Evaluation


def levels(evaluation: Evaluation, reference: int) -> list[Blur]:
    """The levels of an evaluation: its sigmas, in pixels at `reference`, then its other blurs."""
    return [*(of_sigma(sigma, reference) for sigma in evaluation.sigmas), *evaluation.blurs]


def of_sigma(sigma: float, reference: int) -> Blur:
    """The Gaussian of this sigma; none at all for 0."""
    return Gaussian(sigma=sigma, at=reference) if sigma else Sharp()


def sigma_of(blur: Blur, reference: int) -> float | None:
    """Sigma of a Gaussian in pixels at `reference`, 0 where nothing is blurred; None for other kernels."""
    if isinstance(blur, Sharp):
        return 0.0
    return blur.sigma * reference / blur.at if isinstance(blur, Gaussian) else None


def blurred(transform: Transform, resized: Tensor, blur: Blur, indices: NDArray[np.int64]) -> Tensor:
    if (sigma := sigma_of(blur, transform.resolution)) is not None:
        return transform.blurred(resized, sigma)
    light = linear_light(resized) if transform.blur.linear_light else resized
    light = blur.blurred(light, indices, resolution=transform.resolution, truncate=transform.blur.truncate)
    return transform.normalise(srgb(light) if transform.blur.linear_light else light)
