"""How a network is shown test images of which it sees a part at a time."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from blurtrain.schema import Section


class Protocol(Section):
    """Test at several scales and crops (Vasiljevic et al. 2016): each image is blurred where its smaller side has
    `defined_at` pixels, rounded to 8 bits, and resized by scale / defined_at; the network's log-probabilities are
    averaged over the crops of a scale, and then over scales."""

    defined_at: int = Field(384, ge=8, le=4096)
    """Smaller side of the image, in pixels, where it is blurred."""
    scales: tuple[Annotated[int, Field(ge=8, le=4096)], ...] = Field((256,), min_length=1)
    """Smaller sides of the image, in pixels, as it is shown to the network."""
    crops: Literal["all", "five", "centre"] = "all"
    """all: the network is applied fully convolutionally, so that it sees every crop at its own stride; five: the four
    corners and the centre; centre: that alone. Crops have the side of the network's input."""
    images_per_class: int | None = Field(None, ge=1)
    """Only so many images of each class: the same ones for every network on this dataset; none: all."""

    @property
    def label(self) -> str:
        """What results call it, in a word that says all of it: `all-256+512@384`, `five-256@384-50` (images a
        class)."""
        few = f"-{self.images_per_class}" if self.images_per_class else ""
        return f"{self.crops}-{'+'.join(map(str, self.scales))}@{self.defined_at}{few}"

    @field_validator("scales")
    @classmethod
    def _distinct(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if twice := [scale for k, scale in enumerate(scales) if scale in scales[:k]]:
            raise ValueError(f"{twice[0]} is given twice; leave one of them out")
        return scales

    def check_crop(self, side: int) -> None:
        """Raise ValueError where crops of `side` pixels are larger than the image at one of the scales."""
        if self.crops != "all" and (small := [scale for scale in self.scales if scale < side]):
            fitting = [scale for scale in self.scales if scale >= side]
            cure = f"scales={fitting} would fit" if fitting else f"scales of {side} and more would fit"
            raise ValueError(
                f"evaluation.protocol: at scale {small[0]} the test images are smaller than a crop of {side} px, which "
                f"is the network's input: {cure}, or crops=all, which takes smaller images too"
            )
