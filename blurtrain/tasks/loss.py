"""What a step lowers: a loss takes the network to its images itself, so that it may show it several views of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from blurtrain.tasks.named import Named
from blurtrain.tasks.segmentation import VOID
from blurtrain.tasks.task import Targets

if TYPE_CHECKING:
    from torch import Tensor

    Network = Callable[[Tensor], Tensor]


class Loss(Named):
    """Base of all losses."""

    type: str
    targets: ClassVar[frozenset[Targets]] = frozenset({"labels"})
    """Of which kinds its targets may be, see `Task.targets`."""

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
    """Cross-entropy of the logits; of masks, the mean over the pixels of each image that are not void."""

    type: Literal["cross-entropy"] = "cross-entropy"
    targets: ClassVar[frozenset[Targets]] = frozenset({"labels", "masks"})

    def __call__(
        self, network: "Network", images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import cross_entropy

        logits = network(images)
        if targets.ndim == 1:
            return cross_entropy(logits, targets, label_smoothing=label_smoothing), logits
        # Pixel by pixel, as of maps GPUs have no deterministic gradient of it.
        flat, wanted = logits.movedim(1, -1).flatten(0, -2), targets.long().flatten()
        of_pixels = cross_entropy(
            flat, wanted, ignore_index=VOID, reduction="none", label_smoothing=label_smoothing
        ).view(targets.shape)
        # An image counts as any other, however much of it is void: so the mean is the same over any parts of a batch.
        known = (targets != VOID).flatten(1).sum(1).clamp(min=1)
        return (of_pixels.flatten(1).sum(1) / known).mean(), logits


class PixelDistance(Loss):
    """Mean distance of pixels from those of the sharp image: absolute (l1), or squared (l2)."""

    type: Literal["l1", "l2"] = "l1"
    targets: ClassVar[frozenset[Targets]] = frozenset({"sharp"})

    def __call__(
        self, network: "Network", images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import l1_loss, mse_loss

        outputs = network(images)
        return (l1_loss if self.type == "l1" else mse_loss)(outputs, targets.to(outputs.dtype)), outputs
