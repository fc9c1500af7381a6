"""What a blur-type detector takes for what."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from blurtrain.blur_types import CLASSES
from blurtrain.errors import SettingsError
from blurtrain.evaluation.measure import LogitsMeasure
from blurtrain.evaluation.measures.calibration import reliability

_SHARE = {"unit": "%", "times": 100, "digits": 1, "least": 0, "most": 1}


class BlurTypes(LogitsMeasure):
    """Of the four blur types, each photo taken for its most probable one. Metrics:

    right: photos whose type is right (a count).
    recall.CLASS, precision.CLASS: of the photos of a class, the share that is taken for it; of those taken for it, the
    share that is. None where there are none.
    false_alarms: of sharp photos, the share that is taken for another class.

    Kept beside: `confusion` [4, 4], photos by their class (rows) and what they are taken for, in alphabetical order;
    `reliability` [bins, 3], of each bin of confidence photos, mean confidence, share of right answers. Intervals, and
    comparisons photo by photo, are of `blurtrain detector report`.
    """

    name: ClassVar[str] = "blur-types"
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "right": {"label": "right", "better": "higher", **_SHARE},
        "recall": {"label": "recall", "better": "higher", **_SHARE},
        "precision": {"label": "precision", "better": "higher", **_SHARE},
        "false_alarms": {"label": "false alarms on sharp photos", "better": "lower", **_SHARE},
    }
    bins: int = Field(10, ge=1, le=1000)

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raises SettingsError for other classes than those of blur, or in another order."""
        if tuple(classes) != CLASSES:
            few = ", ".join([*classes[:6], *["..."] * (len(classes) > 6)])
            raise SettingsError(f"measure blur-types: is of classes {', '.join(CLASSES)}, not of {few}")

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """See `LogitsMeasure.values`."""
        confidence, taken = logits.double().softmax(1).max(1)
        return {"right": taken == labels, "_label": labels, "_taken": taken, "_confidence": confidence}

    def pooled(self, values: Mapping[str, NDArray[Any]]) -> Mapping[str, float | NDArray[Any]]:
        counted = confusion(values["_label"], values["_taken"], len(CLASSES))
        right = counted.diagonal()
        recall, precision = _shares(right, counted.sum(1)), _shares(right, counted.sum(0))
        return {
            **{f"recall.{name}": recall[k] for k, name in enumerate(CLASSES)},
            **{f"precision.{name}": precision[k] for k, name in enumerate(CLASSES)},
            "false_alarms": 1 - recall[CLASSES.index("sharp")],
            "confusion": counted,
            "reliability": reliability(values["_confidence"], values["right"], self.bins),
        }


def confusion(labels: NDArray[Any], taken: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """[classes, classes]: images by their label (rows), and by what they are taken for."""
    return np.bincount(labels * classes + taken, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def _shares(counts: NDArray[np.int64], of: NDArray[np.int64]) -> list[float]:
    return [float(count / n) if n else float("nan") for count, n in zip(counts, of, strict=True)]
