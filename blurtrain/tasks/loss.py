"""What a step lowers: a loss takes the network to its images itself, so that it may show it several views of them."""

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from blurtrain.tasks.named import Named
from blurtrain.tasks.segmentation import VOID
from blurtrain.tasks.task import Targets

if TYPE_CHECKING:
    from torch import Tensor, nn

View = Literal["sharp", "blurred"]
"""Of an image beside that of the curriculum: before it is blurred, or by another draw."""


class Network(Protocol):
    """What a loss is given to show images to, in the arithmetic of the run."""

    def __call__(self, images: "Tensor") -> "Tensor":
        """Outputs [N, ...] in the arithmetic of its weights."""
        ...

    def features(self) -> "Tensor":
        """[N, ...]: what the layer of the loss (see `Loss.watched`) gave in the last call."""
        ...

    def tested(self, images: "Tensor") -> "Tensor":
        """As a call, in evaluation mode: no statistics change, and gradients are not summed over processes."""
        ...

    def opponent(self, images: "Tensor") -> "Tensor":
        """[N, ...]: what the second network of the loss (see `Loss.opponent`) gives, in the arithmetic of its
        weights."""
        ...


class Loss(Named):
    """Base of all losses."""

    type: str
    targets: ClassVar[frozenset[Targets]] = frozenset({"labels"})
    """Of which kinds its targets may be, see `Task.targets`."""

    @property
    def watched(self) -> str | None:
        """The module whose output it looks at, by its name in the network; empty: what the last linear layer is given;
        None: none."""
        return None

    @property
    def views(self) -> tuple[View, ...]:
        """Further views of each image that it is to be given, as `views`: a sequence of tensors like the images."""
        return ()

    @property
    def passed_together(self) -> int:
        """How many views of each image one forward pass takes, one after the other."""
        return 1 + len(self.views)

    def check_batch(self, images: int) -> str:
        """Why it cannot be taken of so many images at a time (of a micro-batch of one process); empty: it can."""
        return ""

    def check_side(self, side: int) -> str:
        """Why it cannot be taken of images of `side` pixels; empty: it can."""
        return ""

    def opponent(self) -> "nn.Module | None":
        """A second network that learns beside the first one by the gradients that the loss gives it, drawn from torch's
        random state; None: there is none."""
        return None

    @property
    def opponent_rate(self) -> float | None:
        """The second network's learning rate, as a multiple of the run's; None: there is none."""
        return None

    def __call__(
        self, network: Network, images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        """The loss, a scalar, as a mean over images [N, 3, S, S] (normalised), and the network's outputs [N, ...] for
        them as they are, by which the task's metrics are taken.

        `network` takes images to outputs, in the arithmetic of the run; the outputs come in that of its weights.
        label_smoothing: share of each label that is spread evenly over all classes; for losses without labels nothing.
        """
        raise NotImplementedError

    def validated(self, network: Network, images: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """As a call, in validation: network is in evaluation mode, there are no views, no smoothing, no gradients."""
        return self(network, images, targets)


def cross_entropy_alone(network: Network, images: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
    """The loss, a scalar, and logits [N, classes]: what losses that add to the cross-entropy of labels report in
    validation (`Loss.validated`)."""
    from torch.nn.functional import cross_entropy

    logits = network(images)
    return cross_entropy(logits, targets), logits


class CrossEntropy(Loss):
    """Cross-entropy of the logits; of masks, the mean over the pixels of each image that are not void."""

    type: Literal["cross-entropy"] = "cross-entropy"
    targets: ClassVar[frozenset[Targets]] = frozenset({"labels", "masks"})

    def __call__(
        self, network: Network, images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
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
        self, network: Network, images: "Tensor", targets: "Tensor", label_smoothing: float = 0.0
    ) -> "tuple[Tensor, Tensor]":
        from torch.nn.functional import l1_loss, mse_loss

        outputs = network(images)
        return (l1_loss if self.type == "l1" else mse_loss)(outputs, targets.to(outputs.dtype)), outputs
