"""A measure of what follows from the logits of each image."""

from typing import ClassVar

from torch import Tensor

from blurtrain.evaluation.measure import LogitsMeasure


class Margin(LogitsMeasure):
    """By how much the logit of the true class is above the best of the others, and how often it is."""

    name: ClassVar[str] = "margin"

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        true = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
        return {"margin": true - others, "above": true > others}
