"""How a tree of images becomes a dataset, as settings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blurtrain.data.beton import Encoding
from blurtrain.data.jpeg import BEST_QUALITY


class Recipe(BaseModel):
    """How a tree of images becomes a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str | None = None
    """Folder of images; in a grid file relative to the folder given by --images."""
    standin: Literal["faces", "objects", "imagenet-12", "imagenet-100"] | None = None
    """Instead of images: which generated stand-in to draw."""
    standin_seed: int = 0
    label: Annotated[int, Field(ge=1)] | Literal["leaf"] = "leaf"
    """Label images by their leaf folder, or by the folder at this level below the split (1 = topmost)."""
    min_leaves: int = Field(1, ge=1)
    """Keep only labels with at least so many leaf folders (objects) ..."""
    min_images: int = Field(1, ge=1)
    """... and so many images."""
    splits: dict[str, str] | None = None
    """Which of the tree's splits to use as train, val, test; by default as they are called."""
    val: float = Field(0.1, ge=0, lt=1)
    """Where the tree has no splits: share of each label's images (or objects) to hold out for validation ..."""
    test: float = Field(0.2, ge=0, lt=1)
    """... and for testing,"""
    split_seed: int = 0
    hold_out: Literal["images", "leaves"] = "images"
    """... drawn by image, or by whole leaf folder, so that tested objects were never trained on."""
    train_images: int | None = Field(None, ge=1)
    """At most so many training images of each label, drawn by split_seed; none: all."""
    resolution: int = Field(224, ge=8)
    """Side of the network's input that the pixels are meant for. Images of val and test are kept at it, too."""
    stored: int | None = Field(None, ge=8)
    """Side of the images in the training store; by default 8/7 of the resolution, as the study's 256 for 224."""
    encoding: Encoding = "raw"
    """Of the training store. raw: fastest to read; jpg: other pixels, in about an eighth of the space."""
    quality: int | None = Field(None, ge=1, le=BEST_QUALITY)
    """Of jpg; by default 90."""
    skip_unreadable: bool = False
    """Leave out (and list) images that cannot be decoded, instead of refusing the folder."""

    @property
    def size(self) -> int:
        return self.stored or round(self.resolution * 8 / 7)

    @property
    def jpeg_quality(self) -> int | None:
        """None: raw pixels."""
        return None if self.encoding == "raw" else self.quality or 90

    @model_validator(mode="after")
    def _quality_of_jpg(self) -> "Recipe":
        if self.quality and self.encoding == "raw":
            raise ValueError(f"quality={self.quality} goes with encoding=jpg: raw pixels lose nothing")
        return self
