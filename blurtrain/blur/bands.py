"""Low-, high- and band-passed images as blurs, so that whatever is measured over blurs is measured over frequencies
too; see `blurtrain.blur.frequencies` for the filter.

Cut-offs are in cycles per image (of its smaller side), and so the same at every resolution. Values beyond 0..255, which
a filter may give, are cut off, as an image cannot have them.

High- and band-pass lose the mean, so that it has to be put back. `mean` says which: own, that of each channel of the
image, which leaves its average colour; or grey, 0.4423 of white in every channel, as Geirhos et al. (ICLR 2019) have
it, who also take colour away before, and whose filter is a Gaussian.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blurtrain.blur.blur import Blur

if TYPE_CHECKING:
    from torch import Tensor

GREY = 0.4423 * 255
"""Mean of ImageNet, as Geirhos et al. give it."""
Cycles = Annotated[float, Field(gt=0, le=4096)]
Order = Annotated[int, Field(ge=1, le=16)]


class _Band(Blur):
    at: Literal[224] = 224
    order: Order = 2
    """How steep: it falls by 12 dB an octave for each."""

    def limits(self) -> tuple[float | None, float | None]:
        """Cycles per image from which, and up to which, frequencies pass."""
        raise NotImplementedError

    def blurred(self, images: "Tensor", indices: Sequence[int] | NDArray[np.integer], **_: Any) -> "Tensor":
        """See `Blur.blurred`."""
        from blurtrain.blur.frequencies import filtered

        found = filtered(images, *self.limits(), self.order)
        mean = getattr(self, "mean", None)
        if mean is not None:
            target = GREY if mean == "grey" else images.mean((2, 3), keepdim=True)
            found = found + (target - found.mean((2, 3), keepdim=True))
        return found.clamp(0, 255).to(images.dtype)


class LowPass(_Band):
    """What is below `cutoff`."""

    label_fields: ClassVar[tuple[str, ...]] = ("cutoff", "order")
    kernel: Literal["lowpass"] = "lowpass"
    cutoff: Cycles
    """In cycles per image."""

    def limits(self) -> tuple[float | None, float | None]:
        """See `_Band.limits`."""
        return None, self.cutoff


class HighPass(_Band):
    """What is above `cutoff`, and the mean."""

    label_fields: ClassVar[tuple[str, ...]] = ("cutoff", "order", "mean")
    kernel: Literal["highpass"] = "highpass"
    cutoff: Cycles
    """In cycles per image."""
    mean: Literal["own", "grey"] = "own"
    """What is put back: own, the mean of each channel of the image; grey, 0.4423 of white in each."""

    def limits(self) -> tuple[float | None, float | None]:
        """See `_Band.limits`."""
        return self.cutoff, None


class BandPass(_Band):
    """What is between `low` and `high`, and the mean."""

    label_fields: ClassVar[tuple[str, ...]] = ("low", "high", "order", "mean")
    kernel: Literal["bandpass"] = "bandpass"
    low: Cycles
    """In cycles per image."""
    high: Cycles
    """In cycles per image."""
    mean: Literal["own", "grey"] = "own"
    """What is put back: own, the mean of each channel of the image; grey, 0.4423 of white in each."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low={self.low:g} must be less than high={self.high:g}")
        return self

    def limits(self) -> tuple[float | None, float | None]:
        """See `_Band.limits`."""
        return self.low, self.high
