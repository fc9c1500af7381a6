"""What is trained, and what it begins with."""

import math
import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from blurtrain.errors import nearest
from blurtrain.parts import FORM, is_part_name
from blurtrain.schema import FileName, Section, Sha256, added_later, outside_identity

DEFAULT_MODEL = "alexnet-sup"
RESTORING = ("residual-unet",)
"""Those that give images, for task=restoration."""
ARCHITECTURES = ("alexnet-sup", "alexnet", "vgg-16", "resnet-18", "resnet-50", "blur-type", *RESTORING)
"""Networks by name; any other is named timm/NAME, or is the user's own."""
SEGMENTATION = (
    "torchvision/fcn_resnet50", "torchvision/fcn_resnet101", "torchvision/deeplabv3_resnet50",
    "torchvision/deeplabv3_resnet101", "torchvision/deeplabv3_mobilenet_v3_large",
    "torchvision/lraspp_mobilenet_v3_large",
)  # fmt: skip
"""Those of torchvision that give masks; any of segmentation-models-pytorch is named smp/NAME."""


class Pretrained(Section):
    """Weights to begin with: of a file of one's own, or those that torchvision or timm publish."""

    file: FileName | None = outside_identity(None)
    """A state dict as .safetensors, or as .pt or .pth (read without unpickling anything but tensors)."""
    sha256: Sha256 | None = None
    """What `sha256sum FILE` prints: wherever the file lies, it is these weights that the run begins with. Of published
    weights it may be left out."""
    published: str | None = added_later(None, pattern=r"^(torchvision|timm)/[A-Za-z0-9_.-]+$")
    """In place of a file: torchvision/NAME or timm/NAME, from the library's cache, into which `blurtrain weights fetch`
    puts them; a run downloads nothing. data.mean and data.sd are then those of the weights' own record."""
    last_layer: Literal["drawn", "zero"] = added_later("drawn")
    """Where the file's last layer is for another number of classes, the new one is drawn as its network's definition
    says, or zero: then the first steps leave the pretrained weights alone (Kolesnikov et al. 2020, "Big Transfer")."""
    head: Literal["replaced", "kept"] = added_later("replaced")
    """replaced: one output a class of the dataset, so where the file has another number, its last layer makes room for
    a new one; kept: all outputs of the file stay, the dataset's classes are found among them, and top-1 is over all."""
    classes: tuple[str, ...] | None = added_later(None)
    """What the outputs of a kept head are called, in their order; none: they are ImageNet's 1000, known by name and by
    WordNet id."""

    @model_validator(mode="after")
    def _from_one_place(self) -> "Pretrained":
        if (self.file is None) == (self.published is None):
            given = "neither" if self.file is None else "both"
            raise ValueError(f"give either file (and its sha256) or published, not {given}")
        if self.file is not None and self.sha256 is None:
            raise ValueError("sha256 is missing: it is what `sha256sum FILE` prints")
        return self

    @property
    def source(self) -> str:
        """What the weights are called in messages."""
        return self.published or str(self.file)

    @model_validator(mode="after")
    def _of_a_kept_head(self) -> "Pretrained":
        if self.head == "kept" and self.last_layer != "drawn":
            raise ValueError(f"last_layer={self.last_layer} is of a head that is replaced; leave it out with head=kept")
        if self.classes is not None and (self.head != "kept" or len(self.classes) < 2):
            raise ValueError("classes goes with head=kept, and names its outputs (two or more)")
        return self


def _plain_argument(name: str, value: Any) -> Any:
    """`value` with whole numbers as integers, so that 2 and 2.0 are one run."""
    if isinstance(value, list | tuple):
        return [_plain_argument(name, part) for part in value]
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if not isinstance(value, bool | int | str):
        raise ValueError(f"{name} must be a number, a word, true, false, or a list of these, not {value!r}")
    return value


class Antialias(Section):
    """Anti-aliased down-sampling (Zhang, ICML 2019; `blurtrain.models.antialias`): wherever the network has a stride it
    computes everywhere, blurs by a binomial filter, and samples then."""

    filter: int = Field(3, ge=2, le=7)
    """Taps of the filter: 2, 3 and 5 in the paper."""
    learnt: bool = False
    """Each filter is a mean of those of `filter`, filter - 2, ... taps, by weights that are learnt."""


class Frontend(Section):
    """A network that restores images (residual-unet) before the one that is trained sees them, and learns with it; what
    the run publishes holds both (`blurtrain.models.frontend`)."""

    width: int = Field(16, ge=1, le=512)
    """Channels of its first convolution."""
    depth: int = Field(3, ge=1, le=6)
    """How often it halves the sides."""
    file: FileName | None = outside_identity(None)
    """Weights to begin with: weights.safetensors of a run for task=restoration, of the same width and depth; none: it
    begins as the identity."""
    sha256: Sha256 | None = None
    """Of the file, as `sha256sum FILE` prints it."""
    learnt: bool = True
    """false: it stays as it is in the file."""
    task: float = Field(1.0, ge=0)
    """Weight of the run's loss in what it learns; 0: it learns for the image alone."""
    image: float = Field(0.0, ge=0)
    """Weight of the mean absolute distance of what it gives from the sharp image, of pixels in 0..1; added to the loss,
    and of no weight for the network behind it."""

    @model_validator(mode="after")
    def _learns_something(self) -> "Frontend":
        if (self.file is None) != (self.sha256 is None):
            raise ValueError("give file and sha256, which is what `sha256sum FILE` prints, or neither")
        if not self.learnt and self.file is None:
            raise ValueError("learnt=false keeps it as it begins, which is the identity: give the file of its weights")
        if not self.learnt and (self.task, self.image) != (1, 0):
            raise ValueError("learnt=false learns for nothing: leave out task and image")
        if self.learnt and not self.task and not self.image:
            raise ValueError("task=0 and image=0 leave nothing to learn for: set image, or learnt=false")
        return self


class Network(Section):
    """What is trained."""

    architecture: str = "alexnet-sup"
    """A network of ours, one of timm as timm/NAME, or one of your own as package.module:Name."""
    arguments: dict[str, Any] = added_later({})
    """Further arguments of timm, torchvision, segmentation-models-pytorch (encoder_name) or one's own network, e.g.
    {pad_type: same}: plain values or lists."""
    pretrained: Pretrained | None = added_later(None)
    """None: freshly drawn by `seed`."""
    bias: Literal["zero", "uniform"] = added_later("zero")
    """Biases that alexnet-sup begins with: zero, or uniform in +/- 1 / sqrt(fan in), as PyTorch draws them and the
    study has them. All other networks begin as their own definition says."""

    antialias: Antialias | None = added_later(None)
    """None: the network as it is. Costs what strides saved: see docs/methods.md."""
    frontend: Frontend | None = added_later(None)
    """None: the network sees the images as they are."""
    dropout: float = added_later(0.0, ge=0, lt=1)
    """Probability that a feature which the last layer is given is set to zero in training (and the others are scaled
    up), beside what the network drops by its own definition."""

    @field_validator("arguments")
    @classmethod
    def _plain(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if arguments and info.data.get("architecture") == "alexnet-sup":
            raise ValueError("alexnet-sup takes none; other networks do")
        return {name: _plain_argument(name, value) for name, value in arguments.items()}

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*ARCHITECTURES, *SEGMENTATION)
        if name not in known and not re.fullmatch(r"(timm|smp)/[A-Za-z0-9_.]+", name) and not is_part_name(name):
            own = f"one of your own must be {FORM}" if ":" in name else nearest(name, known)
            raise ValueError(
                f"{own}, or any network of timm as timm/NAME, or of segmentation-models-pytorch as smp/NAME, or one of "
                "your own as package.module:Name"
            )
        return name

    @model_validator(mode="after")
    def _bias_of_alexnet_sup(self) -> "Network":
        if self.bias != "zero" and self.architecture != "alexnet-sup":
            raise ValueError(
                f"bias={self.bias} is a choice for alexnet-sup alone; leave it out, {self.architecture} begins as its "
                "own definition says"
            )
        return self
