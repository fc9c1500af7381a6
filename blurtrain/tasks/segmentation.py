"""The class of each pixel."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from blurtrain.tasks.task import Targets, Task

if TYPE_CHECKING:
    from torch import Tensor

VOID = 255
"""In a mask, the number of pixels that are of no class, and are not counted."""


class Segmentation(Task):
    """One of the classes for each pixel: outputs are logits [N, classes, H, W], targets masks [N, H, W]; VOID pixels
    count nowhere.

    miou: mean over classes of intersection over union, in percent, from sums over all images; classes that no pixel is
    labelled as are left out of the mean. pixel_accuracy: percent of pixels whose class is right.
    """

    type: Literal["segmentation"] = "segmentation"
    metrics: ClassVar[tuple[str, ...]] = ("miou", "pixel_accuracy")
    higher_is_better: ClassVar[frozenset[str]] = frozenset({"miou", "pixel_accuracy"})
    targets: ClassVar[Targets] = "masks"
    measure: ClassVar[str] = "segmentation"

    def output_shape(self, outputs: int, side: int) -> tuple[int, ...]:
        return (outputs, side, side)

    def counts(self, outputs: int) -> tuple[str, ...]:
        """Pixels of each class: right ones, those labelled so, and those taken for it."""
        return tuple(f"{what}.{k}" for what in ("right", "labelled", "predicted") for k in range(outputs))

    def sums(self, outputs: "Tensor", targets: "Tensor") -> list["Tensor"]:
        import torch

        counted = confusion(outputs.argmax(1), targets, outputs.shape[1])
        return list(torch.cat([counted.diagonal(), counted.sum(1), counted.sum(0)]).unbind())

    def means(self, sums: Mapping[str, float], n: int) -> dict[str, float]:
        """In percent; 0 where no pixel is labelled."""
        classes = len(sums) // 3
        of = [tuple(sums[f"{what}.{k}"] for what in ("right", "labelled", "predicted")) for k in range(classes)]
        ious = [right / (labelled + predicted - right) for right, labelled, predicted in of if labelled]
        pixels = sum(labelled for _, labelled, _ in of)
        return {
            "miou": 100 * sum(ious) / len(ious) if ious else 0.0,
            "pixel_accuracy": 100 * sum(right for right, _, _ in of) / pixels if pixels else 0.0,
        }

    def summary(self, means: Mapping[str, float]) -> str:
        return f"mIOU {means['miou']:.1f} %, {means['pixel_accuracy']:.1f} % of pixels"


def confusion(predicted: "Tensor", masks: "Tensor", classes: int) -> "Tensor":
    """Pixels by their label and what they are taken for, int64 [classes, classes]; those that are VOID are left out.

    predicted, masks: class numbers of any one shape. On their device, without waiting for it.
    """
    import torch

    labels = masks.reshape(-1).long()
    # Void pixels fall into one more cell: to choose the others would wait for the device.
    cell = torch.where(labels == VOID, classes * classes, labels * classes + predicted.reshape(-1).long())
    counted = torch.zeros(classes * classes + 1, dtype=torch.int64, device=masks.device)
    return counted.index_add_(0, cell, torch.ones_like(cell))[:-1].view(classes, classes)
