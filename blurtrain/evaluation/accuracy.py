"""Accuracy, and what else follows from the same logits."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from blurtrain.evaluation.measure import LogitsMeasure
from blurtrain.settings import Settings


@dataclass(frozen=True)
class Accuracy(LogitsMeasure):
    """Top-1 and top-5; mean entropy of the prediction, and cross-entropy with the label, in nats; mean loss, which is
    that cross-entropy with the label smoothing of the training."""

    name: ClassVar[str] = "accuracy"
    by_object: ClassVar[frozenset[str]] = frozenset({"top1"})
    label_smoothing: float = 0.0

    @classmethod
    def of_run(cls, settings: Settings) -> "Accuracy":
        return cls(settings.optimisation.label_smoothing)

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        log = logits.double().log_softmax(1)
        cross_entropy = -log.gather(1, labels[:, None])[:, 0]
        evenly = -log.mean(1)
        return {
            "top1": best[:, 0],
            "top5": best.any(1),
            "loss": cross_entropy + self.label_smoothing * (evenly - cross_entropy),
            "entropy": -(log.exp() * log).sum(1),
            "cross_entropy": cross_entropy,
        }
