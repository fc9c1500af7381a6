"""Blurs of an eye and of a lens: myopia in dioptres, and aberrations in waves."""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blurtrain.blur import kernels
from blurtrain.blur.blur import KernelBlur, draws_of

_ANGLES = 11  # apart from what else is drawn of a seed and an index


class Myopia(KernelBlur):
    """What a myopic eye of so many `dioptres`, without glasses, sees of a picture at `distance` metres: a disk.

    The eye is focused at its far point, 1 / dioptres metres away, and can focus nearer; so its error is dioptres - 1 /
    distance, or none. The disk's diameter is a visual angle: in radians the pupil's diameter in metres times the error
    in dioptres (Strasburger, Bach & Heinrich, i-Perception 2018; in degrees 0.057 * pupil * error). `degrees`, over
    which the smaller side of the picture extends, says how many pixels that is. No diffraction, and no aberrations.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("dioptres", "degrees", "pupil", "distance")
    kernel: Literal["myopia"] = "myopia"
    dioptres: float = Field(ge=0, le=30)
    """How short-sighted the eye is; 0: not at all."""
    degrees: float = Field(20.0, gt=0, le=180)
    """Visual angle of the smaller side of the picture: pictures do not say it, so it is an assumption."""
    pupil: float = Field(4.0, gt=0, le=10)
    """Diameter in millimetres."""
    distance: Annotated[float, Field(gt=0)] | Literal["far"] = "far"
    """Of the picture, in metres."""

    @property
    def radius(self) -> float:
        """Of the disk, in pixels at `at`."""
        nearer = 0.0 if self.distance == "far" else 1 / self.distance
        error = max(self.dioptres - nearer, 0.0)
        return math.degrees(self.pupil / 1000 * error) / 2 * self.at / self.degrees

    def point_spread(self, index: int, **_: Any) -> NDArray[np.float64]:
        """See `blurtrain.blur.kernels.disk`; up to a radius of half a pixel the picture is sharp."""
        return kernels.disk(max(self.radius, 0.5), antialias=True)


class Aberration(KernelBlur):
    """A lens with one of the primary aberrations, as OpticsBench has them one by one (Müller, Braun & Keuper, ICCV
    workshops 2023), of `waves` (`blurtrain.blur.zernike`; OpticsBench gives severities, and a kernel a colour)."""

    label_fields: ClassVar[tuple[str, ...]] = ("mode", "waves", "angle", "airy")
    kernel: Literal["aberration"] = "aberration"
    mode: Literal["defocus", "astigmatism", "coma", "trefoil", "spherical"]
    """The polynomial of Zernike."""
    waves: float = Field(ge=0, le=5)
    """Root mean square over the pupil, in wavelengths; 0: diffraction alone."""
    angle: Annotated[float, Field(ge=0, lt=360)] | Literal["random"] = 0.0
    """Degrees, counter-clockwise; random: of each image's own."""
    airy: float = Field(1.0, ge=0.1, le=4)
    """Wavelength times f-number in pixels: 1.22 of it is the radius of the Airy disk."""

    def point_spread(self, index: int, *, seed: int = 0, epoch: int = 0, training: bool = False) -> NDArray[np.float64]:
        """See `blurtrain.blur.zernike.aberrated`."""
        from blurtrain.blur.zernike import aberrated

        if self.angle != "random":
            return aberrated(self.mode, self.waves, self.angle, self.airy)
        turn = 360 * float(draws_of(_ANGLES, index, seed, epoch, training).random())
        return aberrated(self.mode, self.waves, turn, self.airy)
