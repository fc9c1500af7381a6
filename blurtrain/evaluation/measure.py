"""What a measure is: from a trained network, images and levels of blur to rows, and to records of each image.

Most measures look at the logits alone. They derive from `LogitsMeasure` and say what follows from logits and labels:

    class Margin(LogitsMeasure):
        name = "margin"

        def values(self, logits, labels):
            best = logits.topk(2, dim=1).values
            return {"margin": best[:, 0] - best[:, 1]}
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.loader import Loader
from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.models.trained import TrainedNetwork
from blurtrain.settings import Settings

Row = dict[str, Any]
Records = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """What is measured, and with what."""

    network: TrainedNetwork
    images: Images
    loader: Loader
    transform: Transform
    group: Group
    tick: Callable[[], None] = lambda: None
    """Called after every batch, equally often by each process."""


@dataclass(frozen=True)
class Found:
    """What a measure found."""

    rows: list[Row]
    """{metric, blur, sigma, n, value or count}: `blur` is a label; `value` is a mean over n images, None where it is
    undefined, `count` a number of them. `by_object`: the count of each object; `not_finite`: how many of the images
    have logits that are NaN or infinite (they count as wrong)."""
    records: dict[str, Records] = field(default_factory=dict)
    """By the label of a blur, arrays of one entry an image, the same names for each."""


class Measure:
    """Base of all measures. A user's own is named `package.module:Name`, or `file.py:Name`, and takes no arguments."""

    name: ClassVar[str]
    """Begins the names of its files: lower case, no spaces."""

    @classmethod
    def of_run(cls, settings: Settings) -> Self:
        """The measure as it is taken of a run with these settings."""
        return cls()

    def measure(self, subject: Subject, blurs: Sequence[Blur], per_image: bool) -> Found:
        """Rows for each of `blurs`, and with `per_image` records; every process of the group calls it, and the leading
        one gets all."""
        raise NotImplementedError


class LogitsMeasure(Measure):
    """A measure that is a mean (or a count) over images of what follows from each image's logits and label."""

    by_object: ClassVar[frozenset[str]] = frozenset()
    """The counts that are also taken of each object, where several images show one."""

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named values [N] from logits [N, classes] and labels [N]: booleans are counted, numbers averaged."""
        raise NotImplementedError

    def measure(self, subject: Subject, blurs: Sequence[Blur], per_image: bool) -> Found:
        from blurtrain.evaluation.sweep import sweep

        return sweep(self, subject, blurs, per_image)
