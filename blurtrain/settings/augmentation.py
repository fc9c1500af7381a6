"""The training transform, as settings."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from blurtrain.schema import Probability, Section, added_later

Side = Annotated[int, Field(ge=8, le=4096)]


class Scaled(Section):
    """Random scales and crops as in the fine-tuning of Vasiljevic et al. 2016, in place of a random resized crop.

    The image is resized to an object scale, blurred as defined there, rounded to 8 bits, resized to the network scale
    by its ratio to `defined_at`, and cropped at random to data.resolution. So the network sees the same blur whatever
    the object scale."""

    object_scales: tuple[Side, ...] = Field((356, 384, 410), min_length=1)
    """Smaller side of the image as it is blurred, in pixels: one of these for each image, all as likely."""
    defined_at: Side = 384
    """Smaller side that blurs are defined for: a network scale s shows s / defined_at of them."""
    network_scales: tuple[Side, ...] = Field((256,), min_length=1)
    """Smaller side that an image of `defined_at` pixels has as the network sees it: one of these for each image."""
    quantise: bool = True
    """Round the blurred image to 8 bits, as the source does; false: everything stays linear."""

    @model_validator(mode="after")
    def _are_distinct(self) -> "Scaled":
        for name in ("object_scales", "network_scales"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} has one scale twice")
        return self

    def least(self) -> int:
        """The smaller side of the smallest image that is cropped."""
        return round(min(self.object_scales) * min(self.network_scales) / self.defined_at)


class Augmentation(Section):
    """The training transform: random resized crop and flip, affine warp, HSV jitter, colour operations, erasing; before
    the blur."""

    crop_scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest area of the crop, as a share of the image's."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest aspect ratio (width to height) of the crop."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """How crops are resized."""
    flip: Probability = 0.5
    """Probability of a horizontal flip."""
    colour: Probability = 0.2
    """Probability of each of the seven colour operations, which come in random order."""
    jitter: float = Field(0.2, ge=0, le=0.5)
    """Strength of the brightness, contrast, saturation (factor 1 +/- jitter) and hue (turn +/- jitter) operations."""
    erasing: Probability = added_later(0.0)
    """Probability that a rectangle is set to the normalisation mean (0 after normalisation), before the blur."""
    erasing_area: tuple[float, float] = added_later((0.02, 0.33))
    """Smallest and largest area of the rectangle, as a share of the network's input."""
    erasing_ratio: tuple[float, float] = added_later((0.3, 3.3))
    """Smallest and largest aspect ratio (height to width) of the rectangle."""
    rotation: float = added_later(0.0, ge=0, le=180)
    """Largest turn either way, in degrees, about the centre of the crop."""
    translation: float = added_later(0.0, ge=0, le=1)
    """Largest shift along each axis, as a share of the network's input."""
    zoom: float = added_later(0.0, ge=0, le=0.9)
    """Scale of the crop is 1 +/- zoom, alike along both axes; below 1 it is mirrored around."""
    hsv_hue: float = added_later(0.0, ge=0, le=0.5)
    """Largest turn of the hue either way, of a full circle."""
    hsv_saturation: float = added_later(0.0, ge=0, le=1)
    """Saturation is multiplied by 1 +/- hsv_saturation, for each image."""
    hsv_value: float = added_later(0.0, ge=0, le=1)
    """Value (the largest channel of a pixel) is multiplied by 1 +/- hsv_value, for each image."""

    scaled: Scaled | None = added_later(None)
    """Random object and network scales, in place of the random resized crop (crop_scale, crop_ratio); none: that."""

    @property
    def warps(self) -> bool:
        """Whether images are rotated, shifted or zoomed."""
        return self.rotation > 0 or self.translation > 0 or self.zoom > 0

    @property
    def jitters_hsv(self) -> bool:
        """Whether hue, saturation or value change."""
        return self.hsv_hue > 0 or self.hsv_saturation > 0 or self.hsv_value > 0

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        for name, share in (
            ("crop_scale", True),
            ("crop_ratio", False),
            ("erasing_area", True),
            ("erasing_ratio", False),
        ):
            low, high = getattr(self, name)
            if not 0 < low <= high or (share and high > 1):
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high{' <= 1' * share}")
        return self

    @model_validator(mode="after")
    def _nothing_between_scales(self) -> "Augmentation":
        if self.scaled:
            beside = {
                "colour": self.colour > 0,
                "erasing": self.erasing > 0,
                "rotation, translation and zoom": self.warps,
                "hsv_hue, hsv_saturation and hsv_value": self.jitters_hsv,
            }
            if given := [name for name, on in beside.items() if on]:
                raise ValueError(f"scaled does not go with {given[0]}: set that to 0")
        return self
