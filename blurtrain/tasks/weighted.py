"""Classes that count more than others."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from blurtrain.errors import SettingsError
from blurtrain.tasks.loss import Loss, Network

if TYPE_CHECKING:
    from torch import Tensor


class WeightedCrossEntropy(Loss):
    """Cross-entropy of the logits, of each image multiplied by the weight of its class; weights of 1 leave it as it is.
    Rare classes count as much as others where weights are n / (classes * n of the class)."""

    type: Literal["weighted-cross-entropy"] = "weighted-cross-entropy"
    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()
    """One a class, in the order of the dataset's (alphabetical); none: all count alike."""

    def __call__(
        self, network: Network, images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import cross_entropy

        logits = network(images)
        weights = self.weights or (1.0,) * logits.shape[1]
        if logits.shape[1] != len(weights):
            raise SettingsError(f"loss.weights: {len(weights)} are given for {logits.shape[1]} classes")
        of_images = cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
        # A mean over images, not over weights: so it is the same over any parts of a batch.
        return (logits.new_tensor(weights)[targets] * of_images).mean(), logits
