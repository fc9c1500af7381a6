"""Which blur each image gets: what a curriculum decides, and what the transform carries out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.blur import Blur

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Assignment:
    """A blur for each of some images, in an array of any shape, say [steps, batch size]."""

    sigmas: NDArray[np.float64]
    """Of Gaussians, pixels at the reference resolution; 0: sharp. All 0 where `which` is set."""
    blurs: tuple[Blur, ...] = ()
    which: NDArray[np.int64] | None = None
    """Of the same shape: place of each image's blur in `blurs`. None: all are Gaussians of `sigmas`."""
    varied: bool = True
    """Whether images of one batch differ, of whole batches, wherever a part of them is looked at: if not, one Gaussian
    serves all."""

    @classmethod
    def gaussian(cls, sigmas: NDArray[np.float64]) -> Self:
        """Gaussians of these sigmas [..., N], in pixels at the reference resolution; the last axis is that of a
        batch."""
        return cls(sigmas, varied=bool(sigmas.size and np.ptp(sigmas, axis=-1).any()))

    @classmethod
    def of(cls, blurs: tuple[Blur, ...], which: NDArray[np.int64]) -> Self:
        """For each image one of `blurs`, by its place `which` [..., N]."""
        return cls(np.zeros(which.shape), blurs, which)

    def __len__(self) -> int:
        return len(self.sigmas)

    def __getitem__(self, key: Any) -> Self:
        """A part, as of an array."""
        return replace(self, sigmas=self.sigmas[key], which=None if self.which is None else self.which[key])

    def reshape(self, *shape: int) -> Self:
        """In another shape, as an array."""
        which = None if self.which is None else self.which.reshape(shape)
        return replace(self, sigmas=self.sigmas.reshape(shape), which=which)

    def mean_sigma(self) -> float | None:
        """Mean of the sigmas; None where blurs are not given by sigma."""
        return float(self.sigmas.reshape(-1).mean()) if self.which is None else None

    def shares(self) -> dict[str, float]:
        """Share of the images at each of `blurs`, by label; empty where all are Gaussians of `sigmas`."""
        if self.which is None:
            return {}
        counts = np.bincount(self.which.reshape(-1), minlength=len(self.blurs))
        return {blur.label: float(n / self.which.size) for blur, n in zip(self.blurs, counts, strict=True)}

    def summary(self) -> dict[str, Any]:
        """What is logged of it: `sigma`, the mean, or `blurs`, the share of the images at each by label."""
        return {"sigma": self.mean_sigma()} if self.which is None else {"blurs": self.shares()}

    def applied(self, images: "Tensor", indices: NDArray[np.integer], **draws: Any) -> "Tensor":
        """`images` [N, C, H, W], of 0..255, each blurred by its own of `blurs`; further arguments as of `Blur.blurred`.

        Images of one blur go together. Raises ValueError where `which` is not set.
        """
        if self.which is None:
            raise ValueError("these are Gaussians of sigmas, which `gaussian_blur` takes")
        import torch

        from blurtrain.device import any_order

        places = np.unique(self.which) if len(self) > 1 else self.which
        if len(places) == 1:
            return self.blurs[places[0]].blurred(images, np.asarray(indices), **draws)
        out = torch.empty_like(images)
        for place in places:
            own = np.flatnonzero(self.which == place)
            part = torch.from_numpy(own).to(images.device, non_blocking=True)
            blurred = self.blurs[place].blurred(images[part], np.asarray(indices)[own], **draws)
            with any_order():  # each image once
                out[part] = blurred
        return out


def in_words(logged: Mapping[str, Any]) -> str:
    """The blur of an epoch from what was logged of it (`Assignment.summary`): sigma 4, or disk-4 60 %, sharp 40 %; and
    the side of its images where they were reduced."""
    side = f" at {logged['resolution']} px" if "resolution" in logged else ""
    if "blurs" not in logged:
        return f"sigma {logged['sigma']:.3g}{side}" if "sigma" in logged else ""
    return ", ".join(f"{label} {100 * share:.0f} %" for label, share in logged["blurs"].items() if share)
