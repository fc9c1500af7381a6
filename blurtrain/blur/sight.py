"""Sight by age, from birth to 25 years: acuity, colour and contrast sensitivity of the Developmental Visual Diet (Lu,
Thorat, Cichy & Kietzmann, Nature Machine Intelligence 2026), by the curves and constants that its authors' code has."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blurtrain.blur.blur import Blur

if TYPE_CHECKING:
    from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601, as torchvision has it)."""
ADULT = 300.0
"""Months from which contrast sensitivity is full."""
_HALF, _POWER = 57.6, 2.1633375920569247
_COLOUR = (0.008604133954779169, 4.380740053287391e-05, 0.8807610802743646)
_BEST = (21.2 + 21.1 + 18.8) / 3


def acuity(months: Any) -> Any:
    """Sigma in pixels at 224 of a Gaussian that stands for visual acuity; a number, or an array of them."""
    return 18.06 * np.exp(-0.79 * months) + 1.60 * np.exp(-0.027 * months)


def contrast_sensitivity(months: float) -> float:
    """0 at birth, 1 at ADULT months: m^n / (m^n + half^n), as a share of what it is then; n = 2.16, half = 57.6."""
    risen = months**_POWER / (months**_POWER + _HALF**_POWER)
    return float(risen * (ADULT**_POWER + _HALF**_POWER) / ADULT**_POWER)


def colour_sensitivity(months: float) -> float:
    """0 at birth, 1 at 20.4 years: the least of the threshold a * years^-p + b * years^p, as a share of it."""

    def threshold(years: float) -> float:
        a, b, power = _COLOUR
        return float(a * years**-power + b * years**power)

    return min(threshold(_BEST) / threshold(months / 12), 1.0) if months else 0.0


class Sight(Blur):
    """What a person of so many `months` sees, in the order of the authors' code: blurred by acuity, drawn towards grey
    by colour sensitivity, and without the frequencies that are too faint for contrast sensitivity.

    Of the spectrum of the image what has less power than max * (1 - s) * 0.001 * threshold / max(2 * floor(300 * s /
    slope), 1) is left out, s the contrast sensitivity and max the largest power of its channels, which is that of the
    mean. The authors take the largest of a whole batch; here each image has its own, so that it does not depend on the
    others. What is then beyond 0..255 is cut off.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("months", "acuity", "colour", "contrast", "threshold", "slope")
    kernel: Literal["sight"] = "sight"
    at: Literal[224] = 224
    months: float = Field(ge=0, le=1200)
    """Age."""
    acuity: bool = True
    """Whether visual acuity is that of the age; false: it is full."""
    colour: bool = True
    """Whether colour sensitivity is."""
    contrast: bool = True
    """Whether contrast sensitivity is."""
    threshold: float = Field(0.1, ge=0, le=1000)
    """The authors' beta."""
    slope: float = Field(150.0, gt=0, le=300)
    """The authors' lambda."""

    def blurred(
        self,
        images: "Tensor",
        indices: Sequence[int] | NDArray[np.integer],
        *,
        resolution: int,
        truncate: float = 4.0,
        **_: Any,
    ) -> "Tensor":
        """See `Blur.blurred`."""
        from blurtrain.blur.operators import gaussian_blur

        found = images if images.is_floating_point() else images.float()
        if self.acuity:
            found = gaussian_blur(found, float(acuity(self.months)) * resolution / self.at, truncate)
        if self.colour:
            share = colour_sensitivity(self.months)
            weights = found.new_tensor(GREY).view(3, 1, 1)
            found = share * found + (1 - share) * (found * weights).sum(1, keepdim=True)
        if self.contrast:
            found = self._without_faint(found)
        return found.clamp(0, 255).to(images.dtype)

    def _without_faint(self, images: "Tensor") -> "Tensor":
        import torch

        s = contrast_sensitivity(self.months)
        if s >= 1:
            return images
        spectrum = torch.fft.rfft2(images.float() if images.dtype != torch.float64 else images)
        power = spectrum.abs().square()
        steps = max(2 * int(300 * s / self.slope), 1)
        least = power.amax((1, 2, 3), keepdim=True) * ((1 - s) * 0.001 * self.threshold / steps)
        return torch.fft.irfft2(spectrum * (power >= least), s=images.shape[-2:]).to(images.dtype)
