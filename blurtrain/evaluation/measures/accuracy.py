"""Accuracy, and what else follows from the same logits."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import PrivateAttr
from torch import Tensor

from blurtrain.evaluation.measure import LogitsMeasure
from blurtrain.settings import Settings


class Accuracy(LogitsMeasure):
    """Top-1 and top-5; mean entropy of the prediction, and cross-entropy with the label, in nats; mean loss, which is
    that cross-entropy with the label smoothing of the training."""

    name: ClassVar[str] = "accuracy"
    by_object: ClassVar[frozenset[str]] = frozenset({"top1"})
    headlines: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "top1": {"label": "top-1", "unit": "%", "times": 100, "digits": 1},
        "top5": {"label": "top-5", "unit": "%", "times": 100, "digits": 1},
    }
    _label_smoothing: float = PrivateAttr(0.0)

    @classmethod
    def of_run(cls, settings: Settings, options: Mapping[str, Any]) -> "Accuracy":
        return cls.smoothed(settings.optimisation.label_smoothing)

    @classmethod
    def smoothed(cls, label_smoothing: float) -> "Accuracy":
        """With the loss of a training with this label smoothing."""
        measure = cls()
        measure._label_smoothing = label_smoothing
        return measure

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        log = logits.double().log_softmax(1)
        cross_entropy = -log.gather(1, labels[:, None])[:, 0]
        evenly = -log.mean(1)
        return {
            "top1": best[:, 0],
            "top5": best.any(1),
            "loss": cross_entropy + self._label_smoothing * (evenly - cross_entropy),
            "entropy": -(log.exp() * log).sum(1),
            "cross_entropy": cross_entropy,
        }
