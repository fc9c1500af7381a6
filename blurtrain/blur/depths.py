"""Blurs that depend on how far away things are: out of focus, and motion of the camera past a scene."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from blurtrain.blur import kernels
from blurtrain.blur.blur import Blur, draws_of
from blurtrain.errors import SettingsError
from blurtrain.schema import FileName, Sha256, outside_identity

if TYPE_CHECKING:
    from torch import Tensor

_SCENES = 12  # apart from what else is drawn of a seed and an index
Metres = Annotated[float, Field(gt=0, le=1e5)]


class OfDepth(Blur):
    """What they have in common: a camera, and a scene of layers between `near` and `far`, evenly spaced in dioptres (1
    / metres), of which each is blurred by itself (`blurtrain.blur.layers`).

    Without `depths` the scene is made up: ground, sky and a subject (`blurtrain.blur.scenes`), drawn for each image.
    """

    at: Literal[224] = 224
    near: Metres = 1.0
    """The nearest layer, in metres."""
    far: Metres = 20.0
    """The farthest layer, in metres."""
    focal: float = Field(50.0, gt=0, le=2000)
    """Focal length in millimetres."""
    sensor: float = Field(24.0, gt=0, le=500)
    """Smaller side of the picture on the sensor, in millimetres; 24: of a 35 mm camera."""
    layers: int = Field(8, ge=2, le=64)
    """How many there are."""
    depths: FileName | None = outside_identity(None)
    """Depths in metres, in an .npy file [images, H, W]: the entry of an image is that of its index in the store of
    evaluation; of any size, nearest pixel. For evaluation only, as training crops images."""
    depths_sha256: Sha256 | None = None
    """What `sha256sum FILE` prints."""

    @model_validator(mode="after")
    def _near_is_nearer(self) -> Self:
        if self.near >= self.far:
            raise ValueError(f"near={self.near:g} must be less than far={self.far:g}")
        if self.focal / 1000 >= self.near:
            raise ValueError(f"focal={self.focal:g} mm is not less than near={self.near:g} m")
        if (self.depths is None) != (self.depths_sha256 is None):
            raise ValueError("depths and depths_sha256 go together: the second is what `sha256sum FILE` prints")
        return self

    def _words(self) -> list[str]:
        return [*super()._words(), *([f"depths.{self.depths_sha256[:8]}"] if self.depths_sha256 else [])]

    def distances(self) -> NDArray[np.float64]:
        """[layers], in metres, the farthest first."""
        return 1 / np.linspace(1 / self.far, 1 / self.near, self.layers)

    def layer_kernels(self, resolution: int) -> list[NDArray[np.float64]]:
        """[side, side] of each of the layers, in pixels of images whose smaller side is `resolution`."""
        raise NotImplementedError

    def scene(self, index: int, height: int, width: int, **draws: Any) -> NDArray[np.int64]:
        """[height, width]: the layer of each pixel of image `index`, 0 the farthest. Raises SettingsError where given
        depths are to be used in training, cannot be used or lack this image."""
        from blurtrain.blur.scenes import depths_from, ground_and_subject

        if self.depths is None:
            far = ground_and_subject(draws_of(_SCENES, index, **draws), height, width)
            nearness = 1 - far
        else:
            if draws["training"]:
                raise SettingsError(f"blur {self.label}: given depths are for evaluation, as training crops images")
            given = depths_from(self.depths, self.depths_sha256)
            if index >= len(given):
                raise SettingsError(f"depths={self.depths}: has {len(given)} entries, and none for image {index}")
            rows, columns = (
                (np.arange(side) * there // side) for side, there in zip((height, width), given.shape[1:], strict=True)
            )
            dioptres = 1 / np.maximum(np.asarray(given[index], np.float64)[rows[:, None], columns[None]], 1e-9)
            nearness = (dioptres - 1 / self.far) / (1 / self.near - 1 / self.far)
        return np.clip(np.round(nearness * (self.layers - 1)), 0, self.layers - 1).astype(np.int64)

    def check(self, resolution: int) -> None:
        """Raise SettingsError where a kernel would be too large, or depths cannot be read."""
        from blurtrain.blur.scenes import depths_from

        try:
            self.layer_kernels(resolution)
        except ValueError as error:
            raise SettingsError(f"blur {self.label}: {error}") from None
        if self.depths is not None:
            depths_from(self.depths, self.depths_sha256)

    def blurred(
        self,
        images: "Tensor",
        indices: Sequence[int] | NDArray[np.integer],
        *,
        resolution: int,
        seed: int = 0,
        epoch: int = 0,
        training: bool = False,
        **_: Any,
    ) -> "Tensor":
        """See `Blur.blurred`."""
        import torch

        from blurtrain.blur.layers import layered_blur

        draws: dict[str, Any] = {"seed": seed, "epoch": epoch, "training": training}
        height, width = images.shape[-2:]
        scenes = np.stack([self.scene(int(index), height, width, **draws) for index in indices])
        return layered_blur(images, torch.from_numpy(scenes).to(images.device), self.layer_kernels(resolution))


class DepthFocus(OfDepth):
    """Out of focus by distance: a lens focused at `focus` metres images a point at d metres as a disk of diameter
    (focal / f_number) * |d - focus| / d * focal / (focus - focal) on the sensor (thin lens, circle of confusion:
    Potmesil & Chakravarty, SIGGRAPH 1981). No diffraction."""

    label_fields: ClassVar[tuple[str, ...]] = ("focus", "f_number", "focal", "near", "far", "sensor", "layers")
    kernel: Literal["depth-focus"] = "depth-focus"
    focus: Metres
    """Distance at which it is sharp, in metres."""
    f_number: float = Field(1.8, gt=0, le=100)
    """Focal length over the diameter of the aperture."""

    @model_validator(mode="after")
    def _beyond_the_lens(self) -> Self:
        if self.focal / 1000 >= self.focus:
            raise ValueError(f"focus={self.focus:g} m is not more than focal={self.focal:g} mm")
        return self

    def radii(self, resolution: int) -> NDArray[np.float64]:
        """[layers]: of their disks, in pixels."""
        focal, d = self.focal / 1000, self.distances()
        diameter = focal / self.f_number * np.abs(d - self.focus) / d * focal / (self.focus - focal)
        return diameter / 2 / (self.sensor / 1000) * resolution

    def layer_kernels(self, resolution: int) -> list[NDArray[np.float64]]:
        """See `OfDepth.layer_kernels`."""
        return [kernels.disk(max(float(radius), 0.5), antialias=True) for radius in self.radii(resolution)]


class Parallax(OfDepth):
    """A camera that moves evenly by `travel` millimetres during the exposure, along `angle` (degrees, 0 sideways, 90
    upwards, counter-clockwise): what is d metres away moves travel * focal / d on the sensor (pinhole camera)."""

    label_fields: ClassVar[tuple[str, ...]] = ("travel", "angle", "focal", "near", "far", "sensor", "layers")
    kernel: Literal["parallax"] = "parallax"
    travel: float = Field(ge=0, le=1e4)
    """Way of the camera, in millimetres."""
    angle: float = Field(0.0, ge=0, lt=180)
    """Direction of the way, in degrees."""

    def lengths(self, resolution: int) -> NDArray[np.float64]:
        """[layers]: of their motions, in pixels."""
        return self.travel * (self.focal / 1000) / self.distances() / self.sensor * resolution

    def layer_kernels(self, resolution: int) -> list[NDArray[np.float64]]:
        """See `OfDepth.layer_kernels`; up to a pixel nothing is blurred."""
        return [kernels.box(max(float(length), 1.0), self.angle) for length in self.lengths(resolution)]
