"""What a measure is: from a trained network, images and levels of blur to rows, and to records of each image.

Most measures look at the logits alone. They derive from `LogitsMeasure` and say what follows from logits and labels:

    class Margin(LogitsMeasure):
        name = "margin"

        def values(self, logits, labels):
            best = logits.topk(2, dim=1).values
            return {"margin": best[:, 0] - best[:, 1]}
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.evaluation.sweep import sweep
from blurtrain.settings import Settings


class Measure:
    """Base of all measures. A user's own is named `package.module:Name`, or `file.py:Name`, and takes no arguments."""

    name: ClassVar[str]
    """Begins the names of its files: lower case, no spaces."""
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What tables are to know of its metrics, by name: {"margin": {"better": "higher", "digits": 2}}; also label, unit,
    and times (by how much a value is multiplied). Kept with what was measured."""

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
        return sweep(self.values, self.by_object, subject, blurs, per_image)
