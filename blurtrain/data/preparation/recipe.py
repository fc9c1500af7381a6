"""How a tree of images becomes a dataset, as settings."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from blurtrain.blur_types.mosaic import TILES
from blurtrain.data.beton import LARGEST_SIDE, Encoding
from blurtrain.data.jpeg import BEST_QUALITY
from blurtrain.data.preparation.readers import Reader, Tree


class Recipe(BaseModel):
    """How a tree of images becomes a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: SerializeAsAny[Reader] | None = None
    """How the folder is read; none: as a tree, see `blurtrain.data.preparation.readers`."""
    images: str | None = None
    """Folder of images; in a grid file relative to the folder given by --images."""
    standin: Literal["faces", "objects", "imagenet-12", "imagenet-100", "facescrub", "toybox"] | None = None
    """Instead of images: which generated stand-in to draw; facescrub and toybox go with the readers of that name."""
    standin_seed: int = 0
    label: Annotated[int, Field(ge=1)] | Literal["leaf"] = "leaf"
    """Of a tree: label images by their leaf folder, or by the folder at this level below the split (1 = topmost)."""
    min_leaves: int = Field(1, ge=1)
    """Keep only labels with at least so many groups (objects; of a tree: leaf folders) ..."""
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
    """... drawn by image, or by whole group (`groups` means the same as `leaves`), so that tested objects were never
    trained on."""
    train_images: int | None = Field(None, ge=1)
    """At most so many training images of each label, drawn by split_seed; none: all."""
    resolution: int = Field(224, ge=8)
    """Side of the network's input that the pixels are meant for. Images of val and test are kept at it, too."""
    stored: int | None = Field(None, ge=8)
    """Side of the images in the training store; by default 8/7 of the resolution, as the study's 256 for 224."""
    aspect: Literal["square", "kept"] = "square"
    """square: all images are resized to squares. kept: their smaller side is `stored` (in the test store `tested`), the
    longer one in proportion."""
    longest: float | None = Field(None, ge=1, le=16)
    """Of aspect=kept: largest aspect, longer to smaller side, by default 2; longer images are cropped centrally to it.
    All images take as much room as the longest."""
    tested: int | None = Field(None, ge=8)
    """Of aspect=kept: smaller side of the images of val and test; by default the resolution, as in square stores."""
    side: Literal["smaller", "geometric-mean"] = "smaller"
    """Of aspect=kept, what `stored` and `tested` are of: the smaller side, or the geometric mean of height and width,
    so that all images have as many pixels (Vasiljevic et al. 2016, for segmentation)."""
    view: Literal["whole", "mosaic"] = "whole"
    """whole: images are resized. mosaic: of each, the whole amid eight parts at its own resolution, see
    `blurtrain.blur_types.mosaic`; the resolution, which all are stored at, is that of three tiles."""
    encoding: Encoding = "raw"
    """Of the training store. raw: fastest to read; jpg: other pixels, in about an eighth of the space."""
    quality: int | None = Field(None, ge=1, le=BEST_QUALITY)
    """Of jpg; by default 90."""
    skip_unreadable: bool = False
    """Leave out (and list) images that cannot be decoded, instead of refusing the folder."""
    exclude: tuple[str, ...] = ()
    """Patterns of paths below the folder that are left out; * is any characters."""
    duplicates: Literal["refused", "allowed"] = "refused"
    """Whether files may lie, byte for byte the same, in several of the tree's own splits."""
    megapixels: float | None = Field(None, gt=0)
    """Largest image that is decoded, in millions of pixels; by default Pillow's 89."""
    bits: int | None = Field(None, ge=8, le=16)
    """How many are used of images of 16 bits; by default as their files state, else all."""

    @property
    def reading(self) -> Reader:
        """What reads the folder; where it draws splits, by what is set here."""
        if self.reader is None:
            return Tree(label=self.label, exclude=self.exclude, splits=self.splits)
        own = {name: getattr(self, of) for of, name in self.reader.draws_by.items() if of in self.model_fields_set}
        return self.reader.model_copy(update=own) if own else self.reader

    @property
    def size(self) -> int:
        """Smaller side of the images in the training store, in pixels: by default 8/7 of the resolution, of mosaics the
        resolution."""
        return self.stored or (self.resolution if self.view == "mosaic" else round(self.resolution * 8 / 7))

    @property
    def tested_size(self) -> int:
        """Smaller side of the images in the test store."""
        return self.tested or self.resolution

    @property
    def longest_aspect(self) -> float | None:
        """Largest aspect of what is stored; none: squares."""
        return None if self.aspect == "square" else self.longest or 2.0

    @property
    def geometric(self) -> bool:
        """Whether sizes are geometric means of height and width."""
        return self.side == "geometric-mean"

    @property
    def jpeg_quality(self) -> int | None:
        """None: raw pixels."""
        return None if self.encoding == "raw" else self.quality or 90

    @property
    def request(self) -> dict[str, Any]:
        """By which a dataset is known to be prepared so; what recipes did not have from the beginning is left out where
        it says nothing, so that older datasets stay as they are."""
        later = {"encoding", "quality"} if self.encoding == "raw" else set()
        if self.aspect == "square":
            later |= {"aspect", "longest", "tested"}
        defaults = type(self)()
        later |= {
            name
            for name in ("reader", "train_images", "exclude", "duplicates", "megapixels", "bits", "side", "view")
            if getattr(self, name) == getattr(defaults, name)
        }
        return self.model_dump(mode="json", exclude=later)

    @field_validator("hold_out", mode="before")
    @classmethod
    def _groups_are_leaves(cls, value: Any) -> Any:
        return "leaves" if value == "groups" else value

    @field_validator("reader")
    @classmethod
    def _none_for_a_tree(cls, reader: Reader | None) -> Reader | None:
        if not isinstance(reader, Tree):
            return reader
        if given := reader.model_fields_set - {"type"}:
            raise ValueError(f"{', '.join(sorted(given))}: of a tree, these are settings beside `reader`, not in it")
        return None

    @model_validator(mode="after")
    def _labels_of_trees(self) -> "Recipe":
        if self.reader is not None and "label" in self.model_fields_set:
            raise ValueError(f"label={self.label} goes with trees of folders; reader={self.reader.type} has labels")
        return self

    @model_validator(mode="after")
    def _shares_once(self) -> "Recipe":
        for of, name in self.reader.draws_by.items() if self.reader else ():
            if of in self.model_fields_set and name in self.reader.model_fields_set:  # type: ignore[union-attr]
                raise ValueError(f"{of}={getattr(self, of)} and the reader's {name} are the same: give one of them")
        return self

    @model_validator(mode="after")
    def _raw_standins(self) -> "Recipe":
        kind = "tree" if self.reader is None else self.reader.type
        if self.standin in ("facescrub", "toybox") and kind != self.standin:
            raise ValueError(f"standin={self.standin} goes with reader={self.standin}, not with reader={kind}")
        return self

    @model_validator(mode="after")
    def _of_kept_aspect(self) -> "Recipe":
        if self.aspect == "square" and self.longest is not None:
            raise ValueError(f"longest={self.longest:g} goes with aspect=kept: squares have no longer side")
        if self.aspect == "square" and self.geometric:
            raise ValueError("side=geometric-mean goes with aspect=kept: squares have one side")
        if self.aspect == "square" and self.tested not in (None, self.resolution):
            raise ValueError(
                f"tested={self.tested} goes with aspect=kept: square images are tested at the resolution, "
                f"{self.resolution}"
            )
        if self.aspect == "kept" and max(self.size, self.tested_size) * (self.longest or 2) > LARGEST_SIDE:
            raise ValueError(
                f"stored and tested times longest={self.longest or 2:g} must be at most {LARGEST_SIDE} pixels"
            )
        return self

    @model_validator(mode="after")
    def _whole_tiles(self) -> "Recipe":
        if self.view == "mosaic" and (self.aspect == "kept" or self.resolution % TILES or self.resolution < 8 * TILES):
            raise ValueError(
                f"view=mosaic: is square, of a resolution of {TILES} tiles of 8 pixels or more, e.g. 288, "
                f"not {self.resolution}{' with aspect=kept' * (self.aspect == 'kept')}"
            )
        if self.view == "mosaic" and self.stored not in (None, self.resolution):
            raise ValueError(f"stored={self.stored}: mosaics are stored at the resolution, {self.resolution}")
        return self

    @model_validator(mode="after")
    def _quality_of_jpg(self) -> "Recipe":
        if self.quality and self.encoding == "raw":
            raise ValueError(f"quality={self.quality} goes with encoding=jpg: raw pixels lose nothing")
        return self
