"""A loss over two views of each image: as it is, and mirrored."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from blurtrain import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Mirrored(Loss):
    """Cross-entropy, and `weight` times how far the logits of the mirrored image are off (mean squared)."""

    weight: float = Field(0.1, ge=0)

    def __call__(
        self, network: Any, images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import cross_entropy, mse_loss

        logits, mirrored = network(images), network(images.flip(-1))
        loss = cross_entropy(logits, targets, label_smoothing=label_smoothing)
        return loss + self.weight * mse_loss(mirrored, logits), logits
