"""Levels of a curriculum: sigmas on the fast path of Gaussians, or instead any blurs."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from blurtrain.blur.assignment import Assignment
from blurtrain.blur.blurs import AnyBlur, Blur, Sharp
from blurtrain.blur.curriculum import Curriculum
from blurtrain.schema import Sigma, added_later


class OneBlur(Curriculum):
    """A schedule of one level: a sigma, or instead any blur."""

    sigma: Sigma = 4.0
    """In pixels at the reference resolution."""
    blur: AnyBlur | None = added_later(None)
    """In place of sigma, which then is 0."""

    @model_validator(mode="before")
    @classmethod
    def _no_default_sigma_beside_a_blur(cls, document: Any) -> Any:
        given = isinstance(document, dict) and document.get("blur") is not None
        return {"sigma": 0.0, **document} if given else document

    @model_validator(mode="after")
    def _sigma_or_blur(self) -> Self:
        if self.blur and self.sigma:
            raise ValueError(f"give sigma or blur, not both (sigma={self.sigma:g}, blur={self.blur.label})")
        return self

    def used(self) -> tuple[Blur, ...]:
        """See `Curriculum.used`."""
        return (self.blur,) if self.blur else ()

    def describe(self, without: str = "schedule") -> str:
        """See `Curriculum.describe`."""
        return super().describe("sigma" if self.blur else without)

    def where(self, blurred: NDArray[np.bool_]) -> Assignment:
        """The level for the images that are `blurred` [..., N], and the others sharp."""
        if self.blur is None:
            return Assignment.gaussian(np.where(blurred, self.sigma, 0.0))
        return Assignment.of((self.blur, Sharp()), np.where(blurred, 0, 1))


class Levels(Curriculum):
    """A schedule over several levels: sigmas, or instead any blurs."""

    sigmas: tuple[Sigma, ...] = (8.0, 4.0, 2.0, 1.0, 0.0)
    """The levels in their order, in pixels at the reference resolution; 0: sharp."""
    blurs: tuple[AnyBlur, ...] | None = added_later(None)
    """In place of sigmas, which then are none."""

    @model_validator(mode="before")
    @classmethod
    def _no_default_sigmas_beside_blurs(cls, document: Any) -> Any:
        given = isinstance(document, dict) and document.get("blurs") is not None
        return {"sigmas": (), **document} if given else document

    @model_validator(mode="after")
    def _sigmas_or_blurs(self) -> Self:
        if self.sigmas and self.blurs:
            raise ValueError("give sigmas or blurs, not both")
        if not self.sigmas and not self.blurs:
            raise ValueError("give at least one level, as sigmas or as blurs")
        return self

    def used(self) -> tuple[Blur, ...]:
        """See `Curriculum.used`."""
        return self.blurs or ()

    def describe(self, without: str = "schedule") -> str:
        """See `Curriculum.describe`."""
        return super().describe("sigmas" if self.blurs else without)

    def names(self) -> list[str]:
        """Of the levels, for messages."""
        return [blur.label for blur in self.blurs] if self.blurs else [f"sigma {sigma:g}" for sigma in self.sigmas]

    def at_levels(self, which: NDArray[np.int64]) -> Assignment:
        """For each image the level of its place `which` [..., N]."""
        if self.blurs:
            return Assignment.of(self.blurs, which)
        return Assignment.gaussian(np.asarray(self.sigmas, np.float64)[which])

    def drawn(self, weights: ArrayLike, draws: NDArray[np.float64]) -> NDArray[np.int64]:
        """The place of a level for each draw (0..1, of any shape, which is kept), of as many levels as there are
        weights: by inverting the distribution from the blurriest sigma to the sharpest, or from the first blur to the
        last."""
        shares = np.asarray(weights, np.float64)
        levels = len(shares)
        order = np.arange(levels) if self.blurs else np.argsort(self.sigmas[:levels])[::-1]
        limits = np.cumsum(shares[order]) / shares[order].sum()
        places: NDArray[np.int64] = order[np.minimum(np.searchsorted(limits, draws, side="right"), levels - 1)]
        return places

    def never(self, seen: set[int]) -> str:
        """The levels, in words, that are not among those at `seen` places."""
        return ", ".join(f"level {k + 1} ({name})" for k, name in enumerate(self.names()) if k not in seen)
