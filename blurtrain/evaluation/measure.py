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

from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.evaluation.sweep import sweep
from blurtrain.schema import Section
from blurtrain.settings import Settings
from blurtrain.tasks import Targets


class Measure(Section):
    """Base of all measures. Its fields are options, which are given behind its name: `minimal-blur largest=16`. A
    user's own is named `package.module:Name`, or `file.py:Name`."""

    name: ClassVar[str]
    """Begins the names of its files: lower case, no spaces."""
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What tables are to know of its metrics, by name: {"margin": {"better": "higher", "digits": 2}}; also label, unit,
    times (by how much a value is multiplied), and least and most (beyond which no value can lie). What is said of
    margin holds for margin.first, too. Kept with what was measured."""
    of_classes: ClassVar[bool] = True
    """Whether the network has to know the classes of the dataset."""
    keeps_records: ClassVar[bool] = True
    """Whether there is anything to be kept of each image."""
    of_targets: ClassVar[frozenset[Targets]] = frozenset({"labels"})
    """The networks that it can be taken of, by what their task has them give."""
    headlines: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Metrics that are logged at the end of a training, the first one as its outcome in a line; said as `metrics`."""
    of_blurred: ClassVar[bool] = True
    """Whether it shows images by the blurs and the deblurring of `Subject.transform`."""
    of_protocols: ClassVar[bool] = False
    """Of one that does not look at outputs: whether it shows images at the scales of evaluation.protocol itself, so
    that it can be taken where there is one."""

    @classmethod
    def of_run(cls, settings: Settings, options: Mapping[str, Any]) -> Self:
        """The measure as it is taken of a run with these settings."""
        return cls.model_validate(options)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raise SettingsError where it cannot be taken of a network with these classes; called before `measure`."""

    def levels(self, blurs: Sequence[Blur]) -> Sequence[Blur | str]:
        """What it is taken at, where blurs are asked for: those; or levels of its own, by their names."""
        return blurs

    def measure(self, subject: Subject, levels: Sequence[Any], per_image: bool) -> Found:
        """Rows for each of `levels`, which are some of those above, and with `per_image` records; every process of the
        group calls it, and the leading one gets all."""
        raise NotImplementedError


class LogitsMeasure(Measure):
    """A measure of what follows from each image's logits and label: means and counts over images, and what else can be
    said of all images at once. Several of them are taken in one pass over the images."""

    by_object: ClassVar[frozenset[str]] = frozenset()
    """The counts that are also taken of each object, where several images show one."""

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Named values [N] from logits [N, classes] and labels [N]: booleans are counted, numbers averaged. Those whose
        names begin with _ are for `pooled` alone."""
        raise NotImplementedError

    def pooled(self, values: Mapping[str, NDArray[Any]]) -> Mapping[str, float | NDArray[Any]]:
        """What else is to be said of a level, from the `values` of all its images ([images] each), in order of their
        index: numbers are more metrics, arrays are kept beside them. Where an image has logits that are NaN or infinite
        there are none: called with the values of one image alone, for the names."""
        return {}

    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        return sweep([(self, levels)], subject, per_image)[0]
