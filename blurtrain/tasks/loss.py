"""What a step lowers: a loss takes the network to its images itself, so that it may show it several views of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from blurtrain.tasks.named import Named

if TYPE_CHECKING:
    from torch import Tensor

    Network = Callable[[Tensor], Tensor]


class Loss(Named):
    """Base of all losses."""

    type: str

    def __call__(
        self, network: "Network", images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        """The loss, a scalar, as a mean over images [N, 3, S, S] (normalised), and the network's outputs [N, ...] for
        them as they are, by which the task's metrics are taken.

        `network` takes images to outputs, in the arithmetic of the run; the outputs come in that of its weights.
        label_smoothing: share of each label that is spread evenly over all classes; for losses without labels nothing.
        """
        raise NotImplementedError


class CrossEntropy(Loss):
    """Cross-entropy of the logits."""

    type: Literal["cross-entropy"] = "cross-entropy"

    def __call__(
        self, network: "Network", images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import cross_entropy

        logits = network(images)
        return cross_entropy(logits, targets, label_smoothing=label_smoothing), logits


Loss.kinds = {"cross-entropy": CrossEntropy}
