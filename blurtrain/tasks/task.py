"""What a network is asked for: what it is shown as targets, how many outputs it has, and which sums are taken over
images while it learns."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from blurtrain.tasks.named import Named

if TYPE_CHECKING:
    from torch import Tensor

Targets = Literal["labels", "masks", "sharp"]
"""Of an image: the number of its class; the class of each pixel; or the image itself before it is blurred."""


class Task(Named):
    """Base of all tasks. `metrics` are summed over images, beside the loss, in training and in validation."""

    type: str
    metrics: ClassVar[tuple[str, ...]] = ()
    higher_is_better: ClassVar[frozenset[str]] = frozenset()
    """The metrics that are; the loss, as all others, is better when lower."""
    targets: ClassVar[Targets] = "labels"
    measure: ClassVar[str] = "accuracy"
    """What a finished run is measured by."""

    def outputs(self, classes: int) -> int:
        """Outputs that a network needs for data of so many classes."""
        return classes

    def output_shape(self, outputs: int, side: int) -> tuple[int, ...]:
        """Shape of what a network with so many outputs gives for an image of `side` pixels."""
        return (outputs,)

    def counts(self, outputs: int) -> tuple[str, ...]:
        """Names of the sums that metrics are taken from, of a network with so many outputs."""
        return self.metrics

    def sums(self, outputs: "Tensor", targets: "Tensor") -> list["Tensor"]:
        """One scalar a count, in the order of `counts`: sums over the images of outputs [N, ...]; on their device,
        without waiting for it."""
        raise NotImplementedError

    def means(self, sums: Mapping[str, float], n: int) -> dict[str, float]:
        """Metrics as they are logged, from their sums over n > 0 images."""
        return {name: sums[name] / n for name in self.metrics}

    def summary(self, means: Mapping[str, float]) -> str:
        """Metrics in a few words, for the log."""
        return ", ".join(f"{name} {means[name]:.4g}" for name in self.metrics)


class Classification(Task):
    """One of the classes for each image: outputs are logits [N, classes], targets class numbers [N]."""

    type: Literal["classification"] = "classification"
    metrics: ClassVar[tuple[str, ...]] = ("top1",)
    higher_is_better: ClassVar[frozenset[str]] = frozenset({"top1"})

    def sums(self, outputs: "Tensor", targets: "Tensor") -> list["Tensor"]:
        return [(outputs.argmax(1) == targets).sum()]

    def means(self, sums: Mapping[str, float], n: int) -> dict[str, float]:
        """top1 in percent."""
        return {"top1": 100 * sums["top1"] / n}

    def summary(self, means: Mapping[str, float]) -> str:
        return f"top-1 {means['top1']:.1f} %"
