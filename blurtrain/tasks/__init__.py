"""What networks are asked for, and what they lose: both are settings sections that hold their own behaviour."""

from blurtrain.tasks.adversarial import AdversarialBlur, ProposedBlur
from blurtrain.tasks.loss import CrossEntropy, Loss, PixelDistance, View
from blurtrain.tasks.restoration import Restoration
from blurtrain.tasks.segmentation import Segmentation
from blurtrain.tasks.task import Classification, Targets, Task
from blurtrain.tasks.views import FeatureDistance, JensenShannon, SupervisedContrastive
from blurtrain.tasks.weighted import WeightedCrossEntropy

__all__ = ["Classification", "CrossEntropy", "Loss", "Restoration", "Segmentation", "Targets", "Task", "View"]

Task.kinds = {"classification": Classification, "segmentation": Segmentation, "restoration": Restoration}
Loss.kinds = {
    "cross-entropy": CrossEntropy,
    "l1": PixelDistance,
    "l2": PixelDistance,
    "jensen-shannon": JensenShannon,
    "feature-distance": FeatureDistance,
    "supervised-contrastive": SupervisedContrastive,
    "adversarial-blur": AdversarialBlur,
    "proposed-blur": ProposedBlur,
    "weighted-cross-entropy": WeightedCrossEntropy,
}
