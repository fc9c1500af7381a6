"""What networks are asked for, and what they lose: both are settings sections that hold their own behaviour."""

from blurtrain.tasks.loss import CrossEntropy, Loss, PixelDistance
from blurtrain.tasks.restoration import Restoration
from blurtrain.tasks.segmentation import Segmentation
from blurtrain.tasks.task import Classification, Targets, Task
from blurtrain.tasks.weighted import WeightedCrossEntropy

__all__ = ["Classification", "CrossEntropy", "Loss", "Restoration", "Segmentation", "Targets", "Task"]

Task.kinds = {"classification": Classification, "segmentation": Segmentation, "restoration": Restoration}
Loss.kinds = {
    "cross-entropy": CrossEntropy,
    "l1": PixelDistance,
    "l2": PixelDistance,
    "weighted-cross-entropy": WeightedCrossEntropy,
}
